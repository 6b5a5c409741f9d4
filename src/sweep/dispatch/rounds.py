"""Which cells get another trial, and why: where it decides something, and at last to confirm what was chosen."""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sweep.cell import BASELINE, MOST_TRIALS, Cell
from sweep.result import Decision, Quality, Result, Speedup
from sweep.status import Status
from sweep.verdict.decision import group_key
from sweep.verdict.estimate import counting

BEST = 3
"""At most so many rows of a group are confirmed."""

CONFIRMING = 3
"""Trials that confirm a row: of two, one that something else disturbed could not be told from the other."""

MOST_AGAIN = 3
"""How often a row is measured again that was disturbed in every trial, or confirmed again that is still too wide."""

BASELINE_TRIALS = 3
"""Trials of the unconverted model against itself, early on: they show how much trials vary, and cost least."""

TOO_SLOW = 0.8
"""A conversion that comes out slower than that is not measured again: nobody asks how much slower it is."""

DECIDING_WIDTH = 3.0
"""How many times wider than the 95 % interval the one is that decides, about, in a group of 45."""

FEW = 4
"""A row is measured again to be decided if so many further trials will probably do."""

LARGEST_SHARE = 0.5
"""The share of the budget that is kept for confirming at most, however many groups there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Next:
    """`count` further trials of a cell, each a fresh process, in this round; to confirm it, or not."""

    id: str
    round: int
    confirms: bool = False
    count: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wish:
    """Further trials of a row that would help; those with the lowest `rank` go first."""

    row: Result
    rank: float
    count: int = 1


class Rounds:
    """Asked again and again, it says what to run next, of rows whose cells have had their first trials.

    In each round one of these, the first that is wanted and that the time left allows:

        1. rows that were disturbed in every trial; the baseline, until it has three; contenders for the fastest of
           their group, the better half of the group first, then a quarter, and so on (successive halving: Karnin,
           Koren and Somekh, Almost Optimal Exploration in Multi-Armed Bandits, ICML 2013), until they are told
           apart or as precise as was asked
        2. rows that are not decided, but could be, or that are wider than asked
        3. the best of each group, three at most: they are confirmed by trials that took no part in choosing them
        4. confirmed rows that are still wider than asked: they are confirmed again

    Time for the third is kept free meanwhile. It keeps no record of its own, so a sweep that is resumed with more time
    goes on from the rows that it has; but it confirms the best of a group only once.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._measures = {cell.id: cell.measure for cell in cells}
        self._trials_before: dict[str, int] = {}
        self._confirmed: set[Hashable] = set()
        self._round = 1
        self._budget: float | None = None

    def next(
        self, rows: Mapping[str, Result], seconds_left: float, seconds_of: Callable[[Result], float]
    ) -> list[Next]:
        """What to run in the next round: all of it confirms, or none of it; nothing if nothing helps in the time left.

        `rows` are those of the sweep so far by their ids, `estimated`; `seconds_of` how long one more trial of a row's
        cell takes.
        """
        self._budget = seconds_left if self._budget is None else self._budget
        groups: dict[Hashable, list[Result]] = defaultdict(list)
        for row in rows.values():
            if row.status is Status.OK and row.speedup and row.speedup.quotients:
                groups[group_key(row)].append(row)
        best = {key: self._best(group) for key, group in groups.items() if key not in self._confirmed}
        to_confirm = [wish for wishes in best.values() for wish in wishes]
        kept = min(_cost(to_confirm, seconds_of), LARGEST_SHARE * self._budget)
        stages = (self._urgent, seconds_left - kept), (self._undecided, seconds_left - kept)
        for wishes_of, seconds in stages:
            wishes = [wish for group in groups.values() for wish in wishes_of(group)]
            if chosen := _affordable(wishes, seconds, seconds_of):
                return self._asked(rows, chosen, confirms=False)
        again = [wish for group in groups.values() for wish in self._to_confirm_again(group)]
        for wishes in (to_confirm, again):
            if chosen := _affordable(wishes, seconds_left, seconds_of):
                self._confirmed |= {group_key(wish.row) for wish in chosen}
                return self._asked(rows, chosen, confirms=True)
        return []

    def _asked(self, rows: Mapping[str, Result], wishes: Sequence[_Wish], *, confirms: bool) -> list[Next]:
        had = [q.round for row in rows.values() if row.speedup for q in row.speedup.quotients]
        self._round = max(self._round, *had) + 1
        self._trials_before |= {wish.row.id: len(_speedup(wish.row).quotients) for wish in wishes}
        return [Next(id=wish.row.id, round=self._round, confirms=confirms, count=wish.count) for wish in wishes]

    def _may_have_more(self, row: Result) -> bool:
        """Whether a row may have more trials: by its budget, their number, and if it gained any when last asked."""
        trials = len(_speedup(row).quotients)
        gained = trials > self._trials_before.get(row.id, 0)
        return row.id in self._measures and self._measures[row.id].budget > 0 and gained and trials < MOST_TRIALS

    def _is_wide(self, row: Result) -> bool:
        return _half_width(row) > self._measures[row.id].precision

    def _urgent(self, group: Sequence[Result]) -> list[_Wish]:
        """The first kind of trials, of one group."""
        wishes = []
        for row in filter(self._may_have_more, group):
            rounds, trials = _rounds(row), counting(_speedup(row).quotients)
            if _speedup(row).confirmed:
                continue
            if row.quality is Quality.DISTURBED and rounds <= MOST_AGAIN:
                wishes.append(_Wish(row=row, rank=-1))
            elif row.conversion == BASELINE and len(trials) < BASELINE_TRIALS and rounds <= MOST_AGAIN:
                wishes.append(
                    _Wish(row=row, rank=-1)
                )  # one at a time, so that every group has its second before any a third
        return wishes + self._contenders(group)

    def _contenders(self, group: Sequence[Result]) -> list[_Wish]:
        """Trials that tell the fastest of a group apart."""
        contenders = _not_told_apart(group)
        if len(contenders) == 1 and _speedup(contenders[0]).decision is Decision.FASTER:
            return []
        rounds = max(map(_rounds, contenders), default=1)
        wide = [
            row for row in contenders if self._may_have_more(row) and self._is_wide(row) and not _speedup(row).confirmed
        ]
        return [_Wish(row=row, rank=rank) for rank, row in enumerate(wide[: max(BEST, len(group) >> rounds)])]

    def _undecided(self, group: Sequence[Result]) -> list[_Wish]:
        """The second kind of trials, of one group: first what few trials more will decide."""
        wishes = []
        for row in filter(self._may_have_more, group):
            speedup = _speedup(row)
            if speedup.decision is not Decision.UNDECIDED or speedup.confirmed or speedup.value < TOO_SLOW:
                continue
            needed = self._trials_needed(row)
            if row.quality is Quality.ROUGH or (row.quality is Quality.FIRM and needed <= FEW):
                wishes.append(_Wish(row=row, rank=needed))
        return wishes

    def _trials_needed(self, row: Result) -> float:
        """How many further trials will decide a row if its figure stays: a width goes with the root of trials."""
        distance = abs(math.log(_speedup(row).value))
        distance = max(distance, math.log1p(self._measures[row.id].margin) - distance)
        return (_speedup(row).trials or 1) * ((DECIDING_WIDTH * _half_width(row) / distance) ** 2 - 1)

    def _best(self, group: Sequence[Result]) -> list[_Wish]:
        """What is to be confirmed of a group: its leader and those not told apart from it."""
        best = [row for row in _not_told_apart(group) if _speedup(row).value > 1][:BEST]
        return [
            _Wish(row=row, rank=rank, count=CONFIRMING)
            for rank, row in enumerate(best)
            if self._may_have_more(row) and not _speedup(row).confirmed
        ]

    def _to_confirm_again(self, group: Sequence[Result]) -> list[_Wish]:
        """What is to be confirmed again: but what is decided by little might be undecided then, and stays as it is."""
        wishes = []
        for row in filter(self._may_have_more, group):
            speedup = _speedup(row)
            confirmations = len({quotient.round for quotient in speedup.quotients if quotient.confirms})
            by_far = abs(math.log(speedup.value)) > DECIDING_WIDTH * _half_width(row)
            may_change = row.quality in {Quality.ROUGH, Quality.DISTURBED} or (by_far and self._is_wide(row))
            if 0 < confirmations < MOST_AGAIN and may_change:
                wishes.append(_Wish(row=row, rank=-speedup.value, count=CONFIRMING))
        return wishes


