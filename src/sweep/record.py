"""The run folder: what was asked, one durable row a cell, and the files of every cell."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sweep.cell import SCHEMA, Cell, Outcome, Result
from sweep.errors import RunFolderTaken

_RESULT = TypeAdapter(Result)


class RunFolder:
    """Names every file of a run, and writes the ones that are the truth: `sweep.json` and `results.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.request = path / "sweep.json"
        self.journal = path / "results.jsonl"

    def start(self, cells: Sequence[Cell], about: dict[str, Any]) -> None:
        """Write the request and the plan. Raises RunFolderTaken if a sweep is there or nothing can be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.request.exists() or self.journal.exists():
                raise RunFolderTaken(f"{self.path} holds a sweep already: choose another with hydra.sweep.dir=…")
            plan = {"schema": SCHEMA, **about, "plan": [cell.id for cell in cells]}
            write_atomically(self.request, json.dumps(plan, indent=1))
            self.journal.touch()
        except OSError as error:
            raise RunFolderTaken(f"cannot write to the run folder {self.path}: {error.strerror}") from error

    def discard_unused(self) -> None:
        """Take away what Hydra made for a sweep that never started, as far as it is empty."""
        if self.request.exists() or not self.path.is_dir():
            return
        with suppress(OSError):
            (self.path / "multirun.yaml").unlink(missing_ok=True)
            for folder in (self.path, *self.path.parents[:2]):
                folder.rmdir()

    def append(self, outcome: Outcome) -> Result:
        """Write a cell's files, then its row, synced; returns the row as written, with the paths of those files."""
        result = outcome.result
        if outcome.files:
            folder = self.path / "cells" / result.id
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in outcome.files.items():
                write_atomically(folder / name, text)
            where = f"cells/{result.id}"
            result = replace(result, log=f"{where}/cell.log", samples=f"{where}/samples.json")
        with open(self.journal, "a", encoding="utf-8") as journal:
            journal.write(json.dumps(asdict(result)) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        return result

    def load(self) -> list[Result]:
        """Every row written, in the order they came."""
        return [_RESULT.validate_json(line) for line in self.journal.read_text(encoding="utf-8").splitlines()]


def write_atomically(path: Path, text: str) -> None:
    """Write aside, then rename: a reader sees the old file or the new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
