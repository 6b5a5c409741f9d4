"""What is said of all rows together, counted as they come: causes of failures, and seconds per phase."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sweep.reading import one_line
from sweep.result import SECONDS, Reason, Result, Status

_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|(?<![\w.])/[^\s:'\"]+|(?<![\w.])[-+±]?\d[\d.,]*(?:e[-+]?\d+)?")
"""What differs from cell to cell in what is said of the same fault: addresses, paths and figures."""

MOST_NAMED = 5
"""How many of the cells that failed alike are named."""


@dataclass(kw_only=True, slots=True)
class Cause:
    """Cells that failed alike: how many, and the first of them."""

    status: Status
    reason: Reason | None
    text: str
    count: int = 0
    cells: list[tuple[str, str]] = field(default_factory=list)


class Totals:
    """Counts rows by status and by cause, and adds up what their phases took by the family of the engine asked for."""

    def __init__(self) -> None:
        self.statuses: Counter[Status] = Counter()
        self.causes: list[Cause] = []
        self.seconds: dict[str, list[float]] = {}
        self._numbers: dict[tuple[Status, Reason | None, str], int] = {}

    def add(self, row: Result, family: str) -> int | None:
        """Count a row; returns the number of its cause, None where it is ok."""
        self.statuses[row.status] += 1
        sums = self.seconds.setdefault(family, [0.0] * len(SECONDS))
        for place, key in enumerate(SECONDS):
            sums[place] += row.seconds.get(key) or 0.0
        return None if row.status is Status.OK else self._cause(row)

    def _cause(self, row: Result) -> int:
        key = (row.status, row.reason, fault(row))
        number = self._numbers.setdefault(key, len(self.causes))
        if number == len(self.causes):
            self.causes.append(Cause(status=row.status, reason=row.reason, text=key[2]))
        cause = self.causes[number]
        cause.count += 1
        if len(cause.cells) < MOST_NAMED:
            cause.cells.append((row.id, one_line(f"{row.model} {row.conversion} {row.device} b{row.batch_size}")))
        return number

    def said(self) -> dict[str, Any]:
        """All but the counts, as the page reads it."""
        return {
            "causes": [[cause.status, cause.reason, cause.text, cause.count, cause.cells] for cause in self.causes],
            "seconds": self.seconds,
        }


def fault(row: Result) -> str:
    """What a row's message says of its fault alone, without remarks on the measurement; `…` is what varies."""
    said = _VARIABLE.sub("…", row.message.partition("; ")[0].replace(row.conversion, "…"))
    return one_line(said)
