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
    """Has a supervisor from the first cell until it is closed."""

    def __init__(self) -> None:
        self._supervisor: isolate.Supervisor | None = None

    def nodes(self, waits: Callable[[str], None] = lambda _text: None) -> list[Inventory]:
        del waits
        return [survey.local()]

    def run(
        self, backlog: Backlog, started: Callable[[Cell], None], waits: Callable[[str], None] = lambda _text: None
    ) -> Generator[Outcome, None, None]:
        del waits  # there is nothing to wait for
        (here,) = self.nodes()
        while cell := backlog.take() or backlog.take_alone():
            started(cell)
            self._supervisor = self._supervisor or isolate.Supervisor()
            outcome = isolate.run(cell, self._supervisor, further=backlog.further(cell))
            yield validate.with_fingerprint(outcome, cell, here)

    @property
    def problems(self) -> list[str]:
        return []

    def close(self) -> None:
        if self._supervisor:
            self._supervisor.close()
            self._supervisor = None
