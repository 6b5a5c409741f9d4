"""What `sweep pick` chooses: the fastest row of each group that keeps the constraints, and why not the others."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import ge, le, lt

from sweep.cell import BASELINE
from sweep.report import matrix, text
from sweep.report.best import beats_baseline, fastest, rank, speedup_of, why_not
from sweep.result import Result
from sweep.status import Status

Bound = tuple[Callable[[float, float], bool], str]
"""The comparison that a figure must meet, and its name."""

AT_LEAST: Bound = (ge, "at least")
AT_MOST: Bound = (le, "at most")
LESS_THAN: Bound = (lt, "less than")


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """The limits that a conversion must keep; None is no limit.

    `min_cosine` and `max_rel_l2` are of the output check. `max_memory` (MB) is the peak of what the device had less,
    where the row has that, else of the process's resident set. `p50_under` and `p99_under` are milliseconds a call.
    `min_speedup` is a quotient, such as 1.5. `max_convert` is seconds that the conversion alone may take.
    `max_metric_drop` is how much less than eager's the user's own metric may be, in what that is in.
    """

    min_cosine: float | None = None
    max_rel_l2: float | None = None
    max_memory: float | None = None
    p50_under: float | None = None
    p99_under: float | None = None
    min_speedup: float | None = None
    max_convert: float | None = None
    max_metric_drop: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PassedOver:
    """A row that is not chosen, and the reasons why."""

    row: Result
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The best row of a group of rows that may be compared; None where no proved and firm row meets the constraints.

    `not_told_apart` meet them too, and the intervals of their speed-ups overlap that of the best. `passed_over` are
    rows with a higher speed-up than the best that do not meet them, or that cannot be the fastest (`best.why_not`), the
    fastest first; then rows that do not meet them and have no speed-up; then those that were disturbed.
    """

    title: str
    best: Result | None
    not_told_apart: tuple[Result, ...]
    passed_over: tuple[PassedOver, ...]

    @property
    def beats_eager(self) -> bool:
        """Whether the best row is certainly faster than eager."""
        return self.best is not None and beats_baseline(self.best)


def choose(rows: Sequence[Result], constraints: Constraints) -> list[Choice]:
    """A choice for each of `matrix.groups`, but for groups of rows that did not run, of settings where others did."""
    not_run = {f"{title} · did not run" for title in matrix.unlike_hardware(rows)}
    return [_choose_one(title, group, constraints) for title, group in matrix.groups(rows) if title not in not_run]


def _choose_one(title: str, group: Sequence[Result], constraints: Constraints) -> Choice:
    missed = {row.id: tuple(obstacles(row, constraints)) for row in group}
    allowed = [row for row in group if not missed[row.id]]
    best, doubts = fastest(allowed), why_not(allowed)
    not_told_apart, passed_over = [], []
    for row in sorted(group, key=rank):
        reasons = (*missed[row.id], *filter(None, [doubts.get(row.id)]))
        faster = best is None or row.speedup is None or speedup_of(row) > speedup_of(best)
        if row is best:
            continue
        if faster and reasons:
            passed_over.append(PassedOver(row=row, reasons=reasons))
        elif best and not missed[row.id] and _not_told_apart(row, best):
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
        ("drop of the metric", row.metric.drop if row.metric else None, constraints.max_metric_drop, AT_MOST),
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


def _not_told_apart(row: Result, best: Result) -> bool:
    """Whether the intervals of two rows overlap; what was disturbed has none, and eager is told by a decision."""
    if row.speedup is None or best.speedup is None or text.is_disturbed(row):
        return False
    if row.conversion == BASELINE and beats_baseline(best):
        return False
    return row.speedup.low <= best.speedup.high and best.speedup.low <= row.speedup.high
