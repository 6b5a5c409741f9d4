"""Whatever a sweep hangs on dies: every planned cell has its row, and the exit code says what happened."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
