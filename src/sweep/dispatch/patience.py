"""How long cells wait for nodes that are not there yet, or that others use, and what is said of it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from sweep.cell import Cell
from sweep.dispatch.node import BUSY_SECONDS, Node
from sweep.plan.inventory import Inventory


class Cluster(Protocol):
    """What a `Connection` can be asked."""

    def ask_for(self, bundles: list[dict[str, float]]) -> None: ...

    def holders(self, node: Inventory) -> str: ...


class Patience:
    """Says for how long to wait; `now` is in seconds, by one clock for all. Each thing is told once."""

    def __init__(self, seconds: float, cluster: Cluster, tell: Callable[[str], None]) -> None:
        """`seconds` are `dispatch.wait_nodes`."""
        self._seconds, self._cluster, self._tell = seconds, cluster, tell
        self._since: float | None = None
        self._told: set[str] = set()

    def lasts(self, cells: Sequence[Cell], now: float) -> bool:
        """Whether cells that no node can run wait on, while nothing else is left to do; the autoscaler is asked."""
        if not self._seconds or not cells:
            return False
        if self._since is None:
            self._since = now
            self._cluster.ask_for([dict(one) for one in dict.fromkeys(tuple(_bundle(cell).items()) for cell in cells)])
        kinds = dict.fromkeys(f"{cell.conversion} on {cell.device.name}" for cell in cells)
        some = ", ".join([*kinds][:3]) + (f" and {len(kinds) - 3} more kinds" if len(kinds) > 3 else "")
        self._say(f"waits {self._seconds:g} s at most for a node that can run {some}")
        if now - self._since < self._seconds:
            return True
        self._cluster.ask_for([])
        return False

    def with_busy(self, nodes: Iterable[Node], now: float) -> None:
        """Say which nodes are waited for, because others use them, and give up those that were for too long."""
        self._since = None
        for node in nodes:
            waited = now - node.asked_at
            if waited > BUSY_SECONDS:
                self._say(f"waits for {node.has.where}: {self._cluster.holders(node.has)}", about=node.has.place)
            if self._seconds and waited > self._seconds:
                node.unfit = f"{node.has.where} was busy for {waited:.0f} s: {self._cluster.holders(node.has)}"

    def _say(self, text: str, about: str | None = None) -> None:
        """Tell this, unless it was, or something `about` the same was."""
        if (about or text) not in self._told:
            self._told.add(about or text)
            self._tell(text)


def _bundle(cell: Cell) -> dict[str, float]:
    """What a node must offer to Ray to run a cell."""
    device = cell.device
    wanted = {"CPU": max(1.0, device.cpus), "GPU": device.gpus, **device.resources}
    if device.accelerator:
        wanted[f"accelerator_type:{device.accelerator}"] = 0.001
    return {name: float(amount) for name, amount in wanted.items() if amount}
