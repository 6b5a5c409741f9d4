"""Carries ready cells to where they run, and their outcomes back."""

from collections.abc import Callable, Generator
from typing import Protocol

from sweep.backlog import Backlog
from sweep.cell import Cell, Outcome
from sweep.validate import Inventory


class Dispatcher(Protocol):
    def inventory(self) -> Inventory:
        """What the nodes that cells can be sent to have."""

    def run(self, backlog: Backlog, started: Callable[[Cell], None]) -> Generator[Outcome, None, None]:
        """Take cells from the backlog until it is empty: an outcome for each, as it comes.

        Never raises for what a cell or its node does. The backlog may change with every outcome. `started` is
        called when a cell goes out. Closing the iterator ends what still runs.
        """


def create(name: str, address: str | None) -> Dispatcher:
    """The dispatcher of that name; `address` is Ray's, None for a local one."""
    if name == "serial":
        from sweep.dispatch.serial import SerialDispatcher

        return SerialDispatcher()
    from sweep.dispatch.ray import RayDispatcher

    return RayDispatcher(address)
