"""The fastest conversion that is proved and keeps within what is asked of it, and why faster ones are passed over."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import ge, le, lt

from sweep.report import matrix, text
from sweep.result import Result, Status

Meets = tuple[Callable[[float, float], bool], str]
AT_LEAST: Meets = (ge, "at least")
AT_MOST: Meets = (le, "at most")
LESS_THAN: Meets = (lt, "less than")


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """What a conversion must keep within; None asks for nothing.

    `max_memory` (MB) is of what CUDA's allocator held where the row has that, else of the process's resident set;
    `max_convert` (seconds) of the conversion call alone; `p50_under` and `p99_under` are milliseconds a call.
    """

    min_cosine: float | None = None
    max_rel_l2: float | None = None
    max_memory: float | None = None
    p50_under: float | None = None
    p99_under: float | None = None
    min_speedup: float | None = None
    max_convert: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Passed:
    """A row that is not chosen, and why; nothing where it only is slower."""

    row: Result
    why: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What to take in a group of rows that may be compared; None where no proved row meets the constraints.

    `alike` meet them too, and their speed-ups' intervals overlap the best's. `passed` are the rows that do not qualify
    and are faster than the best, the fastest first, then those whose speed-up is unknown.
    """

    title: str
    best: Result | None
    alike: tuple[Result, ...]
    passed: tuple[Passed, ...]

    @property
    def beats_eager(self) -> bool:
        """Whether the whole interval of the best one's speed-up is above 1."""
        return self.best is not None and _surely_faster(self.best)

    @property
    def surer(self) -> tuple[Result, ...]:
        """Where the best's interval holds 1: those alike whose interval does not, so that they do beat eager."""
        return () if self.beats_eager else tuple(filter(_surely_faster, self.alike))


def choose(rows: Sequence[Result], constraints: Constraints) -> list[Choice]:
    """What to take in each of `matrix.groups`; what never ran is in no group of its own beside those that did."""
    nowhere = {f"{title} · did not run" for title in matrix.unlike(rows)}
    return [_chosen(title, group, constraints) for title, group in matrix.groups(rows) if title not in nowhere]


def _chosen(title: str, group: Sequence[Result], constraints: Constraints) -> Choice:
    why = {row.id: tuple(obstacles(row, constraints)) for row in group}
    ranked = sorted(group, key=lambda row: (-_value(row), row.conversion))
    best = next((row for row in ranked if not why[row.id]), None)
    alike = [row for row in ranked if best and row is not best and not why[row.id] and _overlap(row, best)]
    passed = [
        Passed(row=row, why=why[row.id])
        for row in ranked
        if why[row.id] and (best is None or row.speedup is None or _value(row) > _value(best))
    ]
    return Choice(title=title, best=best, alike=tuple(alike), passed=tuple(passed))


def obstacles(row: Result, constraints: Constraints) -> Iterator[str]:
    """Everything that keeps a row from being chosen: that it is not proved, or which figures miss what is asked."""
    if row.status is not Status.OK:
        yield f"{text.verdict(row)}: {row.message}"
        return
    assert row.latency_ms and row.fidelity and row.speedup, "an ok row has them"
    wants: list[tuple[str, float | None, float | None, Meets]] = [
        ("cosine", row.fidelity.cosine, constraints.min_cosine, AT_LEAST),
        ("rel. L2 error", row.fidelity.rel_l2, constraints.max_rel_l2, AT_MOST),
        ("peak memory in MB", memory(row), constraints.max_memory, AT_MOST),
        ("p50 in ms", row.latency_ms.p50, constraints.p50_under, LESS_THAN),
        ("p99 in ms", row.latency_ms.p99, constraints.p99_under, LESS_THAN),
        ("speed-up", row.speedup.value, constraints.min_speedup, AT_LEAST),
        ("conversion in s", row.seconds.get("convert"), constraints.max_convert, AT_MOST),
    ]
    for name, found, wanted, (meets, words) in wants:
        if wanted is None:
            continue
        if found is None:
            yield f"{name} is unknown, must be {words} {wanted:g}"
        elif not meets(found, wanted):
            yield f"{name} is {found:.6g}, must be {words} {wanted:g}"


def memory(row: Result) -> float | None:
    """MB at the peak: on the GPU where the row has that, else of the process."""
    if row.memory_mb is None:
        return None
    return row.memory_mb.rss_peak if row.memory_mb.cuda_peak is None else row.memory_mb.cuda_peak


def _value(row: Result) -> float:
    return row.speedup.value if row.speedup else 0.0


def _surely_faster(row: Result) -> bool:
    return row.conversion != "EAGER" and row.speedup is not None and row.speedup.low > 1  # that one is no other


def _overlap(row: Result, best: Result) -> bool:
    if row.speedup is None or best.speedup is None:
        return False
    return row.speedup.low <= best.speedup.high and best.speedup.low <= row.speedup.high
