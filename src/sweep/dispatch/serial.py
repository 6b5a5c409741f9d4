"""One cell after the other, supervised by this very process: for debugging."""

from collections.abc import Callable, Generator, Sequence

from sweep import inventory, isolate
from sweep.cell import Cell, Outcome
from sweep.validate import Inventory


class SerialDispatcher:
    def inventory(self) -> Inventory:
        return inventory.local()

    def run(self, cells: Sequence[Cell], started: Callable[[Cell], None]) -> Generator[Outcome, None, None]:
        for cell in cells:
            started(cell)
            yield isolate.run(cell)
