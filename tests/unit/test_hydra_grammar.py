import json
import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sweep.errors import BadRequest
from sweep.request import hydra_grammar
from sweep.request.compose import compose

ODD = [
    *(
        "a b",
        "it's",
        "''",
        '"q"',
        "a,b",
        "a=b",
        "[x]",
        "{y}",
        "(z)",
        "a:b",
        "#c",
        "",
        " ",
        "\t",
        "a\nb",
        "ü😀",
        "modèle",
        "%s",
    ),
    *("\\", "a\\", "\\'", "\\\\'", "a\\b", "$HOME", "true", "Null", "nan", "inf", "1", "1e5", "-1", "~x", "+y", "*"),
    *("INT8+EAGER", "/an/absolute/path", "../up", "--help", "@", "&", ";", "`ls`", "!", "?", "|", "<>", "^"),
]


def random_texts(count: int) -> list[str]:
    dice = random.Random(1)
    return ["".join(dice.choices("ab\\'\" ,=[]{}:+-.$()\n", k=dice.randint(0, 8))) for _ in range(count)]


def read(override: str) -> Any:
    """What Hydra makes of an argument."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    return list(parsed.sweep_iterator()) if parsed.is_sweep_override() else parsed.value()


@pytest.mark.parametrize("text", [*ODD, *random_texts(200)])
def test_any_text_comes_through_as_it_is(text: str) -> None:
    written = hydra_grammar.literal(text)
    assert read(f"key={written}") == text
    assert read(f"key=[{written},z]") == [text, "z"]
    assert read(f"key={{a:{written}}}") == {"a": text}


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 0, -3, 10**20, 0.25, 1e-7, 1e22, -0.5),
        *([], [1, "a", None], {}, {"a": [1, {"b.c": "d e"}]}),
    ],
)
def test_a_plain_value_comes_through_with_its_type(value: Any) -> None:
    back = read(f"key={hydra_grammar.literal(value)}")
    assert back == value
    assert type(back) is type(value)


def test_numbers_and_paths_of_other_kinds_are_what_they_stand_for() -> None:
    assert read(f"key={hydra_grammar.literal(Fraction(1, 4))}") == 0.25
    assert read(f"key={hydra_grammar.literal(Path('a b') / 'c')}") == "a b/c"
    assert math.isinf(read(f"key={hydra_grammar.literal(math.inf)}"))


def test_what_has_no_such_form_is_refused() -> None:
    with pytest.raises(BadRequest) as error:
        hydra_grammar.command_line(
            "mlp", None, None, None, {"seed": object(), "no name": 1, "register": {"a b": 1}, "threads": []}
        )
    said = "\n".join(error.value.problems)
    for part in (
        "seed: cannot write object",
        "no name: is no name",
        "register: cannot write the key",
        "threads: an empty",
    ):
        assert part in said


def test_arguments_are_what_one_would_type() -> None:
    asked = hydra_grammar.command_line(
        ["mlp", "resnet"],
        ["EAGER", "FP16+EAGER"],
        None,
        "cpu",
        {"batch_size": range(1, 4), "measure": "quick", "limits.memory": 8000, "fail_on": ["crashed"], "threads": None},
    )
    assert asked == [
        "+model=mlp,resnet",
        "conversion=[EAGER,FP16+EAGER]",
        "device=cpu",
        "batch_size=1,2,3",
        "measure=quick",
        "limits.memory=8000",
        "fail_on=[crashed]",
        "threads=null",
    ]
    with_data = hydra_grammar.command_line("mlp", None, None, None, {"data": ["a", "b"], "data.samples": 9})
    assert with_data == ["+model=mlp", "+data=a,b", "data.samples=9"]
    by_config = hydra_grammar.command_line("mlp", None, None, None, {"data": {"_target_": "a.b"}})
    assert by_config == ["+model=mlp", "data={_target_:a.b}"]
    assert hydra_grammar.command_line("mlp", "EAGER", None, None, {}) == ["+model=mlp", "conversion=[EAGER]"]
    assert hydra_grammar.command_line("mlp", None, "cpu_all", None, {}) == ["+model=mlp", "conversions=cpu_all"]


def test_conversions_and_a_preset_exclude_each_other() -> None:
    with pytest.raises(BadRequest, match="one of them"):
        hydra_grammar.command_line("mlp", "EAGER", "cpu_all", None, {})


@pytest.mark.parametrize("name", ["plain", "it's", "a b", "a,b=c", 'q"q', "ü", "[x]", "v1.2", "null", "x\\"])
def test_a_model_of_any_name_gets_to_its_request(name: str, weird_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(weird_path)
    config = {"_target_": "mine.Model", "text": "it's", "rate": 1e-5, "none": None, "input": {"shape": [3]}}
    folder = weird_path / "conf" / "model"
    folder.mkdir(parents=True)
    for file_name, text in hydra_grammar.model_files({name: config, "other": config}).items():
        (folder / f"{file_name}.yaml").write_text(text)
    asked = hydra_grammar.command_line(
        [name, "other"], ["EAGER", "it's, odd"], None, "cpu", {"batch_size": [1, 8], "seed": 0}
    )
    composed = compose([*asked, f"--config-dir={weird_path / 'conf'}"])
    assert composed is not None
    requests, _ = composed
    assert [(r.model.name, r.batch_size) for r in requests] == [(name, 1), (name, 8), ("other", 1), ("other", 8)]
    assert requests[0].model.config == config
    assert requests[0].conversions == ("EAGER", "it's, odd")
    alone = compose([*hydra_grammar.command_line(name, None, None, None, {}), f"--config-dir={weird_path / 'conf'}"])
    assert alone is not None
    assert [request.model.name for request in alone[0]] == [name]


TEXT = "\x07\t\n\x7f\x85\u2028\ufeff 'q' \"r\" \\ # : - 😀 ~ 1e5"


def test_a_config_file_reads_back_as_it_was(tmp_path: Path) -> None:
    config = {
        "text": TEXT,
        "1e5": "1e5",
        "yes": "no",
        "small": 1e-5,
        "big": 10**20,
        "deep": [[{}]],
    }
    (text,) = hydra_grammar.model_files({"mine": config}).values()
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    read_back = OmegaConf.to_container(OmegaConf.load(tmp_path / "mine.yaml"))
    assert json.dumps(read_back) == json.dumps(config)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"a/b": {}}, "cannot name a model"),
        ({"": {}}, "cannot name a model"),
        ({"..": {}}, "cannot name a model"),
        ({"a\nb": {}}, "cannot name a model"),
        ({"m": {"act": print}}, "model 'm': a config cannot hold"),
        ({"m": {"rate": math.nan}}, "model 'm': a config cannot hold"),
    ],
)
def test_a_model_that_no_file_can_hold_is_refused(models: Any, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        hydra_grammar.model_files(models)
