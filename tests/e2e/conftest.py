"""Runs `python -m sweep` as a user does: another process, another folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

QUICKLY = (
    *("measure=quick", "measure.seconds=0.1", "measure.block_seconds=0.02", "measure.max_warmup_seconds=0.2"),
    "threads=1",
)
"""For sweeps whose times do not matter. Two threads, and other tests beside them, would wait for each other."""


@dataclass(frozen=True)
class Ran:
    """How a command ended, what it said, and the rows of the run folder it made."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def run(self) -> Path:
        (found,) = self.folder.glob("multirun/*/*")
        return found

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Rows by conversion, for sweeps in which each occurs once."""
        rows = [json.loads(line) for line in (self.run / "results.jsonl").read_text().splitlines()]
        assert len({row["conversion"] for row in rows}) == len(rows)
        return {row["conversion"]: row for row in rows}

    def statuses(self) -> dict[str, str]:
        return {name: row["status"] + (f"/{row['reason']}" if row["reason"] else "") for name, row in self.rows.items()}


Sweep = Callable[..., Ran]


@pytest.fixture
def sweep(weird_path: Path) -> Sweep:
    return sweep_in(weird_path)


def sweep_in(folder: Path) -> Sweep:
    """Runs commands of sweep in a folder."""

    def run(*arguments: str, module: str = "sweep", env: dict[str, str] | None = None) -> Ran:
        ended = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(code=ended.returncode, out=ended.stdout, err=ended.stderr, folder=folder)

    return run
