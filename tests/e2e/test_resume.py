"""Sweeps that end before they are done, by whatever hand, and go on."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep import load
from tests.conftest import marked_processes
from tests.e2e.conftest import QUICKLY, Sweep

GRID = ("+model=mlp", "conversion=EAGER,JIT_TRACE", "batch_size=1,2,3", "-m", *QUICKLY)
ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "process" / "misbehaving.py"
BEFORE = Path(__file__).parent / "version_before" / "run"


def rows(folder: Path) -> list[dict[str, Any]]:
    """Of the newest sweep in a folder, as far as they are whole."""
    journals = sorted(folder.glob("multirun/*/*/results.jsonl"), key=lambda path: path.stat().st_mtime)
    lines = journals[-1].read_text().split("\n")[:-1] if journals else []
    return [json.loads(line) for line in lines]


def found(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what depends on other rows too: how sure its speed-up is."""
    speedup = {**row["speedup"], **dict.fromkeys(("low", "high", "decision"))} if row["speedup"] else None
    return {**row, "speedup": speedup, "quality": None}


def started(
    folder: Path, *arguments: str, program: tuple[str, ...] = (sys.executable, "-m", "sweep")
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*program, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(there: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not there():
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.05)


@pytest.mark.slow
def test_a_sweep_whose_driver_was_killed_goes_on_where_it_was(sweep: Sweep, weird_path: Path) -> None:
    driver = started(weird_path, *GRID)
    until(lambda: len(rows(weird_path)) >= 2, driver)
    driver.kill()
    driver.communicate()
    for _ in range(200):
        if not marked_processes(of_ray=True):
            break
        time.sleep(0.1)
    assert not marked_processes(of_ray=True)
    before = rows(weird_path)
    assert len(before) < 6
    ran = sweep("resume=last")
    assert ran.code == 0, ran.out + ran.err
    after = rows(weird_path)
    assert list(map(found, after[: len(before)])) == list(map(found, before))  # not run again
    assert len({row["id"] for row in after}) == len(after) == 6
    assert {row["status"] for row in after} == {"ok"}
    assert f"6 cells planned, {len(before)} done before, {6 - len(before)} to run" in ran.out
    assert (ran.run / "matrix.md").is_file()


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The rows in a run folder, as far as they are whole."""
    journal = run / "results.jsonl"
    return [json.loads(line) for line in journal.read_text().split("\n")[:-1]] if journal.exists() else []


@pytest.mark.slow
def test_the_same_command_again_ends_with_one_row_for_every_cell(sweep: Sweep, weird_path: Path) -> None:
    """Whatever starts it again need not know how far it came: not at all, some rows, or all of them."""
    command = (*GRID, "dispatch=serial", "hydra.sweep.dir=run", "resume=auto", "retry=[lost]")
    run, before = weird_path / "run", list[dict[str, Any]]()
    for come_so_far in (run.is_dir, lambda: rows_of(run), lambda: len(rows_of(run)) >= 3):
        driver = started(weird_path, *command)
        until(come_so_far, driver)
        driver.kill()
        driver.communicate()
        while marked_processes():
            time.sleep(0.05)
        assert list(map(found, rows_of(run)[: len(before)])) == list(map(found, before))
        before = rows_of(run)
    assert 3 <= len(before) < 6
    ran = sweep(*command)
    assert ran.code == 0, ran.out + ran.err
    done = rows_of(run)
    assert list(map(found, done[: len(before)])) == list(map(found, before))  # none was done again
    assert len({row["id"] for row in done}) == len(done) == 6
    assert {row["status"] for row in done} == {"ok"}
    journal = (run / "results.jsonl").read_bytes()
    again = sweep(*command)
    assert (again.code, (run / "results.jsonl").read_bytes()) == (0, journal), again.err
    assert "6 cells planned, 6 done before, 0 to run" in again.out
    assert sweep(*command, "seed=1").err.startswith("sweep: the plan changed")


@pytest.mark.parametrize(
    ("number", "program", "more"),
    [
        (signal.SIGINT, (sys.executable, "-m", "sweep"), ""),
        (signal.SIGTERM, (str(ROOT / "scripts" / "sweep"),), " dry_run=true"),
        (signal.SIGINT, (str(Path(sys.executable).with_name("sweep")),), " dry_run=true"),
    ],
    ids=["module", "scripts/sweep", "console script"],
)
def test_an_interrupted_sweep_says_how_to_go_on(
    weird_path: Path, number: signal.Signals, program: tuple[str, ...], more: str
) -> None:
    """What is printed is typed as it stands, and works as what was typed first; once to the end, else as a plan."""
    driver = started(weird_path, *GRID, "dispatch=serial", program=program)
    until(lambda: rows(weird_path), driver)
    driver.send_signal(number)
    out, _ = driver.communicate()
    assert driver.returncode == 3, out
    interrupted = rows(weird_path)
    assert len(interrupted) == 6
    assert {(row["status"], row["reason"]) for row in interrupted} == {("ok", None), ("skipped", "interrupted")}
    (command,) = [line.removeprefix("Go on with: ") for line in out.splitlines() if line.startswith("Go on with: ")]
    assert command.startswith(f"{shlex.join(program)} ")
    ended = subprocess.run(["bash", "-c", command + more], cwd="/", capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "6 cells planned" in ended.stdout
    assert more or [row["status"] for row in rows(weird_path)] == ["ok"] * 6
    assert not marked_processes()


@pytest.mark.slow
def test_interrupted_twice_it_ends_at_once_and_can_still_go_on(sweep: Sweep, weird_path: Path, tmp_path: Path) -> None:
    (weird_path / "mine.py").write_text(HELPERS.read_text())
    (weird_path / "conf" / "model").mkdir(parents=True)
    (weird_path / "conf" / "model" / "stubborn.yaml").write_text(
        f"_target_: mine.Misbehaving\nhow: ignore TERM\nmarker: {tmp_path / 'marker'}\ninput: {{shape: [8]}}\n"
    )
    options = ("--config-dir", "conf", "+model=stubborn,mlp", "conversion=EAGER", "limits.grace=1000", *QUICKLY)
    driver = started(weird_path, *options, "dispatch=serial")
    until((tmp_path / "marker").exists, driver)
    driver.send_signal(signal.SIGINT)
    time.sleep(1)
    assert driver.poll() is None  # it waits for the cell, which does not listen
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=30)
    assert driver.returncode == 3, out
    (weird_path / "conf" / "model" / "stubborn.yaml").write_text(
        "_target_: mine.Misbehaving\nhow: well\ninput: {shape: [8]}\n"
    )
    assert "the plan changed" in sweep("resume=last").err
    assert sweep("resume=last", "resume_anyway=true").code == 0
    assert [row["status"] for row in rows(weird_path)] == ["ok", "ok"]


@pytest.mark.slow
def test_a_crash_is_tried_again_when_asked_and_can_be_run_by_itself(sweep: Sweep, weird_path: Path) -> None:
    (weird_path / "mine.py").write_text(HELPERS.read_text())
    (weird_path / "conf" / "model").mkdir(parents=True)
    config = weird_path / "conf" / "model" / "once.yaml"
    config.write_text("_target_: mine.Misbehaving\nhow: segfault once\ninput: {shape: [8]}\n")
    options = ("--config-dir", "conf", "+model=once", "conversion=EAGER,JIT_TRACE", "dispatch=serial")
    ran = sweep(*options, *QUICKLY)
    assert ran.statuses() == {"EAGER": "crashed/signal", "JIT_TRACE": "skipped/eager-fails"}, ran.err
    crashed = ran.rows["EAGER"]
    assert crashed["id"] in ran.rows["JIT_TRACE"]["message"]
    assert crashed["crash"]["signal"] == "SIGSEGV"
    assert any("mine.py" in frame and "in _segfault" in frame for frame in crashed["crash"]["stack"])
    (again,) = [line.removeprefix("Again: ") for line in ran.out.splitlines() if line.startswith("Again: ")]
    ended = subprocess.run(["bash", "-c", again], cwd=weird_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "Segmentation fault" in ended.stderr
    assert json.loads(ended.stdout)["crash"]["signal"] == "SIGSEGV"
    (weird_path / "mine.py").write_text(HELPERS.read_text().replace('"segfault once": _segfault', '"": _segfault'))
    assert sweep("resume=last").statuses() == ran.statuses()  # unasked, nothing runs again
    mended = sweep("resume=last", "retry=[crashed]")
    assert mended.statuses() == {"EAGER": "ok", "JIT_TRACE": "ok"}, mended.err
    assert [attempt.partition(" on ")[0] for attempt in mended.rows["EAGER"]["attempts"]] == ["signal", "ok"]


def test_a_run_of_an_earlier_version_is_read_and_not_gone_on_with(sweep: Sweep, weird_path: Path) -> None:
    shutil.copytree(BEFORE, weird_path / "run")
    ran = sweep("resume=run", "resume_anyway=true")
    assert ran.code == 2
    assert "run was written by an earlier version of sweep" in ran.err
    assert len(load(weird_path / "run").rows) == 8
    rows_before, rows_after = ((run / "results.jsonl").read_bytes() for run in (BEFORE, weird_path / "run"))
    assert rows_after == rows_before


@pytest.mark.slow
def test_a_finished_sweep_is_refined_with_more_budget(sweep: Sweep, weird_path: Path) -> None:
    ran = sweep("+model=mlp", "conversion=EAGER,JIT_TRACE", *QUICKLY)
    assert ran.code == 0, ran.err
    before = ran.rows
    again = sweep("resume=last", "measure.budget=0.8")
    assert again.code == 0, again.err
    assert "2 done before, 0 to run" in again.out
    assert [row["id"] for row in again.rows.values()] == [row["id"] for row in before.values()]
    for name, row in again.rows.items():
        quotients = [(q["value"], q["round"]) for q in row["speedup"]["quotients"]]
        first = before[name]["speedup"]["quotients"][0]
        assert quotients[0] == (first["value"], 1)  # nothing is done again
        assert len(quotients) > 1
        assert row["attempts"] == before[name]["attempts"]
    spent = json.loads((again.run / "sweep.json").read_text())["refined_seconds"]
    assert spent > 0
    done = sweep("resume=last", "measure.budget=0.0001")
    assert "Every cell has its row" not in done.out
    assert len((done.run / "results.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_sweep_that_is_interrupted_while_it_refines_is_whole(sweep: Sweep, weird_path: Path) -> None:
    driver = started(weird_path, "+model=mlp", "conversion=EAGER,JIT_TRACE", *QUICKLY, "measure.budget=5")
    assert driver.stdout is not None
    for line in driver.stdout:
        if line.startswith("Every cell has its row"):
            break
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate()
    assert driver.returncode == 3, out
    assert "Go on with" in out
    assert [row["status"] for row in rows(weird_path)] == ["ok", "ok"]
    ran = sweep("resume=last", "measure.budget=0.01")
    assert ran.code == 0, ran.err
    assert ran.statuses() == {"EAGER": "ok", "JIT_TRACE": "ok"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("resume=last",), "there is no sweep under multirun/ here"),
        (("resume=nowhere",), "there is no sweep in nowhere"),
        (("+model=mlp", "retry=[crashed]"), "retry goes with resume=FOLDER"),
        (("resume=nowhere", "hydra.sweep.dir=there"), "resume names the run folder"),
    ],
)
def test_what_cannot_be_resumed_is_said(sweep: Sweep, arguments: tuple[str, ...], said: str) -> None:
    ran = sweep(*arguments)
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.slow
def test_a_folder_that_a_sweep_is_writing_to_is_left_to_it(sweep: Sweep, weird_path: Path) -> None:
    driver = started(weird_path, *GRID, "dispatch=serial")
    until(lambda: rows(weird_path), driver)
    driver.send_signal(signal.SIGSTOP)  # or it might be done before the other one has started
    ran = sweep("resume=last")
    driver.send_signal(signal.SIGCONT)
    out, _ = driver.communicate()
    assert (ran.code, "another sweep is writing to" in ran.err) == (2, True), ran.err
    assert driver.returncode == 0, out
    assert [row["status"] for row in rows(weird_path)] == ["ok"] * 6


@pytest.mark.slow
def test_a_disk_that_is_full_ends_the_sweep_and_loses_nothing(sweep: Sweep, weird_path: Path) -> None:
    command = [sys.executable, "-m", "sweep", *GRID, "dispatch=serial"]
    limited = ["bash", "-c", f"ulimit -f 10; exec {shlex.join(command)}"]  # KiB, less than six rows
    ended = subprocess.run(limited, cwd=weird_path, capture_output=True, text=True, check=False, env=os.environ)
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert "File too large. All rows so far are kept; make room, and go on with" in ended.stderr
    before = rows(weird_path)
    assert len(before) < 6
    ran = sweep("resume=last")
    assert ran.code == 0, ran.out + ran.err
    assert list(map(found, rows(weird_path)[: len(before)])) == list(map(found, before))
    assert [row["status"] for row in rows(weird_path)] == ["ok"] * 6


@pytest.mark.slow
def test_whatever_is_killed_no_row_is_lost_doubled_or_run_again() -> None:
    """A sweep of the benchmark that kills; it counts rows and processes itself, and fails if any is amiss."""
    chaos = Path(__file__).parents[2] / "scripts" / "bench" / "chaos.py"
    ended = subprocess.run([sys.executable, chaos, "1", "8", "1"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 of 1 sweeps came out whole" in ended.stdout
    assert ", with " in ended.stdout  # and something was hit
