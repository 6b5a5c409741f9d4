"""The interface of what follows a sweep while it runs: the terminal, the report page, MLflow."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from sweep.cell import Cell
from sweep.errors import SweepError
from sweep.plan import Plan
from sweep.reading import one_line
from sweep.result import Result


class Listener:
    """A listener of a sweep: its methods are called from the plan to the end, and it is a context while cells run.

    These methods do nothing; a listener defines those that it needs. Whatever one raises, but for a SweepError, has it
    left out from then on: see `Listeners`.
    """

    name = "a listener"
    """What it is to a reader of its problems."""

    def __enter__(self) -> "Listener":
        """Cells begin to run."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No cell runs any more, for whatever reason."""

    @property
    def problems(self) -> Sequence[str]:
        """Problems of this listener, to be shown at the end; they do not end the sweep."""
        return ()

    def planned(self, plan: Plan, kept: Sequence[Result], about: Mapping[str, Any]) -> None:
        """The plan of what is still to do; `kept` are rows that exist already, `about` is what `sweep.json` holds."""

    def started(self, cell: Cell) -> None:
        """A cell was sent to a node."""

    def waits(self, text: str) -> None:
        """What cells wait for, because no node is there, or others use it."""

    def refused(self, rows: Sequence[Result]) -> None:
        """Cells that cannot run have their rows, which were written."""
        for row in rows:
            self.ended(row)

    def ended(self, row: Result) -> None:
        """A cell has its first row, which was written."""

    def round(self, number: int, cells: int, confirms: bool) -> None:
        """A round of further trials begins, of so many cells, to confirm the fastest or not; each has its row."""

    def refined(self, row: Result) -> None:
        """A cell had more trials, or those of others told more of it; this row replaces the one that it had."""

    def interrupted(self, rows: Sequence[Result]) -> None:
        """The sweep was interrupted; these are the rows of the cells that did not run."""

    def done(self, about: Mapping[str, Any]) -> None:
        """Every cell has its row; `about` is the content of `sweep.json` at the end."""


class Listeners:
    """Those of a sweep, in the order in which they are called. They are a context while cells run, as each of them is.

    One that fails is left out from then on, and that is one of the `problems`: none of them can end a sweep.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._all, self._there = listeners, list(listeners)
        self._failures: list[str] = []

    def tell(self, event: Callable[[Listener], object]) -> None:
        """Call each of them. Raises the SweepError that one raises, as where the disk is full."""
        for listener in list(self._there):
            try:
                event(listener)
            except SweepError:
                raise
            except Exception as error:
                self._there.remove(listener)
                said = one_line(str(error)) or "no message"
                self._failures.append(
                    f"{listener.name} failed, and was left out from then on: {type(error).__name__}: {said}"
                )
                with suppress(Exception):  # what it has begun, such as a thread that draws
                    listener.__exit__(None, None, None)

    def started(self, cell: Cell) -> None:
        """As each of theirs."""
        self.tell(lambda one: one.started(cell))

    def waits(self, text: str) -> None:
        """As each of theirs."""
        self.tell(lambda one: one.waits(text))

    def __enter__(self) -> "Listeners":
        self.tell(lambda one: one.__enter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tell(lambda one: one.__exit__(kind, error, trace))

    def fail(self, why: str) -> None:
        """Something else than a listener failed, if it says why: it is the first of the problems."""
        self._failures[:0] = filter(None, [why])

    @property
    def problems(self) -> list[str]:
        """Of all of them, those that were left out too."""
        return [*self._failures, *(problem for listener in self._all for problem in listener.problems)]
