"""The cells still to be run: what is lost comes back, and what cannot come out otherwise is not tried."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from sweep import validate
from sweep.cell import Cell, Outcome, Phase, Reason, Status


class Backlog:
    """Cells in the order of the plan; dispatchers take from it, and it is told what became of each."""

    def __init__(self, cells: Sequence[Cell], retries: int) -> None:
        self._waiting = {cell.id: cell for cell in cells}
        self._taken: dict[str, Cell] = {}
        self._retries = retries
        self._attempts: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, fits: Callable[[Cell], bool] | None = None) -> Cell | None:
        """The next cell (that fits), if there is one."""
        for cell in self._waiting.values():
            if fits is None or fits(cell):
                self._taken[cell.id] = self._waiting.pop(cell.id)
                return cell
        return None

    def ended(self, outcome: Outcome) -> list[Outcome]:
        """What is to be recorded now: nothing where a lost cell is tried again; with a cell whose eager model crashed,
        also all that would crash the same way.
        """
        row = outcome.result
        cell = self._taken.pop(row.id)
        before = self._attempts.get(row.id, ())
        attempts = (*before, *row.attempts)
        if row.reason is Reason.LOST and len(before) < self._retries:
            self._attempts[row.id] = attempts
            self._waiting[row.id] = cell
            return []
        ended = [replace(outcome, result=replace(row, attempts=attempts))]
        if row.status is Status.CRASHED and row.phase is Phase.EAGER:
            ended += [self._spared(other, row.id) for other in self._alike(cell)]
        return ended

    def _alike(self, cell: Cell) -> list[Cell]:
        setting = _setting(cell)
        return [other for other in self._waiting.values() if _setting(other) == setting]

    def _spared(self, cell: Cell, shown_by: str) -> Outcome:
        del self._waiting[cell.id]
        message = f"the unconverted model crashes here, see {shown_by}: mend that first"
        return Outcome(result=validate.row(cell, Reason.EAGER_FAILS, message))


def _setting(cell: Cell) -> str:
    """All that eager's part of a cell depends on."""
    parts = [asdict(cell.model), asdict(cell.device), cell.batch_size, cell.threads, cell.seed, dict(cell.overrides)]
    return json.dumps(parts, sort_keys=True, default=str)
