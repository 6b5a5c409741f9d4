"""What pyproject.toml claims of versions, and how `scripts/versions` finds out what of it is so."""

import ast
import importlib.util
import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import sweep

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
TESTED = {
    re.sub(r"[-_.]+", "-", name).lower(): version
    for name, _, version in (line.partition("==") for line in CONSTRAINTS.splitlines() if "==" in line)
}


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # versions imports claims
    spec.loader.exec_module(module)
    return module


claims = script("claims")
versions = script("versions")


@pytest.mark.parametrize(
    ("requirement", "end"),
    [
        ("omegaconf>=2.3,<2.4", "2.3"),
        ("rich<16,>=13.9", "13.9"),
        ("ray[client]==2.60.0", "2.60.0"),
        ("scipy~=1.16", "1.16"),
        ("torch<3", None),
        ("torch-tensorrt", None),
        ("pillow==11.*", None),
        ("pandas>=2,>=3", None),  # which of them?
    ],
)
def test_the_lower_end_of_a_range(requirement: str, end: str | None) -> None:
    assert claims.lower_end(Requirement(requirement)) == end


def test_a_range_reads_as_in_pyproject() -> None:
    assert claims.range_of(Requirement("ray[client]<3,>=2.60")) == ">=2.60,<3"


def test_the_oldest_of_each_range_is_a_constraint() -> None:
    asked = [Requirement(line) for line in ("ray[client]>=2.60", "openvino>=2025.4,<2026")]
    assert claims.oldest(asked) == ["ray==2.60", "openvino==2025.4"]  # pip takes no extras in constraints


def test_every_range_without_a_lower_end_is_named() -> None:
    with pytest.raises(claims.Unclaimed, match=r"rich<16, torch-tensorrt$"):
        claims.oldest([Requirement(line) for line in ("rich<16", "scipy>=1", "torch-tensorrt")])


MADE_UP: dict[str, Any] = {
    "build-system": {"requires": ["hatchling>=1.2"]},
    "project": {
        "dependencies": ["torch>=2.1,<3", "ray[client]>=2.5", "Jinja2>=3"],
        "optional-dependencies": {
            "mlflow": ["mlflow-skinny>=2"],
            "timm": ["timm>=1"],
            "hf": ["transformers>=5"],
            "diffusers": ["diffusers>=0.4"],
            "dev": ["pytest>=9", "ruff>=0.1", "pytest-xdist>=3"],
        },
    },
}


def test_torch_is_the_tested_one_whatever_else_is_asked_for() -> None:
    pinned = "numpy==2.3\ntorch==2.2.1\ntorchvision==0.3"
    assert claims.pins("newest", MADE_UP, pinned) == ["torch==2.2.1"]
    assert claims.pins("tested", MADE_UP, pinned) == pinned.splitlines()
    oldest = "ray==2.5 Jinja2==3 mlflow-skinny==2 timm==1 transformers==5 diffusers==0.4 hatchling==1.2 pytest==9"
    assert claims.pins("oldest", MADE_UP, pinned) == ["torch==2.2.1", *oldest.split(), "pytest-xdist==3"]


def test_what_an_environment_must_not_have_is_left_out_by_any_spelling() -> None:
    left = claims.claimed(MADE_UP, ["timm"], without=["ray", "jinja2"])
    assert [found.name for found in left] == ["torch", "timm"]


def test_a_torch_that_brings_cuda_is_told_from_one_that_does_not() -> None:
    cpu = ["filelock", "sympy>=1.13.3", 'optree>=0.13.0; extra == "optree"']
    cuda = [
        *cpu,
        'nvidia-nccl-cu13==2.29.7; platform_system == "Linux"',
        "cuda-toolkit[cublas]==13.0.3",
        "triton==3.7.1",
    ]
    assert claims.cuda_packages({"install": [{"metadata": {"requires_dist": cpu}}]}) == []
    assert claims.cuda_packages({"install": [{"metadata": {}}]}) == []
    found = claims.cuda_packages({"install": [{"metadata": {"requires_dist": cuda}}]})
    assert found == ["nvidia-nccl-cu13", "cuda-toolkit"]