def _speedup(row: Result) -> Speedup:
    assert row.speedup is not None, "only rows with a speed-up have trials"
    return row.speedup


def _half_width(row: Result) -> float:
    """Half of the 95 % interval of the speed-up's logarithm."""
    return math.log(_speedup(row).high / _speedup(row).low) / 2


def _rounds(row: Result) -> int:
    """In how many rounds it was measured, without those that confirmed it."""
    return len({quotient.round for quotient in _speedup(row).quotients if not quotient.confirms})


def _not_told_apart(group: Sequence[Result]) -> list[Result]:
    """The rows of a group that may be its fastest, the highest first; none that is surely slower than eager."""
    fit = [row for row in group if row.conversion != BASELINE and row.quality is not Quality.DISTURBED]
    fit.sort(key=lambda row: (-_speedup(row).value, row.id))
    return [row for row in fit if _speedup(row).high >= max(1.0, _speedup(fit[0]).low)]


def _cost(wishes: Iterable[_Wish], seconds_of: Callable[[Result], float]) -> float:
    return math.fsum(wish.count * seconds_of(wish.row) for wish in wishes)


def _affordable(wishes: Sequence[_Wish], seconds: float, seconds_of: Callable[[Result], float]) -> list[_Wish]:
    """The wishes that so many seconds allow, one after the other; one that takes too long does not keep off others."""
    chosen = []
    for wish in sorted(wishes, key=lambda wish: wish.rank):
        if (cost := _cost([wish], seconds_of)) <= seconds:
            chosen.append(wish)
            seconds -= cost
    return chosen
