"""One cell after the other, supervised by this very process: for debugging."""

from collections.abc import Callable, Generator

from sweep import inventory, isolate, validate
from sweep.backlog import Backlog
from sweep.cell import Cell, Outcome
from sweep.validate import Inventory


class SerialDispatcher:
    def nodes(self) -> list[Inventory]:
        return [inventory.local()]

    def run(self, backlog: Backlog, started: Callable[[Cell], None]) -> Generator[Outcome, None, None]:
        (here,) = self.nodes()
        try:
            while cell := backlog.take() or backlog.take_suspect():
                started(cell)
                yield validate.stamped(isolate.run(cell), cell, here)
        finally:
            self.close()

    def close(self) -> None:
        isolate.close()
