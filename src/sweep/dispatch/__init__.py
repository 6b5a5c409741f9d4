"""Carries ready cells to where they run, and their outcomes back."""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from sweep.cell import Cell, Outcome
from sweep.validate import Inventory


class Dispatcher(Protocol):
    def inventory(self) -> Inventory:
        """What the nodes that cells can be sent to have."""

    def run(self, cells: Sequence[Cell], started: Callable[[Cell], None]) -> Generator[Outcome, None, None]:
        """An outcome for each cell, as it comes; never raises for what a cell or its node does.

        `started` is called when a cell goes out. Closing the iterator ends what still runs.
        """


def create(name: str, address: str | None) -> Dispatcher:
    """The dispatcher of that name; `address` is Ray's, None for a local one."""
    if name == "serial":
        from sweep.dispatch.serial import SerialDispatcher

        return SerialDispatcher()
    from sweep.dispatch.ray import RayDispatcher

    return RayDispatcher(address)
