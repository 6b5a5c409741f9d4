"""The fastest conversion: which it is, for the page, `sweep.pick` and `Run.best` alike, and why others are not."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import ge, le, lt

from sweep.cell import BASELINE
from sweep.report import matrix, text
from sweep.result import Result, Status

Meets = tuple[Callable[[float, float], bool], str]
AT_LEAST: Meets = (ge, "at least")
AT_MOST: Meets = (le, "at most")
LESS_THAN: Meets = (lt, "less than")


def fastest(rows: Iterable[Result]) -> Result | None:
    """Of rows that may be compared the one to take; None where none is proved.

    It is the one with the highest speed-up of those that beat the baseline for certain. Where none does it is the
    baseline itself, and where that is not among them the one with the highest speed-up.
    """
    proved = sorted((row for row in rows if row.status is Status.OK), key=_rank)
    certain = [row for row in proved if beats_baseline(row)]
    baseline = [row for row in proved if row.conversion == BASELINE]
    return next(iter([*certain, *baseline, *proved]), None)


def beats_baseline(row: Result) -> bool:
    """Whether the whole interval of a proved speed-up is above 1. The baseline itself does not, however it came out."""
    proved = row.status is Status.OK and row.conversion != BASELINE
    return proved and row.speedup is not None and row.speedup.low > 1


def _rank(row: Result) -> tuple[float, str]:
    return -_value(row), row.conversion


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

    `alike` meet them too, and their speed-ups' intervals overlap the best's. `passed` are the rows that do not qualify,
    or whose interval holds 1, and that came out faster than the best, the fastest first; then those whose speed-up is
    unknown.
    """

    title: str
    best: Result | None
    alike: tuple[Result, ...]
    passed: tuple[Passed, ...]

    @property
    def beats_eager(self) -> bool:
        """Whether the whole interval of the best one's speed-up is above 1."""
        return self.best is not None and beats_baseline(self.best)


def choose(rows: Sequence[Result], constraints: Constraints) -> list[Choice]:
    """What to take in each of `matrix.groups`; what never ran is in no group of its own beside those that did."""
    nowhere = {f"{title} · did not run" for title in matrix.unlike(rows)}
    return [_chosen(title, group, constraints) for title, group in matrix.groups(rows) if title not in nowhere]


def _chosen(title: str, group: Sequence[Result], constraints: Constraints) -> Choice:
    why = {row.id: tuple(obstacles(row, constraints)) for row in group}
    best = fastest(row for row in group if not why[row.id])
    alike, passed = [], []
    for row in sorted(group, key=_rank):
        faster = best is None or row.speedup is None or _value(row) > _value(best)
        if row is best:
            continue
        if faster and not why[row.id]:
            passed.append(Passed(row=row, why=("its interval holds 1.00x, so it may be no faster than eager",)))
        elif faster:
            passed.append(Passed(row=row, why=why[row.id]))
        elif best and not why[row.id] and _overlap(row, best):
            alike.append(row)
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


def _overlap(row: Result, best: Result) -> bool:
    if row.speedup is None or best.speedup is None:
        return False
    return row.speedup.low <= best.speedup.high and best.speedup.low <= row.speedup.high
