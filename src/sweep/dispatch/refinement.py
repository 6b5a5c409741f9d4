"""Has cells that have their rows run again, round after round, where more trials decide something."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sweep.cell import Cell
from sweep.dispatch.backlog import Again, Backlog
from sweep.dispatch.rounds import Next, Rounds
from sweep.evidence import Further
from sweep.isolate import files
from sweep.record import ENOUGH, SPENT, RunFolder
from sweep.result import Outcome, Result
from sweep.verdict import estimate

CONVERTED_AGAIN = 5.0
"""Seconds that converting takes at most when compile caches are filled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A round that has begun: of so many cells, to confirm the fastest or not."""

    number: int
    cells: int
    confirms: bool


class Refinement:
    """Knows the last row of every cell, and what of the budget is left."""

    def __init__(
        self,
        cells: Sequence[Cell],
        backlog: Backlog,
        kept: Sequence[Result],
        folder: RunFolder,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`backlog` holds those cells that have no row yet; `kept` are rows that exist already.

        What was spent, and the earlier trials of cells, are read from the run folder. `clock` returns seconds.
        """
        self._cells = {cell.id: cell for cell in cells}
        self._rows = {row.id: row for row in kept}
        self._rounds = Rounds(cells)
        self._folder, self._clock = folder, clock
        self._budget = 60 * max((cell.measure.budget for cell in cells), default=0.0)
        about = folder.about()
        self._spent: float = about.get(SPENT, 0.0)
        self._enough_for: float = about.get(ENOUGH, -1.0)
        self._since: float | None = None
        self._chosen: list[Next] = []
        """What is chosen for this round and not run yet: one trial at a time, each time with other controls, so that
        the luck of one control is not in all trials of a row."""
        had = [quotient.control for row in kept if row.speedup for quotient in row.speedup.quotients]
        self._controls = max(had, default=0)
        self.backlog = backlog
        backlog.may_grow = self.has_budget

    @property
    def spent(self) -> float:
        """Seconds since further trials began, those of earlier runs of the sweep among them."""
        return self._spent + (self._clock() - self._since if self._since is not None else 0.0)

    @property
    def has_budget(self) -> bool:
        return max(self.spent, self._enough_for) < self._budget

    def with_attempts(self, outcome: Outcome) -> Outcome:
        """The outcome of further trials with the attempts that led to the row that there is."""
        before = self._rows.get(outcome.result.id)
        return replace(outcome, result=replace(outcome.result, attempts=before.attempts)) if before else outcome

    def recorded(self, row: Result) -> bool:
        """A row was written; returns whether its cell had one already."""
        again = row.id in self._rows
        self._rows[row.id] = row
        return again

    def begin_round(self) -> Begun | None:
        """Have cells come again, if none is left in the backlog; None if there is nothing more to find out in time.

        What is chosen goes by rows as `estimate` left them.
        """
        if not self.backlog.is_idle:
            return None
        if self._since is None and self.has_budget:
            self._since = self._clock()
        self._chosen = [replace(one, count=one.count - 1) for one in self._chosen if one.count > 1]
        if not self._chosen and self.has_budget:
            self._chosen = self._rounds.next(self._rows, self._budget - self.spent, _seconds_of_trial)
        if not self._chosen:
            self.backlog.may_grow = False
            self._folder.add_about({ENOUGH: max(self._budget, self._enough_for)})
            return None
        self._controls += 1
        self.backlog.come_again([self._again(one, self._rows[one.id]) for one in self._chosen])
        first = self._chosen[0]
        return Begun(number=first.round, cells=len(self._chosen), confirms=first.confirms)

    def _again(self, one: Next, row: Result) -> Again:
        earlier = files.trials(self._folder.texts(one.id))
        further = Further(earlier=earlier, round=one.round, confirms=one.confirms, count=1, control=self._controls)
        return Again(self._cells[one.id], further, row.fingerprint)

    def estimate(self) -> list[Result]:
        """Give all rows figures that take account of each other; returns the rows that this changed."""
        before = self._rows
        self._rows = {row.id: row for row in estimate.estimated(self.rows, self._cells.values())}
        return [row for row in self._rows.values() if row != before[row.id]]

    @property
    def rows(self) -> list[Result]:
        """The last row of every cell that has one."""
        return list(self._rows.values())


def _seconds_of_trial(row: Result) -> float:
    """How long one more trial of a cell will take."""
    trials = len(row.speedup.quotients) if row.speedup else 1
    converting = row.seconds.get("convert") or 0.0
    total = (row.seconds.get("total") or 0.0) - max(0.0, converting - CONVERTED_AGAIN)
    return total / max(1, trials)
