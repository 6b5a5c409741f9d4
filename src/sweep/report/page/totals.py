"""Figures of all rows together: counts of statuses, causes of failures, and seconds per phase."""

import re
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sweep.reading import one_line
from sweep.result import SECONDS, Result
from sweep.status import Reason, Status

_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|(?<![\w.])/[^\s:'\"]+|(?<![\w.])[-+±]?\d[\d.,]*(?:e[-+]?\d+)?")
"""The parts of a message that differ between cells with the same cause: addresses, paths and figures."""

MOST_NAMED = 5
"""How many cells are named for each cause."""


@dataclass(kw_only=True, slots=True)
class Cause:
    """A cause of failures: how many cells have it, and (id, name) of the first of them."""

    status: Status
    reason: Reason | None
    text: str
    count: int = 0
    cells: list[tuple[str, str]] = field(default_factory=list)


_Counted = tuple[Status, str, int | None, "array[float]"]
"""Of a row that was counted: its status, the family of its engine, the number of its cause, and its seconds."""


class Totals:
    """Counts rows by status and by cause, and adds up the seconds of their phases by the family of their engine."""

    def __init__(self) -> None:
        self.statuses: Counter[Status] = Counter()
        self.causes: list[Cause] = []
        self.seconds: dict[str, list[float]] = {}
        self._numbers: dict[tuple[Status, Reason | None, str], int] = {}
        self._counted: dict[str, _Counted] = {}

    def add(self, row: Result, family: str) -> int | None:
        """Count a row; returns the number of its cause, None where it is ok."""
        seconds = array("d", [row.seconds.get(key) or 0.0 for key in SECONDS])
        self.statuses[row.status] += 1
        self._add_seconds(family, seconds)
        cause = None if row.status is Status.OK else self._cause(row)
        if any(seconds):  # what never ran has no newer row
            self._counted[row.id] = (row.status, family, cause, seconds)
        return cause

    def take_back(self, id_: str) -> None:
        """Count a row no longer, because its cell has a newer one. Nothing for a row that was not counted."""
        if id_ not in self._counted:
            return
        status, family, number, seconds = self._counted.pop(id_)
        self.statuses[status] -= 1
        self._add_seconds(family, [-value for value in seconds])
        if number is not None:
            cause = self.causes[number]
            cause.count -= 1
            cause.cells = [cell for cell in cause.cells if cell[0] != id_]

    def _add_seconds(self, family: str, seconds: Iterable[float]) -> None:
        sums = self.seconds.setdefault(family, [0.0] * len(SECONDS))
        self.seconds[family] = [sum_ + more for sum_, more in zip(sums, seconds, strict=True)]

    def _cause(self, row: Result) -> int:
        key = (row.status, row.reason, cause_text(row))
        number = self._numbers.setdefault(key, len(self.causes))
        if number == len(self.causes):
            self.causes.append(Cause(status=row.status, reason=row.reason, text=key[2]))
        cause = self.causes[number]
        cause.count += 1
        if len(cause.cells) < MOST_NAMED:
            cause.cells.append((row.id, one_line(f"{row.model} {row.conversion} {row.device} b{row.batch_size}")))
        return number

    def as_json(self) -> dict[str, Any]:
        """The causes and the seconds, as the page reads them."""
        return {
            "causes": [[cause.status, cause.reason, cause.text, cause.count, cause.cells] for cause in self.causes],
            "seconds": self.seconds,
        }


def cause_text(row: Result) -> str:
    """A row's message without its remarks, and with `…` for the parts that differ between cells of the same cause."""
    text = _VARIABLE.sub("…", row.message.partition("; ")[0].replace(row.conversion, "…"))
    return one_line(text)
