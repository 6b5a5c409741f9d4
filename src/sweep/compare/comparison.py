"""What changed from one sweep to another: cells matched by what they ask, their times tested, a verdict on each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, expm1

from sweep.compare import matching, significance
from sweep.compare.matching import ComparedRun, Renamed
from sweep.compare.significance import Pair, Tested, Unit
from sweep.result import Result, Status

ALONGSIDE = 0.75
"""From this share of a cell's change (of logarithms) on, eager's own in the same direction is as much as the cell's."""


class Change(StrEnum):
    SLOWER = "slower"
    FASTER = "faster"
    UNTESTED = "not tested"
    SAME = "no difference"


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """A cell that is ok in both: its p50 over base's, with the 95 % interval of what was tested, and eager's own.

    `tested` is None where there were no samples to test; the ratio is then all that is known.
    """

    base: Result
    new: Result
    ratio: float
    interval: tuple[float, float] | None
    eager_ratio: float
    tested: Tested | None
    verdict: Change

    @property
    def eager_too(self) -> bool:
        """Whether a difference is eager's as well, which was timed in the same processes."""
        if self.verdict not in {Change.SLOWER, Change.FASTER}:
            return False
        as_much: float = self.ratio**ALONGSIDE
        return self.eager_ratio >= as_much if self.ratio > 1 else self.eager_ratio <= as_much


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """All that is to be said of one sweep beside the base.

    `changed` are cells with another status or reason, `missing` those that were planned and have no row; `unproved`
    counts those that are not ok just as they were. `versions` are those that changed, in words.
    """

    name: str
    changed: tuple[tuple[Result, Result], ...]
    missing: tuple[Result, ...]
    vanished: tuple[Result, ...]
    appeared: tuple[Result, ...]
    renamed: tuple[Renamed, ...]
    timed: tuple[Timed, ...]
    unproved: int
    versions: tuple[str, ...]

    def of(self, verdict: Change) -> list[Timed]:
        """The cells of which it is the verdict; what moved most first."""
        return sorted(
            (one for one in self.timed if one.verdict is verdict), key=lambda one: min(one.ratio, 1 / one.ratio)
        )

    @property
    def within(self) -> int:
        """How many differ significantly, but by no more than the threshold."""
        return sum(bool(one.tested and one.tested.significant) for one in self.of(Change.SAME))

    @property
    def lost(self) -> int:
        """How many cells were ok and no longer are."""
        before = [*(base for base, _ in self.changed), *self.missing]
        return sum(base.status is Status.OK for base in before)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Sweeps beside a base. `tests` counts the tests by what they took for repeated."""

    base: str
    threshold: float
    against: tuple[Against, ...]
    tests: Mapping[Unit, int]

    @property
    def least(self) -> list[float]:
        """The smallest changes of p50 that could have been told, as shares of it: one a cell tested, in order."""
        cells = (timed for one in self.against for timed in one.timed)
        return sorted(max(expm1(min(cell.tested.least, 99)), self.threshold) for cell in cells if cell.tested)

    @property
    def regressed(self) -> bool:
        """Whether anything is slower, or was ok and no longer is."""
        return any(one.lost or one.of(Change.SLOWER) for one in self.against)


def compare(base: ComparedRun, news: Sequence[ComparedRun], threshold: float) -> Comparison:
    """Each of `news` beside `base`; a difference is told that is significant and more than `threshold` (0.05: 5 %).

    Of cells that are ok on both sides latencies are compared, not speed-ups, and by their samples.
    """
    sides: dict[tuple[int, str], Pair] = {}
    for number, new in enumerate(news):
        for id_ in matching.proved(base, new):
            if id_ in base.timings and id_ in new.timings:
                pair = significance.pair(base.timings[id_], new.timings[id_])
                if pair is not None:
                    sides[number, id_] = pair
    tested = dict(zip(sides, significance.tested(list(sides.values())), strict=True))
    against = []
    for number, new in enumerate(news):
        timed = (
            _timed(base.rows[id_], new.rows[id_], tested.get((number, id_)), threshold)
            for id_ in matching.proved(base, new)
        )
        against.append(_against(base, new, tuple(timed)))
    return Comparison(
        base=base.name,
        threshold=threshold,
        against=tuple(against),
        tests=Counter(pair.unit for pair in sides.values()),
    )


def _timed(base: Result, new: Result, tested: Tested | None, threshold: float) -> Timed:
    ratio, interval, verdict = _quotient(_p50(new), _p50(base)), None, Change.UNTESTED
    if tested is not None:
        # the test compares means of logarithms, the ratio is of medians: their sides may differ where neither is sure
        interval = min(exp(tested.low), ratio), max(exp(tested.high), ratio)
        verdict = Change.SAME
        if tested.significant and ratio > 1 + threshold and tested.difference > 0:
            verdict = Change.SLOWER
        elif tested.significant and ratio < 1 - threshold and tested.difference < 0:
            verdict = Change.FASTER
    return Timed(
        base=base,
        new=new,
        ratio=ratio,
        interval=interval,
        eager_ratio=_quotient(_eager(new), _eager(base)),
        tested=tested,
        verdict=verdict,
    )


def _quotient(new: float, base: float) -> float:
    """Of two latencies in ms; a clock too coarse for them may have read 0."""
    return max(new, 1e-6) / max(base, 1e-6)


def _p50(row: Result) -> float:
    assert row.latency_ms is not None, "an ok row has its latency"
    return row.latency_ms.p50


def _eager(row: Result) -> float:
    assert row.eager is not None, "an ok row has its baseline"
    return row.eager.p50_ms


def _against(base: ComparedRun, new: ComparedRun, timed: tuple[Timed, ...]) -> Against:
    matched = [(row, new.rows[id_]) for id_, row in base.rows.items() if id_ in new.rows]
    changed = [(a, b) for a, b in matched if (a.status, a.reason) != (b.status, b.reason)]
    gone = [row for id_, row in base.rows.items() if id_ not in new.rows]
    missing = [row for row in gone if row.id in new.planned]
    vanished = [row for row in gone if row.id not in new.planned]
    appeared = [row for id_, row in new.rows.items() if id_ not in base.rows]
    renamed = list(matching.renamed(vanished, appeared, base, new))
    elsewhere = {row.id for one in renamed for row in (*one.base, *one.new)}
    return Against(
        name=new.name,
        changed=tuple(changed),
        missing=tuple(missing),
        vanished=tuple(row for row in vanished if row.id not in elsewhere),
        appeared=tuple(row for row in appeared if row.id not in elsewhere),
        renamed=tuple(renamed),
        timed=timed,
        unproved=len(matched) - len(changed) - len(timed),
        versions=tuple(matching.versions(base, new)),
    )
