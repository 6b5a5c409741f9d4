"""What hears how a sweep goes: the terminal, the page that can be watched, MLflow."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from sweep.cell import Cell
from sweep.plan import Plan
from sweep.result import Result


class Listener:
    """Told of a sweep from its plan to its end, and a context while cells run; by itself it does nothing."""

    def __enter__(self) -> "Listener":
        """Cells begin to run."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No cell runs any more, for whatever reason."""

    @property
    def problems(self) -> Sequence[str]:
        """What went wrong with what it makes of the sweep, to be told in the end; it ends nothing."""
        return ()

    def planned(self, plan: Plan, kept: Sequence[Result], about: Mapping[str, Any]) -> None:
        """What is still to be done; `kept` are rows that are there already, `about` what `sweep.json` says."""

    def started(self, cell: Cell) -> None:
        """A cell went out."""

    def ended(self, row: Result) -> None:
        """A row was written."""

    def interrupted(self, rows: Sequence[Result]) -> None:
        """The sweep was; these are the rows of the cells that did not run."""

    def done(self, about: Mapping[str, Any]) -> None:
        """Every cell has its row; `about` is what `sweep.json` says in the end."""