def test_a_sweep_holds_only_if_every_row_is_there_and_ok() -> None:
    ok = {"conversion": "EAGER", "status": "ok", "reason": None}
    bad = {"conversion": "JIT_TRACE", "status": "mismatch", "reason": "engine"}
    assert claims.of_rows([ok, ok], 2) == claims.Step(said="2 of 2 ok", holds=True)
    assert claims.of_rows([ok, bad], 2) == claims.Step(said="1 of 2 ok; JIT_TRACE mismatch/engine", holds=False)
    assert claims.of_rows([ok], 2) == claims.Step(said="1 of 2 ok", holds=False)


@pytest.mark.parametrize(
    ("counts", "said", "holds"),
    [
        ('tests="5" failures="0" errors="0" skipped="0"', "5 passed", True),
        ('tests="5" failures="0" errors="0" skipped="2"', "3 passed, 2 skipped", True),
        ('tests="9" failures="1" errors="2" skipped="0"', "6 passed, 1 failed, 2 with errors", False),
        ('tests="1" failures="0" errors="1" skipped="0"', "0 passed, 1 with errors", False),
        ('tests="2" failures="0" errors="0" skipped="2"', "0 passed, 2 skipped", False),
    ],
)
def test_unit_tests_hold_if_some_passed_and_none_failed(counts: str, said: str, holds: bool) -> None:
    junit = f'<testsuites><testsuite name="pytest" {counts}><testcase/></testsuite></testsuites>'
    assert claims.of_tests(junit) == claims.Step(said=said, holds=holds)


def test_the_page_says_what_failed_and_what_was_not_run() -> None:
    good, bad = claims.Step(said="9 of 9 ok", holds=True), claims.Step(said="8 of 9 ok; A|B crashed", holds=False)
    found = [
        claims.Found(name="tested", ranges="", python="3.11.7", on="2026-11-28", steps={"unit": good}),
        claims.Found(name="oldest", ranges="", steps={"unit": good, "ray": bad}, versions={"scipy": "1.16.0"}),
        claims.Found(name="python3.12", ranges="", steps={"unit": good}, not_run="not run with torch"),
        claims.Found(name="python3.13", ranges="", not_run="not run: no Python"),
    ]
    lines = claims.page(found, PYPROJECT, CONSTRAINTS).splitlines()
    last = {line.split(" | ")[0]: line for line in lines if line.startswith("| ")}
    assert last["| tested"].endswith("| passed | 2026-11-28 |")
    assert "8 of 9 ok; A/B crashed | – | – | **failed**" in last["| oldest"]
    assert "**in part**" in last["| python3.12"]
    assert "**not run**" in last["| python3.13"]
    assert last["| scipy"] == f"| scipy | `{claimed('scipy').specifier}` | 1.16.0 | – | – |"
    assert "- **python3.13**: not run: no Python." in lines


