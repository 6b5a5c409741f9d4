"""One cell after the other, supervised by this very process: for debugging."""

from collections.abc import Callable, Generator

from sweep import isolate
from sweep.cell import Cell
from sweep.dispatch.backlog import Backlog
from sweep.isolate import survey
from sweep.plan import validate
from sweep.plan.inventory import Inventory
from sweep.result import Outcome


class SerialDispatcher:
    def nodes(self) -> list[Inventory]:
        return [survey.local()]

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
