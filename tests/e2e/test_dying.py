"""Whatever a sweep hangs on dies: every planned cell has its row, and the exit code says what happened."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sweep import reaper
from tests.e2e.conftest import QUICKLY

NAMES = ("EAGER", "COMPILE_INDUCTOR_DEFAULT", "JIT_TRACE", "EXPORT+EAGER", "COMPILE_TENSORRT")


def first_row(folder: Path, process: subprocess.Popen[bytes]) -> Path:
    """The journal of the sweep in a folder, once a cell that ran has its row in it."""
    while not any('"ok"' in journal.read_text() for journal in folder.glob("multirun/*/*/results.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    (journal,) = folder.glob("multirun/*/*/results.jsonl")
    return journal


@pytest.mark.slow
def test_a_terminal_that_is_closed_takes_no_row_and_no_matrix_with_it(weird_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sweep", "+model=mlp", f"conversion={','.join(NAMES)}", *QUICKLY],
        cwd=weird_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    journal = first_row(weird_path, process)
    os.close(ours)  # whoever draws gets EIO from now on
    for _ in range(3):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.02)
    assert process.wait() == 3
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sorted(row["conversion"] for row in rows) == sorted(NAMES)
    assert "interrupted" in {row["reason"] for row in rows}
    for name in ("matrix.md", "report.html", "results.parquet"):
        assert (journal.parent / name).is_file()


def of_ray(process: subprocess.Popen[str], program: str) -> Iterator[int]:
    """The ids of the programs of that name among what a sweep has started."""
    for pid in reaper.descendants(process.pid):
        with suppress(OSError):
            if program in Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]:
                yield pid


def of_cells(process: subprocess.Popen[str]) -> Iterator[int]:
    """The ids of processes that run cells, below a supervisor that Ray carries."""
    for pid in reaper.descendants(process.pid):
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "sweep-zygote\n":
                yield pid


@pytest.mark.slow
def test_a_local_ray_that_dies_is_started_again_twice(weird_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sweep", "+model=mlp", f"conversion={','.join(NAMES)}", *QUICKLY],
        cwd=weird_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    known: set[int] = set()
    for program in ("gcs_server", "raylet"):
        while not (found := set(of_ray(process, program)) - known) or not list(of_cells(process)):
            assert process.poll() is None
            time.sleep(0.05)
        known |= {*of_ray(process, "gcs_server"), *of_ray(process, "raylet")}
        for pid in found:
            os.kill(pid, signal.SIGKILL)
    out, _ = process.communicate()
    (journal,) = weird_path.glob("multirun/*/*/results.jsonl")
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sorted(row["conversion"] for row in rows) == sorted(NAMES)
    assert process.returncode == 0, out
    assert "the local Ray lost its gcs_server, and was started again" in out
    assert {row["reason"] for row in rows if row["status"] != "ok"} == {"needs-device"}


def child_of(process: subprocess.Popen[str]) -> int | None:
    """The process that the sweep runs in."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else None


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 3])
def test_a_sweep_that_something_else_ended_goes_on_by_itself_twice(weird_path: Path, kills: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sweep", "+model=mlp", f"conversion={','.join(NAMES)}", "dispatch=serial", *QUICKLY],
        cwd=weird_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    killed: set[int] = set()
    while len(killed) < kills:
        pid = child_of(process)
        assert process.poll() is None
        planned = list(weird_path.glob("multirun/*/*/sweep.json"))
        if planned and pid and pid not in killed and reaper.descendants(pid):  # its nursery
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        time.sleep(0.05)
    out, _ = process.communicate()
    (journal,) = weird_path.glob("multirun/*/*/results.jsonl")
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sorted(row["conversion"] for row in rows) == sorted(NAMES)
    assert out.count("something else than the sweep ended it, with signal 9; going on with ") == kills, out
    assert process.returncode == (3 if kills > 2 else 0), out
    assert ("interrupted" in {row["reason"] for row in rows}) == (kills > 2)
    assert (journal.parent / "matrix.md").is_file()
