"""Sweeps asked for from Python do what the command line does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sweep
from sweep.errors import BadRequest, RunFolderTaken, SweepError
from tests.e2e.conftest import Sweep

QUICKLY: dict[str, Any] = {
    "dispatch": "serial",
    "measure": "quick",
    "options": {"measure.seconds": 0.1, "measure.block_seconds": 0.02, "measure.max_warmup_seconds": 0.2},
}
TYPED = ("dispatch=serial", "measure=quick", *(f"{key}={value}" for key, value in QUICKLY["options"].items()))
LINEAR = {"_target_": "torch.nn.Linear", "in_features": 8, "out_features": 4, "input": {"shape": [8]}}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def nothing_remembered(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here what is installed is found out once: it takes seconds, and no test here is about it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(weird_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(weird_path)


def test_importing_it_brings_nothing_heavy() -> None:
    heavy = ("torch", "ray", "hydra", "omegaconf", "pandas", "pyarrow", "pydantic", "rich", "jinja2", "mlflow")
    code = f"import sweep, sys; print([name for name in {heavy} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.slow
def test_it_is_the_same_sweep_as_the_command_lines(
    sweep: Sweep, capfd: pytest.CaptureFixture[str], weird_path: Path
) -> None:
    from sweep import run  # the fixture of that name runs the command line

    before = list(sys.argv)
    answer = run("mlp", ["EAGER", "EGAER"], batch_size=[1, 2], **QUICKLY)
    assert sys.argv == before
    printed = capfd.readouterr().out
    assert "4 cells planned, 2 to run" in printed
    assert "did you mean EAGER?" in printed
    assert [(row.conversion, row.batch_size, str(row.status)) for row in answer.rows] == [
        *(("EAGER", 1, "ok"), ("EGAER", 1, "invalid"), ("EAGER", 2, "ok"), ("EGAER", 2, "invalid")),
    ]
    assert answer.folder.parent.parent.parent == weird_path
    assert (answer.folder / "matrix.csv").is_file()
    answer.folder.rename(weird_path / "first")
    ran = sweep("+model=mlp", "conversion=EAGER,EGAER", "batch_size=1,2", *TYPED)
    typed = [json.loads(line) for line in (ran.run / "results.jsonl").read_text().splitlines()]
    assert {row["id"]: row["overrides"] for row in typed} == {row.id: dict(row.overrides) for row in answer.rows}


@pytest.mark.slow
def test_a_model_given_as_a_config_can_be_gone_on_with_from_the_command_line(sweep: Sweep, weird_path: Path) -> None:
    from sweep import run

    name = "it's mine, all mine"
    answer = run({name: LINEAR}, "EAGER", folder="my run", quiet=True, **QUICKLY)
    assert [(row.model, str(row.status)) for row in answer.rows] == [(name, "ok")]
    assert answer.folder == weird_path / "my run"
    (weird_path / "my run" / "results.jsonl").write_text("")  # as if it had been killed before its first row
    ran = sweep("resume='my run'")
    assert ran.code == 0, ran.err
    assert "1 cells planned, 1 to run" in ran.out
    (row,) = run(resume=answer.folder, quiet=True).rows
    assert (row.model, str(row.status)) == (name, "ok")


@pytest.mark.parametrize("models", ["mlp", {"m": LINEAR}])
def test_the_same_call_again_goes_on_where_the_first_was_cut_off(models: Any, weird_path: Path) -> None:
    def run_it() -> None:
        answer = sweep.run(models, "EGAER", folder="run", resume="auto", quiet=True, **QUICKLY)
        assert [str(row.status) for row in answer.rows] == ["invalid"]
        assert answer.folder == weird_path / "run"

    run_it()
    journal = weird_path / "run" / "results.jsonl"
    before = journal.read_bytes()
    run_it()
    assert journal.read_bytes() == before
    journal.write_text("")  # killed before its first row
    run_it()
    (weird_path / "run" / "sweep.json").write_text("")  # killed when it had just begun, at its configs
    journal.unlink()
    for config in weird_path.glob("run/conf/model/*.yaml"):
        config.write_text(config.read_text()[:20])
    run_it()


def test_without_a_folder_the_same_call_finds_its_own(weird_path: Path) -> None:
    first = sweep.run("mlp", "EGAER", resume="auto", quiet=True, **QUICKLY)
    assert sweep.run("mlp", "EGAER", resume="auto", quiet=True, **QUICKLY).folder == first.folder
    with pytest.raises(BadRequest, match="say in which folder"):
        sweep.run({"m": LINEAR}, "EGAER", resume="auto", quiet=True, **QUICKLY)


def test_other_configs_than_those_of_the_sweep_are_refused(weird_path: Path) -> None:
    sweep.run({"m": LINEAR}, "EGAER", folder="run", resume="auto", quiet=True, **QUICKLY)
    before = {path: path.read_bytes() for path in (weird_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(RunFolderTaken, match="conf is there already"):
        sweep.run({"m": LINEAR | {"bias": False}}, "EGAER", folder="run", resume="auto", quiet=True, **QUICKLY)
    assert {path: path.read_bytes() for path in (weird_path / "run").rglob("*") if path.is_file()} == before


def test_configs_of_ones_own_stand_beside_given_ones(weird_path: Path) -> None:
    (weird_path / "conf" / "device").mkdir(parents=True)
    (weird_path / "conf" / "device" / "mine.yaml").write_text("kind: cpu\ngpus: 0\n")
    answer = sweep.run({"a": LINEAR, "b": LINEAR}, "EGAER", devices=["cpu", "mine"], config_dir="conf", **QUICKLY)
    assert [(row.model, row.device) for row in answer.rows] == [
        ("a", "cpu"),
        ("a", "mine"),
        ("b", "cpu"),
        ("b", "mine"),
    ]


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"models": {"resnet": LINEAR}}, BadRequest, "sweep has a model 'resnet' of its own"),
        ({"models": {"theirs": LINEAR}, "config_dir": "conf"}, BadRequest, "has a model 'theirs' too"),
        ({"models": {"a": LINEAR}, "folder": "."}, RunFolderTaken, "conf is there already"),
    ],
)
def test_no_config_hides_another_and_none_of_ones_own_is_taken_away(
    weird_path: Path, asked: dict[str, Any], error: type[Exception], said: str
) -> None:
    (weird_path / "conf" / "model").mkdir(parents=True)
    (weird_path / "conf" / "model" / "theirs.yaml").write_text("_target_: mine.Net\n")
    with pytest.raises(error, match=said):
        sweep.run(conversions="EAGER", quiet=True, **asked, **QUICKLY)
    assert [path.name for path in weird_path.rglob("*.yaml")] == ["theirs.yaml"]


def test_it_says_nothing_when_asked_to(capfd: pytest.CaptureFixture[str]) -> None:
    sweep.run("mlp", "EGAER", quiet=True, **QUICKLY)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("asked", "problems"),
    [
        ({}, ["which models?"]),
        ({"models": "mlpp"}, ["unknown model 'mlpp': did you mean mlp?"]),
        ({"models": "mlp", "batch_sise": 1}, ["batch_sise"]),
        ({"models": "mlp", "conversions": "EAGER", "preset": "cpu_all"}, ["give one of them"]),
        ({"models": "mlp", "options": {"limits.memory": -1, "measure.trials": 0}}, ["limits.memory", "trials"]),
        ({"models": "mlp", "conversions": ["EGAER", "EAGRE"], "on_invalid": "abort"}, ["'EGAER'", "'EAGRE'"]),
        ({"models": "mlp", "dry_run": True}, ["dry_run has no rows"]),
        ({"models": {"m": LINEAR}, "resume": "x", "folder": "y"}, ["leave models out", "folder cannot name another"]),
        ({"models": {"m": LINEAR}, "conversions": "EGAER", "on_invalid": "abort"}, ["'EGAER'"]),
    ],
)
def test_what_is_wrong_is_raised_all_at_once_and_nothing_stays(
    asked: dict[str, Any], problems: list[str], weird_path: Path
) -> None:
    with pytest.raises(BadRequest) as error:
        sweep.run(**{"quiet": True, "dispatch": "serial", **asked})
    said = "\n".join(error.value.problems)
    assert [problem for problem in problems if problem not in said] == []
    assert list(weird_path.iterdir()) == []


@pytest.mark.parametrize("models", ["mlp", {"m": LINEAR}])
def test_a_folder_with_a_sweep_in_it_is_left_alone(models: Any, weird_path: Path) -> None:
    sweep.run(models, "EGAER", folder="run", quiet=True, **QUICKLY)
    before = {path: path.read_bytes() for path in (weird_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(RunFolderTaken):
        sweep.run(models, "EAGRE", folder="run", quiet=True, **QUICKLY)
    assert {path: path.read_bytes() for path in (weird_path / "run").rglob("*") if path.is_file()} == before
    assert issubclass(RunFolderTaken, SweepError)


def run_as_program(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_one_that_is_interrupted_has_rows_that_say_so(weird_path: Path) -> None:
    code = (
        "import os, signal, sweep\n"
        "from sweep.report.terminal import Board\n"
        "ended = Board.ended\n"
        "def and_interrupt(self, row):\n"
        "    ended(self, row)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "Board.ended = and_interrupt\n"
        "run = sweep.run('mlp', 'EAGER', batch_size=[1, 2, 3], dispatch='serial', measure='quick', quiet=True)\n"
        "print(*(row.reason for row in run.rows))\n"
    )
    ended = run_as_program(code, weird_path)
    assert ended.returncode == 0, ended.stderr
    assert sorted(ended.stdout.split()) == ["None", "interrupted", "interrupted"]


@pytest.mark.slow
def test_a_program_keeps_its_own_processes_and_its_environment(weird_path: Path) -> None:
    """Twice on a Ray of its own: in a thread, and inside a running event loop, as in a notebook."""
    code = (
        "import asyncio, os, signal, subprocess, threading, sweep\n"
        "from sweep.report.terminal import Board\n"
        "mine, ended = [], Board.ended\n"
        "def and_start_something(self, row):\n"
        "    mine.append(subprocess.Popen(['sleep', '600']))\n"
        "    ended(self, row)\n"
        "Board.ended = and_start_something\n"
        "def work():\n"
        "    run = sweep.run('mlp', ['EAGER', 'EAGRE'], measure='quick', quiet=True)\n"
        "    print(*(row.status for row in run.rows), flush=True)\n"
        "async def inside():\n"
        "    work()\n"
        "def state():\n"
        "    return dict(os.environ), [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]\n"
        "before = state()\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start(); thread.join()\n"
        "asyncio.run(inside())\n"
        "print(state() == before, len(mine), {child.poll() for child in mine})\n"
        "for child in mine: child.kill()\n"
    )
    ended = run_as_program(code, weird_path)
    assert ended.stdout.splitlines() == ["ok invalid", "ok invalid", "True 4 {None}"], ended.stderr
