"""Whose fault it is that a cell failed before it came to its conversion: its model's, or its node's."""

from collections import Counter, defaultdict
from collections.abc import Hashable

from sweep.cell import Phase
from sweep.result import Result
from sweep.status import Reason, Status

EARLY = {Phase.START, Phase.BUILD, Phase.EAGER}

CONFIRMED = 2
"""A model fails by itself if it does so on so many nodes."""

SICK = 3
"""A node is given up when so many cells failed early there whose model ran on another one."""


class Suspects:
    """Is told how each cell ended and where. A cell's `group` is equal for cells with the same unconverted model."""

    def __init__(self) -> None:
        self._ran: set[Hashable] = set()
        self._failed: dict[Hashable, set[str]] = defaultdict(set)
        self._failed_on: dict[str, frozenset[str]] = {}
        self._strikes: Counter[str] = Counter()

    def try_elsewhere(self, row: Result, group: Hashable, node: str, *, others: bool) -> bool:
        """Whether a cell is to be tried on another node before its row stands; `others` is whether there is one."""
        before = self._failed_on.get(row.id, frozenset())
        if not _failed_early(row):
            if row.phase and row.phase not in EARLY:
                self._ran.add(group)
                self._strikes.update(before)
            return False
        self._failed[group].add(node)
        if group in self._ran:
            self._strikes[node] += 1
        elif len(self._failed[group]) >= CONFIRMED:
            return False
        if before or not others:
            return False
        self._failed_on[row.id] = frozenset([node])
        return True

    def is_the_model(self, row: Result, group: Hashable) -> bool:
        """Whether all cells of the group would fail as this one did: its row stands, and its model ran nowhere."""
        return _failed_early(row) and row.phase is Phase.EAGER and group not in self._ran

    def failed_on(self, id_: str) -> frozenset[str]:
        """The nodes that a cell must not run on again."""
        return self._failed_on.get(id_, frozenset())

    def forgive(self, id_: str) -> None:
        """There is no other node any more: the cell may run where it failed."""
        self._failed_on.pop(id_, None)

    def is_sick(self, node: str) -> bool:
        """Whether models that run elsewhere fail on that node."""
        return self._strikes[node] >= SICK


def _failed_early(row: Result) -> bool:
    return row.status in {Status.CRASHED, Status.INVALID} and row.phase in EARLY and row.reason is not Reason.LOST
