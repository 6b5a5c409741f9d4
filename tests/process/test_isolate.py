"""Cells in real processes that really crash, hang and leak."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep import isolate
from sweep.cell import Cell, Device, Limits, Measure, Model
from sweep.result import Outcome, Result
from sweep.status import Reason

MakeCell = Callable[..., Cell]


@pytest.fixture
def behave(make_cell: MakeCell, supervisor: isolate.Supervisor, tmp_path: Path) -> Callable[..., Outcome]:
    def run(how: str, **changes: Any) -> Outcome:
        config = {
            "_target_": "misbehaving.Misbehaving",
            "how": how,
            "marker": str(tmp_path / "marker"),
            "input": {"shape": [8]},
        }
        return isolate.run(make_cell(model=Model(name="misbehaving", config=config), **changes), supervisor)

    return run


def verdict(row: Result) -> str:
    return f"{row.status}/{row.reason}" if row.reason else str(row.status)


def test_all_phases_together_have_a_deadline_too(behave: Callable[..., Outcome]) -> None:
    row = behave("hang", limits=Limits(total=8, grace=0.5)).result
    assert verdict(row) == "crashed/timeout"
    assert "limits.total=8 s" in row.message


def test_the_stack_of_a_segfault_is_in_the_log(behave: Callable[..., Outcome]) -> None:
    log = behave("segfault").files["cell.log"]
    assert "Segmentation fault" in log
    assert "misbehaving.py" in log


@pytest.mark.parametrize("how", ["well", "print"])
def test_noise_does_not_reach_the_report(behave: Callable[..., Outcome], how: str) -> None:
    row = behave(how).result
    assert verdict(row) == "ok", row.message
    assert row.speedup is not None
    assert row.latency_ms is not None
    assert row.latency_ms.n >= 30


def test_a_cell_sees_its_own_folders_and_no_secret(
    behave: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("MY_LICENCE", "wanted")
    outcome = behave("tell environment", env=("MY_LICENCE",))
    folder, *variables = (tmp_path / "marker").read_text().splitlines()
    environment = dict(variable.partition("=")[::2] for variable in variables)
    assert "hunter2" not in "".join([*variables, *outcome.files.values()])
    assert environment["MY_LICENCE"] == "wanted"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert Path(environment["TMPDIR"]).parent == Path(folder).parent
    assert Path(environment["TORCHINDUCTOR_CACHE_DIR"]).parent == Path(folder).parent
    assert not Path(folder).exists()


def test_the_files_of_a_cell_say_what_was_asked_and_seen(behave: Callable[..., Outcome]) -> None:
    files = behave("well").files
    assert json.loads(files["cell.json"])["conversion"] == "EAGER"
    report = json.loads(files["report.json"])
    (process,) = report["processes"]
    assert process["ending"]["code"] == 0
    assert process["evidence"]["done"] is True
    samples = json.loads(files["samples.json"])
    assert samples["unit"] == "s"
    eager, converted = samples["processes"][0]["eager"], samples["processes"][0]["conversion"]
    assert len(eager) == len(converted) + 1 >= 5  # blocks by turns: eager is the first and the last
    assert min(map(len, [*eager, *converted])) >= 30


def test_a_cell_is_measured_in_several_processes(behave: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = behave("count processes", measure=Measure(seconds=0.2, trials=3))
    assert verdict(outcome.result) == "ok"
    assert outcome.result.latency_ms is not None
    assert outcome.result.speedup is not None
    assert len((tmp_path / "marker").read_text().split()) == 4  # and that of their control
    samples = json.loads(outcome.files["samples.json"])["processes"]
    assert len(samples) == len(outcome.result.speedup.quotients) == 3
    calls = [sum(map(len, process["conversion"])) for process in samples]
    disturbed = [quotient.disturbed for quotient in outcome.result.speedup.quotients]  # by tests beside this one
    counted = [n for n, left_out in zip(calls, disturbed, strict=True) if not left_out] or calls
    assert outcome.result.latency_ms.processes == len(counted)
    assert outcome.result.latency_ms.n == sum(counted)


def test_a_process_that_fails_is_the_last_of_its_cell(behave: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = behave("segfault in the third process", measure=Measure(seconds=0.2, trials=3))
    assert verdict(outcome.result) == "crashed/signal"
    assert outcome.result.message.startswith("trial 2: ended by SIGSEGV in phase first-call")
    assert len((tmp_path / "marker").read_text().split()) == 3  # with the control
    assert outcome.result.latency_ms is not None
    assert outcome.result.latency_ms.processes == 1


def test_the_deadline_of_all_phases_is_that_of_all_processes(behave: Callable[..., Outcome], tmp_path: Path) -> None:
    brief = Measure(seconds=1, max_warmup_seconds=0.5, trials=20)  # 2 s each, however busy the machine
    outcome = behave("well", measure=brief, limits=Limits(total=8, grace=1))
    assert verdict(outcome.result) == "crashed/timeout"
    assert "limits.total=8 s" in outcome.result.message
    assert outcome.result.message.startswith("trial ")


def test_a_model_that_is_not_there_is_a_bad_model(make_cell: MakeCell, supervisor: isolate.Supervisor) -> None:
    for target, problem in {"no.such.Model": "no module 'no'", "torch.nn.NoSuch": "has no 'NoSuch'"}.items():
        config = {"_target_": target, "input": {"shape": [8]}}
        row = isolate.run(make_cell(model=Model(name="m", config=config)), supervisor).result
        assert row.reason is Reason.BAD_MODEL
        assert problem in row.message


ONNX_RUNTIME_THREADS = """
import os, sys
from sweep.child import threads
print(threads.pin(1))
threads.pin_onnxruntime(1)
allowed = os.sched_getaffinity(0)
import onnxruntime, torch
torch.onnx.export(torch.nn.Linear(8, 4), (torch.zeros(1, 8),), sys.argv[1], dynamo=True)
before = set(os.listdir("/proc/self/task"))
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {session.get_inputs()[0].name: torch.zeros(1, 8).numpy()})
made = set(os.listdir("/proc/self/task")) - before
print(sum(not os.sched_getaffinity(int(thread)) <= allowed for thread in made))
"""


def test_onnx_runtime_keeps_to_the_cpus_of_the_cell(tmp_path: Path) -> None:
    """Left alone it starts a thread for every core of the machine and moves it there, whatever the process may use."""
    ended = subprocess.run(
        [sys.executable, "-c", ONNX_RUNTIME_THREADS, tmp_path / "m.onnx"], capture_output=True, text=True, check=True
    )
    lines = ended.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("1", "0")


def test_a_row_tells_the_threads_it_ran_with(make_cell: MakeCell, supervisor: isolate.Supervisor) -> None:
    assert isolate.run(make_cell(threads=1), supervisor).result.threads == 1
    everything = isolate.run(make_cell(threads=None), supervisor).result.threads
    assert everything is not None
    assert everything >= 1


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_a_warm_cell_finds_what_it_compiled_before_and_a_cold_one_nothing(
    make_cell: MakeCell, supervisor: isolate.Supervisor, cache: str
) -> None:
    row = isolate.run(make_cell(conversion="COMPILE_INDUCTOR_DEFAULT", cache=cache), supervisor).result
    assert row.status == "ok", row.message
    assert row.engine is not None
    assert (row.engine.evidence["cache_hits"] > 0) is (cache == "warm")


@pytest.mark.parametrize(
    "conversion", ["NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED", "NATIVE_FAKE_QUANTIZED_AI8WI8_STATIC"]
)
def test_what_alma_catches_and_forgets_is_what_the_row_says(
    make_cell: Callable[..., Cell], supervisor: isolate.Supervisor, conversion: str
) -> None:
    config = {"_target_": "several.Branches", "input": {"shape": [4]}}
    row = isolate.run(make_cell(model=Model(name="m", config=config), conversion=conversion), supervisor).result
    assert (row.status, row.reason) == ("crashed", "raised")
    assert "symbolically traced variables cannot be used as inputs to control flow" in row.message


def test_a_cell_on_another_device_than_the_cpu_gets_a_new_interpreter(
    make_cell: MakeCell, supervisor: isolate.Supervisor
) -> None:
    """What drives it does not survive a fork; here there is none, which the row says."""
    outcome = isolate.run(make_cell(device=Device(name="xpu", kind="xpu"), start="fork"), supervisor)
    assert json.loads(outcome.files["cell.json"])["start"] == "spawn"
    assert verdict(outcome.result) == "crashed/raised"
