"""The interface of what follows a sweep while it runs: the terminal, the report page, MLflow."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from sweep.cell import Cell
from sweep.plan import Plan
from sweep.result import Result


class Listener:
    """A listener of a sweep: its methods are called from the plan to the end, and it is a context while cells run.

    These methods do nothing; a listener defines those that it needs.
    """

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
