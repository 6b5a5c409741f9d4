"""The results matrix: one row for each planned cell, grouped and ordered for reading."""

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
    """Groups of rows that may be compared, each after its title; the rows by status, then the fastest first.

    Rows that ran on unlike hardware are never in one group.
    """
    by_title: dict[str, list[Result]] = {}
    for title, group in _by_setting(rows).items():
        by_hardware = len(_fingerprints(group)) > 1
        for row in group:
            by_title.setdefault(f"{title} · {_hardware(row)}" if by_hardware else title, []).append(row)
    return [(title, sorted(group, key=_rank)) for title, group in by_title.items()]


def unlike_hardware(rows: Sequence[Result]) -> dict[str, int]:
    """Titles of settings whose rows ran on unlike hardware, and on how many kinds of it."""
    kinds = {title: len(_fingerprints(group)) for title, group in _by_setting(rows).items()}
    return {title: number for title, number in kinds.items() if number > 1}


def _by_setting(rows: Sequence[Result]) -> dict[str, list[Result]]:
    """Rows with the same model, device, batch size, threads and options, by a title that names these."""
    with_threads = len({row.threads for row in rows if row.threads is not None}) > 1
    by_title: dict[str, list[Result]] = {}
    for row in rows:
        by_title.setdefault(_setting(row, with_threads=with_threads), []).append(row)
    return by_title


def _fingerprints(rows: Sequence[Result]) -> set[str]:
    return {row.fingerprint for row in rows if row.fingerprint is not None}


def _hardware(row: Result) -> str:
    return f"{row.hardware or 'unknown hardware'} [{row.fingerprint}]" if row.fingerprint else "did not run"


def _setting(row: Result, *, with_threads: bool) -> str:
    parts = [row.model, row.device, f"batch {row.batch_size}"]
    if with_threads and row.threads is not None:  # a row that never ran has none, unless the request sets them
        parts.append(f"{row.threads} threads" if row.threads > 1 else "1 thread")
    return " · ".join([*parts, *(f"{key}={value}" for key, value in sorted(row.overrides.items()))])


def _rank(row: Result) -> tuple[int, float, str]:
    return _ORDER.index(row.status), -(row.speedup.value if row.speedup else 0.0), row.conversion


def noise_floor(rows: Sequence[Result]) -> float | None:
    """How far at most the speed-up of EAGER over itself is from 1.00; None where no EAGER cell is ok."""
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


MOST_ROWS, FIRST_ROWS = 2000, 3
"""Of more than MOST_ROWS rows a terminal or a notebook shows only the first FIRST_ROWS of each table."""


def rows_shown_per_table(rows: Sequence[Result]) -> int | None:
    """How many rows of each table a terminal or a notebook shows; None for all of them."""
    return None if len(rows) <= MOST_ROWS else FIRST_ROWS
