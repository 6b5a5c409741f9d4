from dataclasses import fields, replace

from sweep.cell import OPTIONS, Device, Limits, Measure, Mode, Model, Request, Rule, Setting, Tolerance, asked
from sweep.plan.cells import expand
from sweep.user_data import UserData

REQUEST = Request(
    model=Model(name="mlp", config={"_target_": "a.B", "input": {"shape": [4]}}),
    device=Device(name="cpu"),
    conversions=("EAGER", "ONNX_CPU"),
)


DATA = UserData(name="mine", arguments={"_target_": "a.batches"})


def test_every_name_asked_for_is_a_cell_known_or_not(modes: dict[str, Mode]) -> None:
    cells = expand([replace(REQUEST, conversions=("EAGER", "OPENVINO"))], modes)
    assert [(cell.conversion, cell.mode is not None) for cell in cells] == [("EAGER", True), ("OPENVINO", False)]


def test_a_rule_takes_every_mode_it_fits_in_the_registrys_order(modes: dict[str, Mode]) -> None:
    cells = expand([replace(REQUEST, conversions=Rule())], modes)
    assert [cell.conversion for cell in cells] == list(modes)


def test_ids_are_stable_readable_and_safe_in_paths(modes: dict[str, Mode]) -> None:
    odd = replace(REQUEST, model=Model(name="../my Model/€", config={}), conversions=("FP16+EAGER", "../../etc"))
    first, second = expand([odd], modes), expand([odd], modes)
    assert [cell.id for cell in first] == [cell.id for cell in second]
    assert first[0].id.startswith("_my_model_-fp16+eager-cpu-b1-")
    assert all("/" not in cell.id and ".." not in cell.id for cell in first)


def test_an_id_changes_with_whatever_changes_the_meaning(modes: dict[str, Mode]) -> None:
    variants = [
        REQUEST,
        replace(REQUEST, batch_size=2),
        replace(REQUEST, threads=1),
        replace(REQUEST, seed=1),
        replace(REQUEST, device=Device(name="cuda", kind="cuda", gpus=1)),
        replace(REQUEST, model=replace(REQUEST.model, config={"_target_": "a.C"})),
        replace(REQUEST, model=replace(REQUEST.model, name="other")),
        replace(REQUEST, data=DATA),
        replace(REQUEST, data=replace(DATA, calibration=1)),
        replace(REQUEST, data=replace(DATA, arguments={"_target_": "a.batches", "split": "test"})),
    ]
    cells = expand(variants, modes)
    assert len({cell.id for cell in cells}) == len(cells) == 2 * len(variants)
    assert not any(cell.duplicate_of for cell in cells)


def test_how_it_is_measured_and_judged_does_not_make_another_cell(modes: dict[str, Mode]) -> None:
    cells = expand([REQUEST], modes)
    for other in (
        replace(REQUEST, limits=Limits(total=9999)),
        replace(REQUEST, measure=Measure(trials=20, precision=0.001)),
        replace(REQUEST, tolerance={"fp32": Tolerance(rel_l2=1e-9)}),
    ):
        assert [cell.id for cell in cells] == [cell.id for cell in expand([other], modes)]
    judged_otherwise = replace(DATA, samples=9, metric="a.accuracy", allowed_drop=0.1, higher_is_better=False)
    one, other_ = (expand([replace(REQUEST, data=data)], modes) for data in (DATA, judged_otherwise))
    assert [cell.id for cell in one] == [cell.id for cell in other_]
    assert asked({"data": "mine", "data.samples": "9", "data.metric.average": "micro", "data.split": "b"}) == {
        "data": "mine",
        "data.split": "b",
    }


def test_what_is_asked_twice_is_kept_and_marked(modes: dict[str, Mode]) -> None:
    cells = expand([replace(REQUEST, conversions=("EAGER", "EAGER", "EAGER"))], modes)
    assert len({cell.id for cell in cells}) == 3
    assert [cell.duplicate_of for cell in cells] == [None, cells[0].id, cells[0].id]


def test_ids_of_earlier_run_folders_stay(modes: dict[str, Mode]) -> None:
    """A resumed sweep goes by them."""
    plain = replace(
        REQUEST,
        model=Model(
            name="mlp",
            config={"_target_": "torch.nn.Linear", "in_features": 8, "out_features": 4, "input": {"shape": [8]}},
        ),
        conversions=("EAGER",),
        tolerance={"fp32": Tolerance(rel_l2=1e-4, source="docs")},
    )
    assert [cell.id for cell in expand([plain], modes)] == ["mlp-eager-cpu-b1-92890fd697"]
    mine = Mode(
        name="MINE+FAST",
        runs_on=("cuda",),
        needs=("onnx",),
        dtype="float16",
        precision="fp16",
        engine="own",
        implemented=True,
        target="mine.fast",
        source="configuration",
    )
    assert [cell.id for cell in expand([EVERY_OPTION], {"MINE+FAST": mine})] == [
        "my_net_-mine+fast-h100-b16-3e0777c123"
    ]


EVERY_OPTION = Request(
    model=Model(
        name="My Net/é",
        config={
            "_target_": "mine.Net",
            "width": 1.5,
            "blocks": [{"_target_": "mine.Block", "deep": None}],
            "input": {"shape": [3, 8], "dtype": "int64", "low": 1, "high": 9},
            "checkpoint": "/models/net.pt",
        },
    ),
    device=Device(
        name="h100",
        kind="cuda",
        gpus=0.5,
        accelerator="H100",
        labels={"zone": "a"},
        resources={"fast": 2.0},
        cpus=4,
        memory=8000,
    ),
    conversions=("MINE+FAST",),
    batch_size=16,
    threads=3,
    seed=7,
    cache="warm",
    start="spawn",
    env=("TOKEN",),
    python_path=("/home/me",),
    measure=Measure(
        warmup_calls=11,
        max_warmup_seconds=4,
        block_seconds=0.2,
        seconds=0.5,
        trials=5,
        budget=2,
        precision=0.01,
        margin=0.02,
        drift=0.1,
        verify_inputs=9,
        verify_after_calls=64,
        exclusive="node",
    ),
    limits=Limits(
        start=1, build=2, eager=3, convert=4, first_call=5, warm_up=6, measure=7, verify=8, total=9, grace=10, memory=11
    ),
    tolerance={"fp32": Tolerance(rel_l2=1e-5, cosine=0.999, source="mine"), "int4": Tolerance()},
    overrides={"measure.precision": "0.01"},
)


def test_an_option_of_a_cell_says_what_it_is() -> None:
    """What has no such word of itself is not an option: those that a configuration cannot set."""
    assert {part.name for part in fields(Setting)} - OPTIONS.keys() == {"python_path", "overrides"}
    as_first = {"model", "device", "batch_size", "threads", "seed", "cache"}
    assert {name for name, option in OPTIONS.items() if option.meaning == "always"} == as_first, (
        "an option that is new must change no id of an earlier run folder"
    )


def test_equal_models_and_devices_have_one_key_and_others_another() -> None:
    config = {"_target_": "a.B", "sizes": [1, 2], "input": {"shape": [4]}}
    shuffled = {"input": {"shape": [4]}, "sizes": [1, 2], "_target_": "a.B"}
    assert Model(name="a", config=config).key == Model(name="a", config=shuffled).key
    assert Model(name="a", config=config).key != Model(name="b", config=config).key
    assert Model(name="a", config=config).key != Model(name="a", config={**config, "sizes": [2, 1]}).key
    assert Device(name="cpu").key == Device(name="cpu").key
    assert Device(name="cpu").key != Device(name="cpu", labels={"zone": "a"}).key
