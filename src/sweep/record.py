"""The run folder: the request and plan of a sweep, one durable row for each cell, and the files of every cell."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep import interrupts, journal, reading
from sweep.cell import Cell
from sweep.durable import remove_unfinished, write_atomically
from sweep.errors import BadRequest, RunFolderBroken, RunFolderFull, RunFolderTaken
from sweep.lock import FolderLock
from sweep.plan import changes
from sweep.result import SCHEMA, Outcome, Result

SPENT = "refined_seconds"
"""The entry of `sweep.json` that says how much of its budget a sweep has spent."""

ENOUGH = "refined_enough_for_seconds"
"""The entry that says for which budget nothing more is to be found out: a sweep that goes on with it stays as it is."""

_BEGINS = '{\n "schema": '
"""How `sweep.json` begins."""


class RunFolder:
    """Names every file of a run folder, and writes those that all others are made from.

    `request` is `sweep.json`: the request, the plan, versions and nodes. `journal` is `results.jsonl`: the rows.
    """

    def __init__(self, path: Path, how_to_resume: Callable[[str], str] = "resume={}".format) -> None:
        """`how_to_resume` gives the command that goes on with the sweep in a folder."""
        self.path, self._how_to_resume = path, how_to_resume
        self.request = path / "sweep.json"
        self.journal = path / "results.jsonl"
        self._lock = FolderLock(path)
        self._earlier_attempts: dict[str, tuple[str, ...]] = {}

    def start(self, cells: Sequence[Cell], about: Mapping[str, Any]) -> None:
        """Write the request and the plan. Raises RunFolderTaken if a sweep is there or nothing can be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock_folder()
            if not self.is_unused:
                raise RunFolderTaken(
                    f"{self.path} holds a sweep already: resume={self.path} goes on with it, hydra.sweep.dir=… "
                    "names another folder"
                )
            remove_unfinished([self.path])
            self._write_request(cells, about)
            self.journal.touch()
        except OSError as error:
            raise RunFolderTaken(f"cannot write to the run folder {self.path}: {error.strerror}") from error

    @property
    def is_unused(self) -> bool:
        """Whether no sweep is here: no folder, or at most what a start that was cut off leaves, which holds no row."""
        try:
            text = self.request.read_text(encoding="utf-8", errors="replace") if self.request.exists() else ""
        except OSError:  # it may be one: who reads it is told why it cannot be read
            return False
        is_torn = _BEGINS.startswith(text[: len(_BEGINS)].strip("\0")) and not text.endswith("\n}")
        return is_torn and (not self.journal.exists() or self.journal.stat().st_size == 0)

    def resume(
        self, cells: Sequence[Cell], about: Mapping[str, Any], retry: Sequence[str], *, anyway: bool
    ) -> list[Result]:
        """Go on with the sweep in the folder; returns the rows that it keeps.

        Rows of interrupted cells, and those whose status or reason `retry` names, are removed so that their cells run
        again; all rows as they were are kept in `results-before-N.jsonl`. Raises BadRequest where the plan or the
        versions changed, unless `anyway`; RunFolderTaken, RunFolderBroken.
        """
        try:
            self._lock_folder()
            remove_unfinished([self.path, *self.path.glob("cells/*")])
            before = self.about()
            if not anyway and (problems := changes.refusals(before, cells, about)):
                raise BadRequest(*problems)
            rows = self.load()
            planned = {cell.id for cell in cells}
            kept = [row for row in rows if not changes.runs_again(row, retry, planned)]
            if len(kept) < len(rows):
                number = len(list(self.path.glob("results-before-*.jsonl"))) + 1
                write_atomically(self.path / f"results-before-{number}.jsonl", journal.lines(rows))
            kept_ids = {row.id for row in kept}
            about = {**about, SPENT: before.get(SPENT, 0.0)}
            if ENOUGH in before and len(kept) == len(planned):
                about[ENOUGH] = before[ENOUGH]
            self._earlier_attempts = {row.id: row.attempts for row in rows if row.id not in kept_ids}
            self._write_request(cells, about)
            write_atomically(self.journal, journal.lines(kept))
        except OSError as error:
            raise RunFolderTaken(f"cannot resume {self.path}: {error.strerror}") from error
        return kept

    def add_about(self, more: Mapping[str, Any]) -> None:
        """Add entries to `sweep.json`, or replace them. Raises RunFolderFull."""
        self.write(self.request.name, json.dumps({**self.about(), **more}, indent=1))

    def about(self) -> dict[str, Any]:
        """The content of `sweep.json`. Raises RunFolderBroken."""
        try:
            about = json.loads(self.request.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunFolderBroken(f"there is no sweep in {self.path}: it has no sweep.json") from error
        except OSError as error:
            raise RunFolderBroken(f"cannot read {self.request}: {error.strerror}") from error
        except ValueError as error:
            raise RunFolderBroken(f"{self.request} is not what sweep wrote: {error}") from error
        if not isinstance(about, dict) or not isinstance(about.get("plan"), list):
            raise RunFolderBroken(f"{self.request} is not what sweep wrote")
        journal.refuse_newer(about.get("schema"), str(self.request))
        return about

    def rewrite(self, rows: Sequence[Result]) -> None:
        """Replace all rows: one for each cell, where some had several one after the other. Raises RunFolderFull."""
        self.write(self.journal.name, journal.lines(rows))

    def texts(self, id_: str) -> dict[str, str]:
        """The files of a cell by their names, as far as they can be read."""
        texts = {}
        for file in (self.path / "cells" / id_).glob("*"):
            with suppress(OSError, ValueError):
                texts[file.name] = file.read_text(encoding="utf-8")
        return texts

    def discard_unused(self) -> None:
        """Remove what Hydra made for a sweep that never started, and folders where nothing else is in them."""
        if self.request.exists() or not self.path.is_dir():
            return
        with suppress(OSError):
            if self._lock.acquire():  # another sweep is just starting here
                return
            for file in (self.path / "multirun.yaml", self._lock.file):
                file.unlink(missing_ok=True)
            self._lock.release()
            for folder in (self.path, *self.path.parents[:2]):
                folder.rmdir()

    def append(self, outcome: Outcome) -> Result:
        """Write a cell's files, then its row, synced; returns the row as written, with the paths of those files.

        A row that could not be read again is written as one that says so. An interrupt waits until the row is written.
        Raises RunFolderFull where there is no room; then no part of the row is written.
        """
        with interrupts.held():
            return self._write_outcome(outcome)

    def append_all(self, rows: Sequence[Result]) -> list[Result]:
        """As `append`, for rows of cells that did not run: all at once, which takes microseconds for each."""
        with interrupts.held():
            written = [journal.readable(self._with_attempts(row)) for row in rows]
            try:
                journal.append(self.journal, "".join(line for _, line in written))
            except OSError as error:
                raise self._full_error(error) from error
            return [row for row, _ in written]

    def _with_attempts(self, row: Result) -> Result:
        """The row with the attempts of its cell that a resumed sweep found."""
        earlier = self._earlier_attempts.pop(row.id, ())
        return replace(row, attempts=(*earlier, *row.attempts)) if earlier else row

    def _write_outcome(self, outcome: Outcome) -> Result:
        result = self._with_attempts(outcome.result)
        try:
            if outcome.files:
                folder = self.path / "cells" / result.id
                folder.mkdir(parents=True, exist_ok=True)
                for name, text in outcome.files.items():
                    write_atomically(folder / name, text)
                relative = f"cells/{result.id}"
                result = replace(result, log=f"{relative}/cell.log", samples=f"{relative}/samples.json")
            result, line = journal.readable(result)
            journal.append(self.journal, line)
        except OSError as error:
            raise self._full_error(error) from error
        return result

    def write(self, name: str, text: str | Iterable[str]) -> None:
        """Write a file that is made from the rows. Raises RunFolderFull."""
        try:
            write_atomically(self.path / name, text)
        except OSError as error:
            raise self._full_error(error) from error

    def write_with(self, writer: Callable[[Path, Sequence[Result]], None], name: str, rows: Sequence[Result]) -> None:
        """Have `writer` write a file from the rows. Raises RunFolderFull."""
        try:
            writer(self.path / name, rows)
        except OSError as error:
            raise self._full_error(error) from error

    def _full_error(self, error: OSError) -> RunFolderFull:
        return RunFolderFull(
            f"cannot write to {self.path}: {error.strerror}. All rows so far are kept; make room, and go on with "
            f"{self._how_to_resume(str(self.path))}"
        )

    def load(self) -> list[Result]:
        """The last row of every cell, in the order in which they first came. A last line that is cut off is skipped.

        Rows of earlier versions have None in the fields that did not exist then. Raises RunFolderBroken where the file
        cannot be read, or a line is no row or one of a later version.
        """
        try:
            return journal.load(self.journal)
        except OSError as error:
            raise RunFolderBroken(f"cannot read {self.journal}: {error.strerror}") from error

    def _lock_folder(self) -> None:
        """Keep other sweeps out until `release`. Raises RunFolderTaken, OSError."""
        if held := self._lock.acquire():
            raise RunFolderTaken(f"another sweep is writing to {self.path}: {held}")

    def release(self) -> None:
        """Let other sweeps in; a process that ends does so too."""
        self._lock.release()

    def _write_request(self, cells: Sequence[Cell], about: Mapping[str, Any]) -> None:
        plan = {"schema": SCHEMA, **about, "plan": [cell.id for cell in cells]}
        write_atomically(self.request, json.dumps(plan, indent=1))


def read_cell(folder: Path) -> Cell:
    """The cell whose files are in the folder `cells/<id>`. Raises RunFolderBroken."""
    file = folder / "cell.json"
    try:
        cell: Cell = reading.of(Cell).validate_json(file.read_bytes())
    except OSError as error:
        raise RunFolderBroken(f"cannot read {file}: {error.strerror}") from error
    except ValidationError as error:
        raise RunFolderBroken(f"{file} describes no cell: {error.errors()[0]['msg']}") from error
    return cell
