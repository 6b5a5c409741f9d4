"""The run folder: what was asked, one durable row a cell, and the files of every cell."""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep import interrupts, reading
from sweep.cell import Cell
from sweep.durable import write_atomically
from sweep.errors import BadRequest, RunFolderBroken, RunFolderFull, RunFolderTaken
from sweep.plan.inventory import version_changes
from sweep.result import SCHEMA, Outcome, Reason, Result, Status


class RunFolder:
    """Names every file of a run, and writes the ones that are the truth: `sweep.json` and `results.jsonl`."""

    def __init__(self, path: Path, how_to_resume: Callable[[str], str] = "resume={}".format) -> None:
        """`how_to_resume` says what to type to go on with the sweep in a folder."""
        self.path, self._how_to_resume = path, how_to_resume
        self.request = path / "sweep.json"
        self.journal = path / "results.jsonl"
        self._lock: int | None = None
        self._earlier: Mapping[str, tuple[str, ...]] = {}

    def start(self, cells: Sequence[Cell], about: Mapping[str, Any]) -> None:
        """Write the request and the plan. Raises RunFolderTaken if a sweep is there or nothing can be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._take()
            if self.request.exists() or self.journal.exists():
                raise RunFolderTaken(
                    f"{self.path} holds a sweep already: resume={self.path} goes on with it, hydra.sweep.dir=… "
                    "names another folder"
                )
            self._write_request(cells, about)
            self.journal.touch()
        except OSError as error:
            raise RunFolderTaken(f"cannot write to the run folder {self.path}: {error.strerror}") from error

    def resume(
        self, cells: Sequence[Cell], about: Mapping[str, Any], retry: Sequence[str], *, anyway: bool
    ) -> list[Result]:
        """Take up a sweep where it ended; returns the rows that stay.

        Rows of interrupted cells, and those whose status or reason `retry` names, are taken away so that their
        cells run again; all rows as they were are kept beside in `results-before-N.jsonl`. Raises BadRequest where
        the plan or the versions changed, unless `anyway`; RunFolderTaken, RunFolderBroken.
        """
        try:
            self._take()
            before = self.about()
            if not anyway and (changes := [*_plan_changes(before, cells), *_version_changes(before, about)]):
                raise BadRequest(*changes)
            rows = self.load()
            stay = [row for row in rows if not _runs_again(row, retry, {cell.id for cell in cells})]
            if len(stay) < len(rows):
                number = len(list(self.path.glob("results-before-*.jsonl"))) + 1
                write_atomically(self.path / f"results-before-{number}.jsonl", _lines(rows))
            kept = {row.id for row in stay}
            self._earlier = {row.id: row.attempts for row in rows if row.id not in kept}
            self._write_request(cells, about)
            write_atomically(self.journal, _lines(stay))
        except OSError as error:
            raise RunFolderTaken(f"cannot resume {self.path}: {error.strerror}") from error
        return stay

    def note(self, more: Mapping[str, Any]) -> None:
        """Put what was found out while cells ran into `sweep.json`. Raises RunFolderFull."""
        self.write(self.request.name, json.dumps({**self.about(), **more}, indent=1))

    def about(self) -> dict[str, Any]:
        """What `sweep.json` says. Raises RunFolderBroken."""
        try:
            said = json.loads(self.request.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunFolderBroken(f"there is no sweep in {self.path}: it has no sweep.json") from error
        except OSError as error:
            raise RunFolderBroken(f"cannot read {self.request}: {error.strerror}") from error
        except ValueError as error:
            raise RunFolderBroken(f"{self.request} is not what sweep wrote: {error}") from error
        if not isinstance(said, dict) or not isinstance(said.get("plan"), list):
            raise RunFolderBroken(f"{self.request} is not what sweep wrote")
        _refuse_newer(said.get("schema"), str(self.request))
        return said

    def discard_unused(self) -> None:
        """Take away what Hydra made for a sweep that never started, as far as it is empty."""
        if self.request.exists() or not self.path.is_dir():
            return
        with suppress(OSError):
            for left in ("multirun.yaml", ".lock"):
                (self.path / left).unlink(missing_ok=True)
            for folder in (self.path, *self.path.parents[:2]):
                folder.rmdir()

    def append(self, outcome: Outcome) -> Result:
        """Write a cell's files, then its row, synced; returns the row as written, with the paths of those files.

        An interrupt waits until the row is there. Raises RunFolderFull where there is no room; then nothing of it is.
        """
        with interrupts.held():
            return self._written(outcome)

    def _written(self, outcome: Outcome) -> Result:
        result = outcome.result
        result = replace(result, attempts=(*self._earlier.get(result.id, ()), *result.attempts))
        try:
            if outcome.files:
                folder = self.path / "cells" / result.id
                folder.mkdir(parents=True, exist_ok=True)
                for name, text in outcome.files.items():
                    write_atomically(folder / name, text)
                where = f"cells/{result.id}"
                result = replace(result, log=f"{where}/cell.log", samples=f"{where}/samples.json")
            self._append(_line(result))
        except OSError as error:
            raise self._full(error) from error
        return result

    def write(self, name: str, text: str | Iterable[str]) -> None:
        """Write a file that is made from the rows. Raises RunFolderFull."""
        try:
            write_atomically(self.path / name, text)
        except OSError as error:
            raise self._full(error) from error

    def write_with(self, writer: Callable[[Path, Sequence[Result]], None], name: str, rows: Sequence[Result]) -> None:
        """Have a file made from the rows by what writes it itself. Raises RunFolderFull."""
        try:
            writer(self.path / name, rows)
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> RunFolderFull:
        return RunFolderFull(
            f"cannot write to {self.path}: {error.strerror}. All rows so far are kept; make room, and go on with "
            f"{self._how_to_resume(str(self.path))}"
        )

    def _append(self, line: str) -> None:
        journal = os.open(self.journal, os.O_WRONLY | os.O_APPEND)
        try:
            size = os.fstat(journal).st_size
            try:
                data = line.encode()
                while data:
                    data = data[os.write(journal, data) :]
                os.fsync(journal)
            except OSError:
                os.ftruncate(journal, size)
                raise
        finally:
            os.close(journal)

    def load(self) -> list[Result]:
        """Every row written, in the order they came. What a killed sweep wrote of a last row is left out.

        Rows of earlier versions lack what was not known then. Raises RunFolderBroken for anything that is no row, or
        one of a later version, and where it cannot be read.
        """
        if not self.journal.exists():
            return []
        try:
            with open(self.journal, encoding="utf-8", errors="replace", newline="\n") as lines:
                return list(self._rows(lines))
        except OSError as error:
            raise RunFolderBroken(f"cannot read {self.journal}: {error.strerror}") from error

    def _rows(self, lines: Iterable[str]) -> Iterator[Result]:
        alike = _Alike()
        for number, line in enumerate(lines, 1):
            if line.endswith("\n"):
                yield alike.shared(self._row(number, line))
            else:
                with suppress(ValidationError):  # whole but for its line's end
                    yield reading.of(Result).validate_json(line)

    def _row(self, number: int, line: str) -> Result:
        try:
            row: Result = reading.of(Result).validate_json(line)
        except ValidationError as error:
            with suppress(ValueError, AttributeError):
                _refuse_newer(json.loads(line).get("schema"), f"line {number} of {self.journal}")
            raise RunFolderBroken(f"line {number} of {self.journal} is no row: {error.errors()[0]['msg']}") from error
        _refuse_newer(row.schema, f"line {number} of {self.journal}")
        return row

    def _take(self) -> None:
        """Keep other sweeps out until `release`. Raises RunFolderTaken."""
        self._lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise RunFolderTaken(f"another sweep is writing to {self.path}: let it end, or end it") from error

    def release(self) -> None:
        """Let other sweeps in; a process that ends does so too."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write_request(self, cells: Sequence[Cell], about: Mapping[str, Any]) -> None:
        plan = {"schema": SCHEMA, **about, "plan": [cell.id for cell in cells]}
        write_atomically(self.request, json.dumps(plan, indent=1))


