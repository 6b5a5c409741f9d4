"""Which conversion is the fastest, for the page, `sweep.pick` and `Run.best` alike, and why the others are not."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import ge, le, lt

from sweep.cell import BASELINE
from sweep.report import matrix, text
from sweep.result import Result, Status

Bound = tuple[Callable[[float, float], bool], str]
"""The comparison that a figure must meet, and its name."""

AT_LEAST: Bound = (ge, "at least")
AT_MOST: Bound = (le, "at most")
LESS_THAN: Bound = (lt, "less than")


def fastest(rows: Iterable[Result]) -> Result | None:
    """The fastest proved row of rows that may be compared; None where none is proved.

    It is the row with the highest speed-up of those that certainly beat the baseline. Where none does, it is the
    baseline; where the baseline is not among the proved rows, it is the row with the highest speed-up.
    """
    proved = sorted((row for row in rows if row.status is Status.OK), key=_rank)
    certain = [row for row in proved if beats_baseline(row)]
    baseline = [row for row in proved if row.conversion == BASELINE]
    return next(iter([*certain, *baseline, *proved]), None)


def beats_baseline(row: Result) -> bool:
    """Whether the whole interval of a proved speed-up is above 1. The baseline never beats itself."""
    proved = row.status is Status.OK and row.conversion != BASELINE
    return proved and row.speedup is not None and row.speedup.low > 1


def _rank(row: Result) -> tuple[float, str]:
    return -_speedup(row), row.conversion


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """The limits that a conversion must keep; None is no limit.

    `min_cosine` and `max_rel_l2` are of the output check. `max_memory` (MB) is the peak of what CUDA's allocator held,
    where the row has that, else of the process's resident set. `p50_under` and `p99_under` are milliseconds a call.
    `min_speedup` is a quotient, such as 1.5. `max_convert` is seconds that the conversion alone may take.
    """

    min_cosine: float | None = None
    max_rel_l2: float | None = None
    max_memory: float | None = None
    p50_under: float | None = None
    p99_under: float | None = None
    min_speedup: float | None = None
    max_convert: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PassedOver:
    """A row that is not chosen, and the reasons why."""

    row: Result
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The best row of a group of rows that may be compared; None where no proved row meets the constraints.

    `not_told_apart` meet them too, and the intervals of their speed-ups overlap that of the best. `passed_over` are
    rows with a higher speed-up than the best that do not meet them, or whose interval is not all above 1, the fastest
    first; then rows that do not meet them and have no speed-up.
    """

    title: str
    best: Result | None
    not_told_apart: tuple[Result, ...]
    passed_over: tuple[PassedOver, ...]

    @property
    def beats_eager(self) -> bool:
        """Whether the whole interval of the best row's speed-up is above 1."""
        return self.best is not None and beats_baseline(self.best)


def choose(rows: Sequence[Result], constraints: Constraints) -> list[Choice]:
    """A choice for each of `matrix.groups`, but for groups of rows that did not run, of settings where others did."""
    not_run = {f"{title} · did not run" for title in matrix.unlike_hardware(rows)}
    return [_choose_one(title, group, constraints) for title, group in matrix.groups(rows) if title not in not_run]


def _choose_one(title: str, group: Sequence[Result], constraints: Constraints) -> Choice:
    reasons = {row.id: tuple(obstacles(row, constraints)) for row in group}
    best = fastest(row for row in group if not reasons[row.id])
    not_told_apart, passed_over = [], []
    for row in sorted(group, key=_rank):
        faster = best is None or row.speedup is None or _speedup(row) > _speedup(best)
        if row is best:
            continue
        if faster and not reasons[row.id]:
            uncertain = "its interval is not all above 1.00x, so it may be no faster than eager"
            passed_over.append(PassedOver(row=row, reasons=(uncertain,)))
        elif faster:
            passed_over.append(PassedOver(row=row, reasons=reasons[row.id]))
        elif best and not reasons[row.id] and _overlap(row, best):
            not_told_apart.append(row)
    return Choice(title=title, best=best, not_told_apart=tuple(not_told_apart), passed_over=tuple(passed_over))


def obstacles(row: Result, constraints: Constraints) -> Iterator[str]:
    """Everything that keeps a row from being chosen: that it is not proved, or which figures miss the constraints."""
    if row.status is not Status.OK:
        yield f"{text.verdict(row)}: {row.message}"
        return
    assert row.latency_ms and row.fidelity and row.speedup, "an ok row has them"
    bounds: list[tuple[str, float | None, float | None, Bound]] = [
        ("cosine", row.fidelity.cosine, constraints.min_cosine, AT_LEAST),
        ("rel. L2 error", row.fidelity.rel_l2, constraints.max_rel_l2, AT_MOST),
        ("peak memory in MB", memory(row), constraints.max_memory, AT_MOST),
        ("p50 in ms", row.latency_ms.p50, constraints.p50_under, LESS_THAN),
        ("p99 in ms", row.latency_ms.p99, constraints.p99_under, LESS_THAN),
        ("speed-up", row.speedup.value, constraints.min_speedup, AT_LEAST),
        ("conversion in s", row.seconds.get("convert"), constraints.max_convert, AT_MOST),
    ]
    for name, value, bound, (meets, words) in bounds:
        if bound is None:
            continue
        if value is None:
            yield f"{name} is unknown, must be {words} {bound:g}"
        elif not meets(value, bound):
            yield f"{name} is {value:.6g}, must be {words} {bound:g}"


def memory(row: Result) -> float | None:
    """Peak memory in MB: on the GPU where the row has that, else of the process."""
    if row.memory_mb is None:
        return None
    return row.memory_mb.rss_peak if row.memory_mb.cuda_peak is None else row.memory_mb.cuda_peak


def _speedup(row: Result) -> float:
    return row.speedup.value if row.speedup else 0.0


def _overlap(row: Result, best: Result) -> bool:
    if row.speedup is None or best.speedup is None:
        return False
    return row.speedup.low <= best.speedup.high and best.speedup.low <= row.speedup.high
