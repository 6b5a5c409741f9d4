"""The results matrix: one row for each planned cell, grouped and ordered for reading."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sweep.cell import BASELINE, Cell, asked
from sweep.errors import Incomplete
from sweep.result import Quality, Result
from sweep.status import Status

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

    Of the ok rows those that were disturbed come last. Rows that ran on unlike hardware are never in one group.
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
    """Rows with the same model, device, batch size, threads, environment and options, by a title that names these."""
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
    parts += [f"environment {row.environment}"] if row.environment else []
    return " · ".join([*parts, *(f"{key}={value}" for key, value in sorted(asked(row.overrides).items()))])


def _rank(row: Result) -> tuple[int, bool, float, str]:
    disturbed = row.quality is Quality.DISTURBED
    return _ORDER.index(row.status), disturbed, -(row.speedup.value if row.speedup else 0.0), row.conversion


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseFloor:
    """How far a trial of EAGER against itself is from 1.00, as a share: the deviation of the logarithms of `trials`.

    `bound` is what that is at most, with 95 % confidence. Of rows of schema 1, which hold no trials, `share` is the
    largest distance of any of them, and there is no bound.
    """

    share: float
    bound: float | None = None
    trials: int = 0


def noise_floor(rows: Sequence[Result]) -> NoiseFloor | None:
    """The noise floor of all ok rows of EAGER, without trials that were disturbed; None where nothing is left.

    The truth is known: it is 1.00. So the deviation of the logarithms is taken from 0, and has as many degrees of
    freedom as there are trials; the bound is the one-sided one of a variance, from the chi-squared distribution:
    Montgomery, Design and Analysis of Experiments, 8th ed., 2.6.
    """
    speedups = [row.speedup for row in rows if row.conversion == BASELINE and row.status is Status.OK and row.speedup]
    quotients = [quotient for speedup in speedups for quotient in speedup.quotients]
    if not quotients:
        distance = max((abs(speedup.value - 1) for speedup in speedups), default=None)
        return None if distance is None else NoiseFloor(share=distance)
    logs = [math.log(quotient.value) for quotient in quotients if not quotient.disturbed]
    if not logs:
        return None
    from scipy.special import chdtri  # noqa: PLC0415 - it takes a while, and only this needs it

    deviation = math.sqrt(math.fsum(log**2 for log in logs) / len(logs))
    bound = deviation * math.sqrt(len(logs) / chdtri(len(logs), 0.95))
    return NoiseFloor(share=deviation, bound=bound, trials=len(logs))


def counts(rows: Sequence[Result]) -> dict[Status, int]:
    """How many rows have each status that occurs, in the order of the statuses."""
    times = Counter(row.status for row in rows)
    return {status: times[status] for status in Status if times[status]}


MOST_ROWS, FIRST_TABLES, FIRST_ROWS = 2000, 100, 3
"""Of more than MOST_ROWS rows a terminal or a notebook shows only FIRST_TABLES tables, and FIRST_ROWS of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A group, and those of its rows that a terminal or a notebook has room for."""

    title: str
    group: Sequence[Result]
    shown: Sequence[Result]


def tables(rows: Sequence[Result]) -> tuple[list[Table], str]:
    """The tables that a terminal or a notebook shows, and what is to be said of what it does not show, if anything."""
    found = groups(rows)
    if len(rows) <= MOST_ROWS:
        return [Table(title=title, group=group, shown=group) for title, group in found], ""
    of = "each table" if len(found) <= FIRST_TABLES else f"the first {FIRST_TABLES} of {len(found):,} tables"
    said = f"Of {of} the first {FIRST_ROWS} rows are shown; matrix.md has all {len(rows)}."
    return [Table(title=title, group=group, shown=group[:FIRST_ROWS]) for title, group in found[:FIRST_TABLES]], said