def read_cell(folder: Path) -> Cell:
    """The cell whose files are in a folder `cells/<id>`. Raises RunFolderBroken."""
    file = folder / "cell.json"
    try:
        cell: Cell = reading.of(Cell).validate_json(file.read_bytes())
    except OSError as error:
        raise RunFolderBroken(f"cannot read {file}: {error.strerror}") from error
    except ValidationError as error:
        raise RunFolderBroken(f"{file} describes no cell: {error.errors()[0]['msg']}") from error
    return cell


def _refuse_newer(schema: Any, what: str) -> None:
    """Raises RunFolderBroken for a schema that this version cannot know."""
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RunFolderBroken(
            f"{what} has schema {schema}, and this sweep knows none above {SCHEMA}: use a newer sweep"
        )


class _Alike:
    """Lets rows share what is the same in them: without it those of a large sweep take twice the room."""

    FIELDS = (
        *("model", "conversion", "device", "overrides", "message", "engine", "load", "node", "hardware"),
        *("fingerprint", "versions", "compat", "attempts"),
    )

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}

    def shared(self, row: Result) -> Result:
        return replace(row, **{name: self._one(getattr(row, name)) for name in self.FIELDS})

    def _one(self, value: Any) -> Any:
        return self._seen.setdefault(repr(value), value)


def _runs_again(row: Result, retry: Sequence[str], planned: set[str]) -> bool:
    if row.id not in planned or row.reason in {Reason.INTERRUPTED, Reason.EXCLUDED}:  # rules are of the request
        return True
    # what was not tried because another cell crashed depends on that cell
    return row.status in retry or row.reason in retry or (row.reason is Reason.EAGER_FAILS and Status.CRASHED in retry)


def _plan_changes(before: Mapping[str, Any], cells: Sequence[Cell]) -> list[str]:
    old, new = dict.fromkeys(before["plan"]), dict.fromkeys(cell.id for cell in cells)
    fewer, more = [id_ for id_ in old if id_ not in new], [id_ for id_ in new if id_ not in old]
    if not fewer and not more:
        return []
    said = [f"{len(ids)} cells {how}, such as {ids[0]}" for ids, how in ((fewer, "fewer"), (more, "more")) if ids]
    return [f"the plan changed: {', '.join(said)}; resume_anyway=true goes on with the new one"]


def _version_changes(before: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    changed = version_changes(before.get("versions", {}), about.get("versions", {}))
    if not changed:
        return []
    return [f"versions changed, so rows would not compare: {', '.join(changed)}; resume_anyway=true mixes them"]


def _line(row: Result) -> str:
    return json.dumps(asdict(row)) + "\n"


def _lines(rows: Sequence[Result]) -> str:
    return "".join(map(_line, rows))
