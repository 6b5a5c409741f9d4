"""What changed from one sweep to another: cells matched by their ids, their times tested, and a verdict on each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, expm1

from sweep.compare import matching, significance
from sweep.compare.matching import ComparedRun, Renamed
from sweep.compare.significance import Pair, Tested, Unit
from sweep.result import Result, Status

EAGER_TOO = 0.75
"""The share of a cell's change (of logarithms) that eager must have made too for it to count as eager's as well."""


class Change(StrEnum):
    """The verdict on the times of a cell: how its p50 changed."""

    SLOWER = "slower"
    FASTER = "faster"
    UNTESTED = "not tested"
    SAME = "no difference"


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """The times of a cell that is ok in both sweeps.

    `ratio` is its p50 over base's, `interval` the 95 % interval of that, `eager_ratio` the same ratio of eager's p50.
    `tested` and `interval` are None where there were no samples to test.
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
        """Whether eager, which was measured in the same processes, changed in the same way."""
        if self.verdict not in {Change.SLOWER, Change.FASTER}:
            return False
        as_much: float = self.ratio**EAGER_TOO
        return self.eager_ratio >= as_much if self.ratio > 1 else self.eager_ratio <= as_much


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """One sweep compared with the base.

    `changed` has pairs of rows (base, new) with another status or reason. `missing` are rows of the base whose cells
    are planned and have no row yet, `vanished` those whose cells are not planned, `appeared` rows that the base does
    not have. `unproved` is how many cells have the same status in both and are not ok. `versions` are those that
    changed, in words.
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

    def with_verdict(self, verdict: Change) -> list[Timed]:
        """The cells that have this verdict, the largest change first."""
        cells = (timed for timed in self.timed if timed.verdict is verdict)
        return sorted(cells, key=lambda timed: min(timed.ratio, 1 / timed.ratio))

    @property
    def within_threshold(self) -> int:
        """How many cells differ significantly, but by no more than the threshold."""
        return sum(bool(timed.tested and timed.tested.significant) for timed in self.with_verdict(Change.SAME))

    @property
    def no_longer_ok(self) -> int:
        """How many cells were ok and no longer are."""
        before = [*(base for base, _ in self.changed), *self.missing]
        return sum(base.status is Status.OK for base in before)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Sweeps compared with a base. `threshold` is a share (0.05: 5 %); `tests` is how many tests had each unit."""

    base: str
    threshold: float
    against: tuple[Against, ...]
    tests: Mapping[Unit, int]

    @property
    def least_changes(self) -> list[float]:
        """For each cell tested the smallest change of p50 that would have been found, as a share of it; sorted."""
        tests = (timed.tested for against in self.against for timed in against.timed if timed.tested)
        return sorted(max(expm1(min(test.least_difference, 99)), self.threshold) for test in tests)

    @property
    def regressed(self) -> bool:
        """Whether anything is slower, or was ok and no longer is."""
        return any(against.no_longer_ok or against.with_verdict(Change.SLOWER) for against in self.against)


def compare(base: ComparedRun, news: Sequence[ComparedRun], threshold: float) -> Comparison:
    """Compare each of `news` with `base`; a difference is significant and more than the share `threshold`.

    Of cells that are ok in both the latencies are compared, by their samples, and not the speed-ups.
    """
    sides: dict[tuple[int, str], Pair] = {}
    for number, new in enumerate(news):
        for id_ in matching.ok_in_both(base, new):
            if id_ in base.timings and id_ in new.timings:
                pair = significance.paired(base.timings[id_], new.timings[id_])
                if pair is not None:
                    sides[number, id_] = pair
    tested = dict(zip(sides, significance.tested(list(sides.values())), strict=True))
    against = []
    for number, new in enumerate(news):
        timed = (
            _timed(base.rows[id_], new.rows[id_], tested.get((number, id_)), threshold)
            for id_ in matching.ok_in_both(base, new)
        )
        against.append(_compare_with_base(base, new, tuple(timed)))
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
    """The quotient of two latencies in ms; a coarse clock may have measured 0."""
    return max(new, 1e-6) / max(base, 1e-6)


def _p50(row: Result) -> float:
    assert row.latency_ms is not None, "an ok row has its latency"
    return row.latency_ms.p50


def _eager(row: Result) -> float:
    assert row.eager is not None, "an ok row has its baseline"
    return row.eager.p50_ms


def _compare_with_base(base: ComparedRun, new: ComparedRun, timed: tuple[Timed, ...]) -> Against:
    matched = [(row, new.rows[id_]) for id_, row in base.rows.items() if id_ in new.rows]
    changed = [(old, now) for old, now in matched if (old.status, old.reason) != (now.status, now.reason)]
    gone = [row for id_, row in base.rows.items() if id_ not in new.rows]
    missing = [row for row in gone if row.id in new.planned]
    vanished = [row for row in gone if row.id not in new.planned]
    appeared = [row for id_, row in new.rows.items() if id_ not in base.rows]
    renamed = list(matching.renamed(vanished, appeared, base, new))
    renamed_ids = {row.id for pair in renamed for row in (*pair.base, *pair.new)}
    return Against(
        name=new.name,
        changed=tuple(changed),
        missing=tuple(missing),
        vanished=tuple(row for row in vanished if row.id not in renamed_ids),
        appeared=tuple(row for row in appeared if row.id not in renamed_ids),
        renamed=tuple(renamed),
        timed=timed,
        unproved=len(matched) - len(changed) - len(timed),
        versions=tuple(matching.versions(base, new)),
    )
