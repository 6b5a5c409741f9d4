"""The cells still to be run, eager and the longest first: what is lost comes back, what cannot succeed is not tried.

Cells that have their rows may come again, for further trials.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from sweep.cell import BASELINE, Cell
from sweep.dispatch.suspects import Suspects
from sweep.evidence import Further
from sweep.plan import registry, validate
from sweep.result import Outcome, not_run
from sweep.status import Reason

Fits = Callable[[Cell], bool]


@dataclass(frozen=True, slots=True)
class Again:
    """A cell that has its row, the further trials that are asked of it, and the hardware that its trials ran on."""

    cell: Cell
    further: Further
    fingerprint: str | None


class Backlog:
    """Dispatchers take cells from it, and it is told what became of each."""

    def __init__(self, cells: Sequence[Cell], retries: int, seconds: Mapping[str, float] | None = None) -> None:
        """`seconds` is how long cells took before, by `history_key`; for any other, what its engine typically takes.

        `retries` is how often a cell that was lost is tried again.
        """
        self.suspects = Suspects()
        self._waiting = {cell.id: cell for cell in cells}
        self._taken: dict[str, Cell] = {}
        self._to_run_alone: dict[str, Cell] = {}
        self._retries = retries
        self._attempts: dict[str, tuple[str, ...]] = {}
        self._seconds = seconds or {}
        self._again: dict[str, Again] = {}
        self._queues: dict[tuple[object, ...], deque[tuple[float, int, Cell]]] = {}
        self._order = count()
        self.may_grow = False
        """Whether cells may come again when all that are here have ended."""
        self.additions = 0
        """Another number whenever cells have come that may fit a node where none did before."""
        self._queue(cells)
        self._alike: dict[tuple[object, ...], list[str]] = {}
        for cell in cells:
            self._alike.setdefault(_eager_part(cell), []).append(cell.id)
        self.elsewhere: Callable[[Cell, str], bool] = lambda _cell, _node: False
        """Whether another node than that one could run a cell."""

    def _queue(self, cells: Iterable[Cell]) -> None:
        self.additions += 1
        ranked = sorted((_urgency(cell, self._seconds), next(self._order), cell) for cell in cells)
        for entry in ranked:
            self._queues.setdefault(self._needs(entry[2]), deque()).append(entry)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._to_run_alone)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, and nothing runs."""
        return not self and not self._taken

    @property
    def taken(self) -> list[Cell]:
        """Those that have no outcome yet, of which a node was to run each."""
        return list(self._taken.values())

    def come_again(self, again: Sequence[Again]) -> None:
        """Cells that have ended are to be run again."""
        for one in again:
            self._again[one.cell.id] = one
            self._waiting[one.cell.id] = one.cell
        self._queue([one.cell for one in again])

    def further(self, cell: Cell) -> Further:
        """What is asked of a cell beyond the trials it has."""
        again = self._again.get(cell.id)
        return again.further if again else Further()

    def hardware(self, cell: Cell) -> str | None:
        """The fingerprint of the hardware that a cell must run on; None for any."""
        again = self._again.get(cell.id)
        return again.fingerprint if again else None

    def take(self, fits: Fits | None = None) -> Cell | None:
        """The next cell (that fits), if there is one. `fits` is asked once for all cells with the same needs."""
        queues = (queue for queue in self._heads() if fits is None or fits(queue[0][2]))
        queue = min(queues, key=lambda queue: queue[0], default=None)
        if queue is None:
            return None
        cell = queue.popleft()[2]
        self._taken[cell.id] = self._waiting.pop(cell.id)
        return cell

    def take_alone(self, fits: Fits | None = None) -> Cell | None:
        """A cell (that fits) that was lost, or ended for want of memory, while others ran beside it: to be run alone.

        If it kills the supervisor, or fills the node's memory, then no other cell is lost with it.
        """
        for cell in self._to_run_alone.values():
            if fits is None or fits(cell):
                self._taken[cell.id] = self._to_run_alone.pop(cell.id)
                return cell
        return None

    def has(self, fits: Fits) -> bool:
        """Whether some cell is left that fits."""
        return any(fits(queue[0][2]) for queue in self._heads()) or any(map(fits, self._to_run_alone.values()))

    def _heads(self) -> list[deque[tuple[float, int, Cell]]]:
        """Queues whose first cell still waits."""
        for needs, queue in list(self._queues.items()):
            while queue and queue[0][2].id not in self._waiting:
                queue.popleft()
            if not queue:
                del self._queues[needs]
        return list(self._queues.values())

    def ended(self, outcome: Outcome) -> list[Outcome]:
        """What is to be recorded now: nothing where a cell is tried again; with a cell whose eager model failed,
        on two nodes if there are two, also all that would fail the same way.
        """
        row = outcome.result
        cell = self._taken.pop(row.id)
        if row.id in self._again:
            del self._again[row.id]
            return self._ended_again(outcome)
        before = self._attempts.get(row.id, ())
        attempts = (*before, *row.attempts)
        group, others = _eager_part(cell), self.elsewhere(cell, outcome.node)
        if self.suspects.try_elsewhere(row, group, outcome.node, others=others):
            self._attempts[row.id] = attempts
            self._waiting[row.id] = cell
            self._queue([cell])
            return []
        if outcome.crowded or (row.reason is Reason.LOST and len(before) < self._retries):
            self._attempts[row.id] = attempts
            self._to_run_alone[row.id] = cell
            self.additions += 1
            return []
        ended = [replace(outcome, result=replace(row, attempts=attempts))]
        if self.suspects.is_the_model(row, group):
            alike = [self._waiting[id_] for id_ in self._alike[group] if id_ in self._waiting]
            ended += [self._not_tried(other, row.id) for other in alike]
        return ended

    @staticmethod
    def _ended_again(outcome: Outcome) -> list[Outcome]:
        """The row with the further trials; nothing where they could not be run: the row that there is stays."""
        row = outcome.result
        if outcome.crowded or row.hardware is None:
            return []
        return [outcome]

    def _needs(self, cell: Cell) -> tuple[object, ...]:
        """The same for cells that fit the same nodes."""
        return *validate.needed_of_a_node(cell), self.hardware(cell), self.suspects.failed_on(cell.id)

    def waiting(self) -> list[Cell]:
        """One for each kind of cells that no node has taken."""
        return [queue[0][2] for queue in self._heads()] + list(self._to_run_alone.values())

    def send_anywhere(self, cell: Cell) -> None:
        """Have a cell that waits, and that no other node can run, be taken by one that it failed on."""
        self.suspects.forgive(cell.id)
        self.additions += 1
        if cell.id in self._waiting:
            self._queue([cell])

    def _not_tried(self, cell: Cell, shown_by: str) -> Outcome:
        del self._waiting[cell.id]
        message = f"the unconverted model fails here, see {shown_by}: mend that first"
        return Outcome(result=not_run(cell, Reason.EAGER_FAILS, message))


def history_key(model: str, conversion: str, device: str, batch_size: int) -> str:
    """What a cell's time depends on, more than on anything else."""
    return f"{model} {conversion} {device} {batch_size}"


def expected_seconds(cell: Cell, seconds: Mapping[str, float]) -> float:
    """How long a cell will take: as long as before, or what its engine took with resnet18."""
    key = history_key(cell.model.name, cell.conversion, cell.device.name, cell.batch_size)
    return seconds.get(key) or registry.typical_seconds(cell.mode)


def _urgency(cell: Cell, seconds: Mapping[str, float]) -> float:
    """The least goes first: a model unconverted, which shows what would fail in every cell of it, then the longest."""
    return -math.inf if cell.conversion == BASELINE else -expected_seconds(cell, seconds)


def _eager_part(cell: Cell) -> tuple[object, ...]:
    """All that the unconverted model's part of a cell depends on."""
    options = (cell.model.key, cell.device.key, str(cell.data), cell.limits, cell.batch_size, cell.threads, cell.seed)
    return *options, cell.environment_name, tuple(sorted(cell.overrides.items()))
