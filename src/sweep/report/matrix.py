"""The results matrix: one row a planned cell, grouped and ordered for reading."""

from collections import Counter
from collections.abc import Sequence

from sweep.cell import BASELINE, Cell
from sweep.errors import Incomplete
from sweep.result import Result, Status

_ORDER = list(Status)


def tabulate(cells: Sequence[Cell], results: Sequence[Result]) -> list[Result]:
    """The rows in the order of the plan. Raises Incomplete unless every cell has exactly one."""
    times = Counter(result.id for result in results)
    planned = {cell.id for cell in cells}
    problems = [
        *(f"{cell.id}: no row" for cell in cells if times[cell.id] == 0),
        *(f"{id_}: {n} rows" for id_, n in times.items() if n > 1),
        *(f"{id_}: a row nobody planned" for id_ in times if id_ not in planned),
    ]
    if problems:
        raise Incomplete("the results do not match the plan:\n" + "\n".join(problems))
    by_id = {result.id: result for result in results}
    return [by_id[cell.id] for cell in cells]


def groups(rows: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """Rows that may be compared, under one title each; the fastest first, then what has no speed-up by status.

    What ran on unlike hardware is never under one title.
    """
    by_title: dict[str, list[Result]] = {}
    for title, group in _settings(rows).items():
        unlike = len(_fingerprints(group)) > 1
        for row in group:
            by_title.setdefault(f"{title} · {_hardware(row)}" if unlike else title, []).append(row)
    return [(title, sorted(group, key=_rank)) for title, group in by_title.items()]


def unlike(rows: Sequence[Result]) -> dict[str, int]:
    """The titles of rows that would stand in one table but ran on unlike hardware, and on how many kinds of it."""
    kinds = {title: len(_fingerprints(group)) for title, group in _settings(rows).items()}
    return {title: number for title, number in kinds.items() if number > 1}


def _settings(rows: Sequence[Result]) -> dict[str, list[Result]]:
    several = len({row.threads for row in rows if row.threads is not None}) > 1
    by_title: dict[str, list[Result]] = {}
    for row in rows:
        by_title.setdefault(_setting(row, with_threads=several), []).append(row)
    return by_title


def _fingerprints(rows: Sequence[Result]) -> set[str]:
    return {row.fingerprint for row in rows if row.fingerprint is not None}


def _hardware(row: Result) -> str:
    return f"{row.hardware or 'unknown hardware'} [{row.fingerprint}]" if row.fingerprint else "did not run"


def _setting(row: Result, *, with_threads: bool) -> str:
    parts = [row.model, row.device, f"batch {row.batch_size}"]
    if with_threads and row.threads is not None:  # a row that never ran has none, unless some were asked for
        parts.append(f"{row.threads} threads" if row.threads > 1 else "1 thread")
    return " · ".join([*parts, *(f"{key}={value}" for key, value in sorted(row.overrides.items()))])


def _rank(row: Result) -> tuple[int, float, str]:
    return _ORDER.index(row.status), -(row.speedup.value if row.speedup else 0.0), row.conversion


def noise_floor(rows: Sequence[Result]) -> float | None:
    """How far from 1.00 the speed-up of EAGER over itself came out at worst; None where no EAGER cell is ok."""
    distances = [
        abs(row.speedup.value - 1)
        for row in rows
        if row.conversion == BASELINE and row.status is Status.OK and row.speedup
    ]
    return max(distances, default=None)


def counts(rows: Sequence[Result]) -> dict[Status, int]:
    """How many rows have each status that occurs, in the order of the statuses."""
    times = Counter(row.status for row in rows)
    return {status: times[status] for status in Status if times[status]}


MOST_ROWS, FIRST = 2000, 3
"""More rows than that nobody reads in a terminal or a notebook; then the first of each table will do."""


def shown_of_each(rows: Sequence[Result]) -> int | None:
    """How many rows of each table are shown to a person; None for all of them."""
    return None if len(rows) <= MOST_ROWS else FIRST
