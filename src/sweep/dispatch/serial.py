"""One cell after the other, supervised by this very process: for debugging."""

from collections.abc import Callable, Generator

from sweep import inventory, isolate
from sweep.backlog import Backlog
from sweep.cell import Cell, Outcome
from sweep.validate import Inventory


class SerialDispatcher:
    def inventory(self) -> Inventory:
        return inventory.local()

    def run(self, backlog: Backlog, started: Callable[[Cell], None]) -> Generator[Outcome, None, None]:
        try:
            while cell := backlog.take():
                started(cell)
                yield isolate.run(cell)
        finally:
            isolate.close()
