"""`results.jsonl`, the journal of a sweep: a row a line, appended and synced; the last of each cell holds."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep import reading
from sweep.errors import RunFolderBroken
from sweep.result import SCHEMA, Result
from sweep.status import Reason


def append(file: Path, text: str) -> None:
    """Append whole lines, synced; none of them where there is no room. Raises OSError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
    try:
        size = os.fstat(descriptor).st_size
        try:
            data = text.encode()
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def load(file: Path) -> list[Result]:
    """What `RunFolder.load` says; nothing where there is no file. Raises RunFolderBroken, OSError."""
    if not file.exists():
        return []
    with open(file, encoding="utf-8", errors="replace", newline="\n") as text:
        return list({row.id: row for row in _rows(file, text)}.values())


def _rows(file: Path, lines: Iterable[str]) -> Iterator[Result]:
    values = _SharedValues()
    for number, line in enumerate(lines, 1):
        if line.endswith("\n"):
            yield values.share(_row(file, number, line))
        else:
            with suppress(ValidationError):  # complete, but for its line's end
                yield reading.of(Result).validate_json(line)


def _row(file: Path, number: int, line: str) -> Result:
    try:
        row: Result = reading.of(Result).validate_json(line)
    except ValidationError as error:
        with suppress(ValueError, AttributeError):
            refuse_newer(json.loads(line).get("schema"), f"line {number} of {file}")
        raise RunFolderBroken(f"line {number} of {file} is no row: {error.errors()[0]['msg']}") from error
    refuse_newer(row.schema, f"line {number} of {file}")
    return row


def refuse_newer(schema: Any, source: str) -> None:
    """Raise RunFolderBroken for a schema that is newer than this version of sweep; `source` names what has it."""
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RunFolderBroken(
            f"{source} has schema {schema}, and this sweep knows none above {SCHEMA}: use a newer sweep"
        )


class _SharedValues:
    """Lets rows share equal values: without it those of a large sweep take twice the memory."""

    FIELDS = (
        *("model", "conversion", "device", "overrides", "message", "engine", "load", "node", "hardware"),
        *("fingerprint", "versions", "compat", "attempts", "environment"),
    )

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}

    def share(self, row: Result) -> Result:
        return replace(row, **{name: self._first_equal(getattr(row, name)) for name in self.FIELDS})

    def _first_equal(self, value: Any) -> Any:
        return self._seen.setdefault(repr(value), value)


def readable(row: Result) -> tuple[Result, str]:
    """A row and its line, which can be read again; of one that cannot, what says so in its place."""
    try:
        line = _line(row)
        reading.of(Result).validate_json(line)
    except (ValueError, RecursionError, TypeError) as error:
        said = f"its row could not be read again, and was left out: {reading.one_line(str(error))}"
        names = (
            *("id", "model", "conversion", "device", "batch_size", "threads", "environment"),
            *("attempts", "log", "samples"),
        )
        kept = {name: reading.clean(getattr(row, name)) for name in names}
        row = Result(**kept, status=Reason.NO_REPORT.status, reason=Reason.NO_REPORT, message=said)
        return row, _line(row)
    return row, line


def _line(row: Result) -> str:
    return f"{reading.of(Result).dump_json(row).decode()}\n"


def lines(rows: Sequence[Result]) -> str:
    """The lines of rows, which a whole file is written from."""
    return "".join(map(_line, rows))