# The script


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Environments that need no pip: `oldest` cannot be installed, and sweeps of `newest` end in an error."""
    seen: dict[str, Any] = {"made": [], "ran": []}

    def install(site: Any, *_: Any, **__: Any) -> str:
        seen["made"].append(site.name)
        site.venv.mkdir()
        if site.name == "oldest":
            raise versions.Failed("exit code 1: no matching distribution")
        return "not run with torch" if site.name == "python3.12" else ""

    def step(name: str) -> Any:
        def ran(site: Any) -> Any:
            seen["ran"].append((site.name, name))
            if (site.name, name) == ("newest", "ray"):
                raise OSError("disk full")
            return claims.Step(said="fine", holds=True)

        return ran

    monkeypatch.setattr(versions, "interpreter", lambda version: None if version == "3.13" else sys.executable)
    monkeypatch.setattr(versions, "install", install)
    monkeypatch.setattr(versions, "installed", lambda _: ("3.11.7", {"scipy": "1.17.1"}))
    for name, function in {
        "unit": "unit_tests",
        "ray": "on_ray",
        "serial": "serially",
        "libraries": "libraries",
    }.items():
        monkeypatch.setattr(versions, function, step(name))
    return seen


def test_an_environment_that_fails_does_not_stop_the_others(
    stand_ins: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    assert versions.main(["--folder", str(tmp_path), "--page", str(page)]) == 1
    assert stand_ins["made"] == ["tested", "oldest", "newest", "without-ray", "python3.12"]
    assert [name for where, name in stand_ins["ran"] if where == "tested"] == ["unit", "ray", "serial", "libraries"]
    assert [name for where, name in stand_ins["ran"] if where == "without-ray"] == ["unit", "serial", "libraries"]
    assert [name for where, name in stand_ins["ran"] if where == "python3.12"] == ["unit"]
    text = page.read_text()
    assert "Failed: exit code 1: no matching distribution" in text
    assert "OSError: disk full" in text
    assert "there is no Python 3.13" in text
    assert "OSError: disk full" in (tmp_path / "newest.log").read_text()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]  # environments are removed
    assert str(tmp_path) in capsys.readouterr().out


def test_what_was_not_run_is_no_failure(stand_ins: dict[str, Any], tmp_path: Path) -> None:
    assert versions.main(["--folder", str(tmp_path), "--keep", "tested", "python3.12", "python3.13"]) == 0
    assert (tmp_path / "tested").is_dir()


def test_the_page_takes_what_the_folder_has_of_what_is_claimed_now(stand_ins: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert versions.main(["--folder", str(tmp_path), "tested", "without-ray"]) == 0
    file = tmp_path / "without-ray.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"ranges": "of another time"}))
    assert versions.main(["--folder", str(tmp_path), "python3.12"]) == 0
    stand_ins["ran"].clear()
    assert versions.main(["--folder", str(tmp_path), "--page", str(page), "--only-page"]) == 0
    assert stand_ins["ran"] == []
    text = page.read_text()
    assert re.search(r"^\| tested .*\| passed \|", text, re.M)
    assert re.search(r"^\| python3.12 .*\| \*\*in part\*\* \|", text, re.M)
    assert "**without-ray**: not run since `pyproject.toml` or `constraints.txt` changed." in text
    assert "**newest**: not run, for it was not asked for." in text


@pytest.mark.parametrize(
    ("name", "brings", "left_out"),
    [
        ("tested", [], set()),
        ("without-ray", [], {"ray"}),
        ("python3.12", ["nvidia-nccl-cu13==2.29.7"], {"torch", "torchvision", "optimum-quanto", "timm"}),
    ],
)
def test_what_is_not_to_be_there_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, brings: list[str], left_out: set[str]
) -> None:
    commands: list[list[str]] = []

    def call(site: Any, *command: str | Path, **_: Any) -> int:
        commands.append([*map(str, command)])
        if "--dry-run" in command:
            url = "https://example.org/torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl"
            told = {"metadata": {"requires_dist": brings}, "download_info": {"url": url}}
            (tmp_path / f"{name}-torch.json").write_text(json.dumps({"install": [told]}))
        return 0

    monkeypatch.setattr(versions.Site, "call", call)
    site = versions.Site(name=name, folder=tmp_path, minutes=1)
    missing = versions.install(site, "python3", claims.ENVIRONMENTS[name], cuda=False)
    assert ("only `torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl`" in missing) is bool(brings)
    pinned = (tmp_path / f"{name}-pins.txt").read_text().splitlines()
    assert ("torch<0" in pinned, "torch==2.13.0" in pinned) == (bool(brings), not brings)
    *_, last = commands
    if not left_out:
        assert last[-1] == f"{ROOT}[mlflow,timm,hf,diffusers]"
        return
    assert last[-3:] == ["--no-deps", "--no-build-isolation", str(ROOT)]
    asked = {Requirement(one).name for one in commands[-2][commands[-2].index("--no-build-isolation") + 1 :]}
    every = {one.name for one in claims.claimed(PYPROJECT, claims.EXTRAS)}
    assert every - asked == left_out


def test_unknown_environments_are_all_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        versions.main(["newset", "tested", "old", "--folder", str(tmp_path)])
    assert ended.value.code == 2
    assert "unknown: newset, old; there are tested, oldest" in capsys.readouterr().err


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    site = versions.Site(name="x", folder=tmp_path, minutes=0.001)
    with pytest.raises(versions.Failed, match=r"not done after 0\.001 minutes: sleep 60"):
        site.call("sleep", "60")
    said = versions.Site(name="x", folder=tmp_path, minutes=1)
    with pytest.raises(versions.Failed, match="exit code 3: the last line"):
        said.must("sh", "-c", "echo first; echo the last line; exit 3")


# What is claimed


def claimed(name: str) -> Requirement:
    (found,) = [one for one in claims.claimed(PYPROJECT, claims.EXTRAS) if one.name == name]
    return found  # type: ignore[no-any-return]


def test_the_tested_versions_are_within_what_is_claimed() -> None:
    every = [*claims.claimed(PYPROJECT, [*claims.EXTRAS, "dev"]), *claims.tools(PYPROJECT)]
    outside = [str(one) for one in every if TESTED[one.name.lower()] not in one.specifier]
    assert outside == []


def test_every_package_that_is_imported_is_a_requirement() -> None:
    root = Path(sweep.__file__).parent
    names: set[str] = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add((node.module or "").partition(".")[0])
    distributions = packages_distributions()
    extras = PYPROJECT["project"]["optional-dependencies"].keys()
    known = {re.sub(r"[-_.]+", "-", one.name).lower() for one in claims.claimed(PYPROJECT, extras)}
    others = names - sys.stdlib_module_names - {"sweep"}
    unknown = {
        name
        for name in others
        if name in distributions and not {re.sub(r"[-_.]+", "-", one).lower() for one in distributions[name]} & known
    }
    assert unknown == set()


PAGE = ROOT / "docs" / "versions.md"


def table(first: str) -> list[dict[str, str]]:
    """The rows of that table of the page, by its headings."""
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.read_text().splitlines()]
    at = next(n for n, cells in enumerate(lines) if cells[0] == first)
    rows = []
    for cells in lines[at + 2 :]:
        if len(cells) != len(lines[at]):
            break
        rows.append(dict(zip(lines[at], cells, strict=True)))
    return rows


def test_the_page_of_versions_is_of_what_is_claimed_now() -> None:
    rows = {row["package"]: row for row in table("package")}
    every = claims.claimed(PYPROJECT, claims.EXTRAS)
    again = "run scripts/versions --page docs/versions.md"
    assert {name: row["claimed"].strip("`") for name, row in rows.items()} == {
        one.name: claims.range_of(one) for one in every
    }, again
    for one in every:
        row = rows[one.name]
        if one.name != "torch":
            assert Version(row["oldest"]) == Version(claims.lower_end(one)), again
        assert Version(row["tested"]).public == TESTED[one.name], again
        assert Version(row["newest"]).public in one.specifier, again


def test_all_that_was_run_passed_and_no_other_python_is_claimed_by_name() -> None:
    rows = {row["environment"]: row for row in table("environment")}
    assert rows.keys() == claims.ENVIRONMENTS.keys()
    assert not any("failed" in row["all in all"] for row in rows.values())
    passed = {row["Python"].rpartition(".")[0] for row in rows.values() if row["all in all"] == "passed"}
    named = {
        line.rpartition(" ")[2]
        for line in PYPROJECT["project"]["classifiers"]
        if line.startswith("Programming Language :: Python :: 3.")
    }
    assert named == passed
