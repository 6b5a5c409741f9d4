"""What changed from one sweep to others: cells matched, their speed-ups tested, and a verdict on each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, expm1, log, log1p

from sweep.cell import BASELINE
from sweep.compare import eager, matching, significance
from sweep.compare.eager import Moved
from sweep.compare.matching import ComparedRun, Renamed
from sweep.compare.significance import Pair, Tested
from sweep.result import Quality, Result
from sweep.status import Status
from sweep.verdict import figures

BY_EAGER = 0.25
"""A speed-up changed by eager alone if the conversion's latency moved by less than this share of it (of logarithms)."""


class Change(StrEnum):
    """The verdict on a cell: how its speed-up against eager changed."""

    SLOWER = "slower"
    FASTER = "faster"
    UNTESTED = "not tested"
    SAME = "no difference"


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """A conversion that is ok in both sweeps.

    `base_speedup` and `new_speedup` are of the trials that are compared, `ratio` is the new one over base's, and
    `interval` the 95 % interval of that. `p50_ratio` is how its own p50 moved, `eager_ratio` how eager's did, measured
    beside it. `tested` and `interval` are None where it was not tested, and `why_not` says why.
    """

    base: Result
    new: Result
    base_speedup: float
    new_speedup: float
    p50_ratio: float
    eager_ratio: float
    tested: Tested | None
    verdict: Change
    why_not: str = ""

    @property
    def ratio(self) -> float:
        return self.new_speedup / self.base_speedup

    @property
    def interval(self) -> tuple[float, float] | None:
        return (exp(self.tested.low), exp(self.tested.high)) if self.tested else None

    @property
    def confirmed_once(self) -> bool:
        """Whether it was confirmed on one side only, so that its speed-up there is not the one in its row."""
        confirmed = [row.speedup is not None and row.speedup.confirmed for row in (self.base, self.new)]
        return any(confirmed) and not all(confirmed)

    @property
    def by_eager(self) -> bool:
        """Whether eager's latency changed and the conversion's own hardly did."""
        if self.verdict not in {Change.SLOWER, Change.FASTER}:
            return False
        return abs(log(self.p50_ratio)) < BY_EAGER * abs(log(self.ratio))


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """One sweep compared with the base.

    `changed` has pairs of rows (base, new) with another status or reason. `missing` are rows of the base whose cells
    are planned and have no row yet, `vanished` those whose cells are not planned, `appeared` rows that the base does
    not have. `unproved` is how many cells have the same status in both and are not ok. `versions` are those that
    changed, in words; `measured_otherwise` are the options of measuring and judging that did, each with how many of the
    `matched` cells it concerns.
    """

    name: str
    changed: tuple[tuple[Result, Result], ...]
    missing: tuple[Result, ...]
    vanished: tuple[Result, ...]
    appeared: tuple[Result, ...]
    renamed: tuple[Renamed, ...]
    timed: tuple[Timed, ...]
    eager: tuple[Moved, ...]
    matched: int
    unproved: int
    versions: tuple[str, ...]
    measured_otherwise: Mapping[str, int]

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
    """Sweeps compared with a base. `threshold` is a share (0.03: 3 %); `tests` is how many tests were made."""

    base: str
    threshold: float
    against: tuple[Against, ...]
    tests: int

    @property
    def least_changes(self) -> list[float]:
        """For each cell tested the least by which it had to become slower to be found, as a share; sorted."""
        tests = (timed.tested for against in self.against for timed in against.timed if timed.tested)
        return sorted(max(expm1(min(test.least_difference, 99)), self.threshold) for test in tests)

    @property
    def regressed(self) -> bool:
        """Whether anything is slower, or was ok and no longer is."""
        return any(against.no_longer_ok or against.with_verdict(Change.SLOWER) for against in self.against)


def compare(base: ComparedRun, news: Sequence[ComparedRun], threshold: float) -> Comparison:
    """Compare each of `news`, `matching.aligned`, with `base`.

    Of conversions that are ok in both the speed-ups are compared, by what their trials found. A difference is one that
    is significant and by more than the share `threshold`. What latencies did besides is said and decides nothing.
    """
    pairs = {
        (number, id_): pair
        for number, new in enumerate(news)
        for id_ in matching.ok_in_both(base, new)
        if (pair := _pair(base, new, id_)) is not None
    }
    tested = dict(zip(pairs, significance.tested(list(pairs.values())), strict=True))
    against = []
    for number, new in enumerate(news):
        timed = (
            _timed(base.rows[id_], new.rows[id_], pairs.get((number, id_)), tested.get((number, id_)), threshold)
            for id_ in matching.ok_in_both(base, new)
            if base.rows[id_].conversion != BASELINE
        )
        against.append(_compare_with_base(base, new, tuple(timed)))
    return Comparison(base=base.name, threshold=threshold, against=tuple(against), tests=len(pairs))


def _pair(base: ComparedRun, new: ComparedRun, id_: str) -> Pair | None:
    """The two sides of a cell, None where it cannot be tested. Eager's speed-up is 1, so there is nothing to test."""
    before, now = base.rows[id_], new.rows[id_]
    if before.conversion == BASELINE or Quality.DISTURBED in {before.quality, now.quality}:
        return None
    all_before, all_now = base.quotients_of(id_), new.quotients_of(id_)
    trials_before, trials_now = significance.compared(all_before, all_now)
    if not trials_before or not trials_now:
        return None
    sides = ((trials_before, before), (trials_now, now))
    luck = max(figures.luck(trials, row.latency_ms, row.eager) for trials, row in sides)
    return Pair(
        base=significance.side(trials_before, all_before, luck),
        new=significance.side(trials_now, all_now, luck),
        kind=(before.fingerprint, now.fingerprint),
    )


def _timed(before: Result, now: Result, pair: Pair | None, tested: Tested | None, threshold: float) -> Timed:
    verdict = Change.UNTESTED
    if tested is not None:
        verdict = Change.SAME
        if tested.significant and abs(tested.difference) > log1p(threshold):
            verdict = Change.FASTER if tested.difference > 0 else Change.SLOWER
    return Timed(
        base=before,
        new=now,
        base_speedup=exp(pair.base.mean) if pair else _speedup(before),
        new_speedup=exp(pair.new.mean) if pair else _speedup(now),
        p50_ratio=eager.quotient(_p50(now), _p50(before)),
        eager_ratio=eager.quotient(eager.p50(now), eager.p50(before)),
        tested=tested,
        verdict=verdict,
        why_not="" if tested else _why_not(before, now),
    )


def _why_not(base: Result, new: Result) -> str:
    """Why a conversion that is ok in both was not tested."""
    disturbed = [name for name, row in (("base", base), ("new", new)) if row.quality is Quality.DISTURBED]
    if disturbed:
        return f"disturbed ({' and '.join(disturbed)}), not tested"
    return "no samples, not tested"


def _p50(row: Result) -> float:
    assert row.latency_ms is not None, "an ok row has its latency"
    return row.latency_ms.p50


def _speedup(row: Result) -> float:
    assert row.speedup is not None, "an ok row has its speed-up"
    return max(row.speedup.value, 1e-6)


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
        eager=eager.moved(base, new),
        matched=len(matched),
        unproved=len(matched) - len(changed) - len(matching.ok_in_both(base, new)),
        versions=tuple(matching.versions(base, new)),
        measured_otherwise=matching.measured_otherwise(base, new),
    )
