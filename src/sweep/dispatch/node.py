"""The nodes that cells are sent to, as the driver sees them. Knows neither Ray nor the clock."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from sweep.cell import Cell
from sweep.dispatch.backlog import Backlog, Fits
from sweep.plan import validate
from sweep.plan.inventory import Inventory
from sweep.result import Outcome, not_run
from sweep.status import Reason

CELL_MB = 2000
"""Memory to reckon with for a cell that converts; resnet18's take up to 1.5 GB with a compiler's processes."""

DOUBT_SECONDS = 30
"""For so long a node gets no cell after it lost one, unless there is no other: Ray is slow to notice a dead one."""

MOST_FAILURES = 3
"""How often in a row an actor may fail to start on a node before the node is given up."""


@dataclass(eq=False, kw_only=True, slots=True)
class Node:
    """A node: what it has, and the actor that runs cells there, from the first cell that fits to the last.

        no actor ──actor_asked_for──> starting ──came_up──> up: cells are launched, and end
            ^                            │                  │
            ├─────── failed_to_start ────┘                  │
            └─────── lost_a_cell, dismissed ────────────────┘

    These methods say what happened; whoever calls them does it. `now` is in seconds, by one clock for all.
    `cells` is how many run at a time. `running` holds them by the task that comes back with their outcome.
    """

    has: Inventory
    cells: int
    actor: Any = None
    starting: Any = None
    """The task that comes back when the actor is up; None from then on, and without an actor."""
    running: dict[Any, Cell] = field(default_factory=dict)
    unfit: str = ""
    """Why it gets no more cells, if so."""
    asked_at: float = math.inf
    """When the actor was asked for that is not up yet."""
    _alone: bool = False
    """Whether what runs is a cell beside which no other may run."""
    _doubted_at: float = -math.inf
    _failures: int = 0
    _answers: dict[tuple[object, ...], bool] = field(default_factory=dict)
    _nothing_since: int = -1

    def fits(self, cell: Cell, fingerprint: str | None = None) -> bool:
        """Whether the node has what a cell needs, and is well; and is of that hardware, if any is named."""
        if self.unfit:
            return False
        if fingerprint is not None and self.has.fingerprints.get(cell.device.kind) != fingerprint:
            return False
        key = validate.needed_of_a_node(cell)
        if key not in self._answers:
            self._answers[key] = validate.obstacle(cell, self.has) is None
        return self._answers[key]

    def finds_any(self, backlog: Backlog, fits: Fits) -> bool:
        """Whether a cell of the backlog fits; looks through it again only when something was added."""
        if self._nothing_since == backlog.additions:
            return False
        if found := backlog.has(fits):
            return found
        self._nothing_since = backlog.additions
        return False

    @property
    def is_up(self) -> bool:
        return self.actor is not None and self.starting is None

    @property
    def room(self) -> int:
        """How many more cells can be launched now."""
        return self.cells - len(self.running) if self.is_up and not self._alone else 0

    @property
    def is_given_up(self) -> bool:
        return self._failures >= MOST_FAILURES

    def is_doubted(self, now: float) -> bool:
        """Whether it failed just now, so that other nodes should get cells first."""
        return self._doubted_at > now - DOUBT_SECONDS

    def actor_asked_for(self, actor: Any, starting: Any, now: float) -> None:
        self.actor, self.starting, self.asked_at = actor, starting, now

    def came_up(self) -> None:
        self.starting, self._failures, self.asked_at = None, 0, math.inf

    def failed_to_start(self, now: float) -> None:
        self._doubt(now)
        self._failures += 1

    def launched(self, task: Any, cell: Cell, *, alone: bool) -> None:
        self.running[task] = cell
        self._alone = alone

    def ended(self, task: Any) -> Cell:
        """A task is over, well or not; returns its cell."""
        self._alone = False
        return self.running.pop(task)

    def lost_a_cell(self, now: float) -> None:
        self._doubt(now)

    def _doubt(self, now: float) -> None:
        """The actor is of no use any more."""
        self.dismissed()
        self._doubted_at = now

    def dismissed(self) -> None:
        """The actor was ended: the node is there for whoever else uses the cluster."""
        self.actor = self.starting = None
        self.asked_at = math.inf


class Nodes:
    """The nodes that can be used now, and what is known of all that ever were."""

    def __init__(self, cells_per_node: int | None) -> None:
        """`cells_per_node` is how many cells may run on one at a time; None for as many as it has room for."""
        self._cells_per_node = cells_per_node
        self._usable: dict[str, Node] = {}
        self._seen: set[str] = set()
        self.inventories: list[Inventory] = []
        """Of all that were ever added; another list whenever one is."""
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._usable.values()))

    def __len__(self) -> int:
        return len(self._usable)

    def first_seen(self, id_: str) -> bool:
        """Whether nobody has asked about this one before."""
        first = id_ not in self._seen
        self._seen.add(id_)
        return first

    def add(self, has: Inventory) -> None:
        self.inventories = [*self.inventories, has]
        self._usable[has.id] = Node(has=has, cells=self._cells_per_node or cells_at_a_time(has))

    def keep(self, alive: Collection[str]) -> None:
        """Forget those that are gone, once no cell runs there."""
        self._usable = {id_: node for id_, node in self._usable.items() if id_ in alive or node.running}

    def drop_given_up(self) -> None:
        self._usable = {id_: node for id_, node in self._usable.items() if not node.is_given_up}

    def forget(self) -> None:
        """There is no connection to any of them now."""
        self._usable, self._seen = {}, set()

    def by_trust(self, now: float) -> list[Node]:
        """Those to send cells to: without the doubted ones, unless there is no other; the emptiest first."""
        emptiest_first = sorted(self, key=lambda node: len(node.running) / node.cells)
        return [node for node in emptiest_first if not node.is_doubted(now)] or emptiest_first

    def refuse(self, backlog: Backlog) -> list[Outcome]:
        """Rows for all cells of a backlog that no node can run now, although one could when the sweep began."""
        why: dict[tuple[object, ...], tuple[Reason, str]] = {}
        outcomes = []
        while cell := backlog.take() or backlog.take_alone():
            if (key := validate.needed_of_a_node(cell)) not in why:
                why[key] = self._obstacle(cell)
            outcomes.append(Outcome(result=not_run(cell, *why[key])))
        return outcomes

    def _obstacle(self, cell: Cell) -> tuple[Reason, str]:
        obstacles = (validate.obstacle(cell, node.has) for node in self)
        unfit = "; ".join(node.unfit for node in self if node.unfit) or "the node that could run it is gone"
        return next(filter(None, obstacles), (Reason.NO_NODE, unfit))

    @property
    def are_busy(self) -> bool:
        """Whether a cell runs on any of them."""
        return any(node.running for node in self._usable.values())

    def tasks(self) -> dict[Any, Node]:
        """What runs now, and where."""
        return {task: node for node in self for task in node.running}

    def starting(self) -> dict[Any, Node]:
        """The tasks of actors that are not up yet, and where they start."""
        return {node.starting: node for node in self if node.starting is not None}


def declared(node: dict[str, Any]) -> Inventory:
    """A node as Ray knows it."""
    resources = node["Resources"]
    return Inventory(
        id=node["NodeID"],
        modes={},
        found=frozenset(),
        devices=frozenset(),
        versions={},
        node=node["NodeManagerHostname"],
        hardware="",
        cpus=resources["CPU"],
        gpus=resources.get("GPU", 0),
        labels=node.get("Labels") or {},
        resources=resources,
    )


def cells_at_a_time(has: Inventory) -> int:
    """How many cells may convert at a time: as many as CPUs and memory allow."""
    return max(1, int(min(has.cpus, has.memory // CELL_MB)))


def lost(cell: Cell, why: str) -> Outcome:
    """The row of a cell whose task did not come back, which may be tried again."""
    row = not_run(cell, Reason.LOST, f"its Ray task did not come back: {why}; resume with retry=[lost]")
    return Outcome(result=replace(row, attempts=(f"lost, {why}",)))
