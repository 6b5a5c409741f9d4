"""How the latency of eager itself moved from one sweep to another: nothing is decided by that."""

import statistics
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from math import log

from sweep.compare import matching
from sweep.compare.matching import ComparedRun
from sweep.plan.inventory import version_changes
from sweep.result import Quality, Result
from sweep.verdict.decision import group_key


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """How eager's p50 moved in a group of cells that have it in common: medians of its figures beside `cells` of them.

    `new` is the row of one of them. `versions` are those that changed, in words.
    """

    new: Result
    cells: int
    base_ms: float
    new_ms: float
    ratio: float
    versions: tuple[str, ...]


def moved(base: ComparedRun, new: ComparedRun) -> tuple[Moved, ...]:
    """How eager moved in each group, the most first; rows that were disturbed tell it where there are no others."""
    groups: dict[Hashable, list[tuple[Result, Result]]] = defaultdict(list)
    for id_ in matching.ok_in_both(base, new):
        groups[group_key(new.rows[id_])].append((base.rows[id_], new.rows[id_]))
    found = []
    for rows in groups.values():
        quiet = [pair for pair in rows if Quality.DISTURBED not in {row.quality for row in pair}] or rows
        found.append(
            Moved(
                new=quiet[0][1],
                cells=len(quiet),
                base_ms=statistics.median(p50(before) for before, _ in quiet),
                new_ms=statistics.median(p50(now) for _, now in quiet),
                ratio=statistics.median(quotient(p50(now), p50(before)) for before, now in quiet),
                versions=tuple(version_changes(quiet[0][0].versions, quiet[0][1].versions)),
            )
        )
    return tuple(sorted(found, key=lambda moved: -abs(log(moved.ratio))))


def quotient(new: float, base: float) -> float:
    """The quotient of two latencies in ms; a coarse clock may have measured 0."""
    return max(new, 1e-6) / max(base, 1e-6)


def p50(row: Result) -> float:
    assert row.eager is not None, "an ok row has its baseline"
    return row.eager.p50_ms
