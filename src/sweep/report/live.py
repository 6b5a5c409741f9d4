"""report.html while a sweep runs: written again from time to time, so that the sweep can be watched."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sweep.errors import RunFolderFull
from sweep.plan import Plan
from sweep.report import text
from sweep.report.listener import Listener
from sweep.report.page import Page
from sweep.result import Result

LEAST_SECONDS = 5.0
"""The shortest time between two writings."""

MOST_SHARE = 0.02
"""The largest share of the time that writing may take, however long one writing takes."""


class Live(Listener):
    """The listener that writes the page of a sweep while rows come."""

    name = "the page"

    def __init__(
        self, folder: str, write: Callable[[str, Iterable[str]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`folder` is the run folder as a person would type it; `write` is called with the name and text of a file.

        `clock` returns seconds.
        """
        self._folder, self._write, self._clock = folder, write, clock
        self._page = Page({})
        self._problems: list[str] = []
        self._next_writing = 0.0

    def planned(self, plan: Plan, kept: Sequence[Result], about: Mapping[str, Any]) -> None:
        """Begin the page, with the rows that exist already."""
        self._page = Page(about, self._folder)
        self._page.add_all(kept)

    def refused(self, rows: Sequence[Result]) -> None:
        """Add the rows of cells that cannot run, and write the page if it is time to."""
        self._page.add_all(rows)
        if rows:
            self._write_if_due()

    def ended(self, row: Result) -> None:
        """Add a row, and write the page if it is time to."""
        self._page.add(row)
        self._write_if_due()

    def round(self, number: int, cells: int, confirms: bool) -> None:
        """Say on the page what is done now."""
        self._page.stage = text.begun_round(number, cells, confirms=confirms)
        self._write_if_due()

    def refined(self, row: Result) -> None:
        """Replace the row of a cell, and write the page if it is time to."""
        self._page.replace(row)
        self._write_if_due()

    def _write_if_due(self) -> None:
        """Write the page, if the last writing is long enough ago; on a full disk the page stays as it was."""
        began = self._clock()
        if began < self._next_writing:
            return
        with suppress(RunFolderFull):  # writing the next row reports that
            self._write("report.html", self._page.html(running=True))
        ended = self._clock()
        self._next_writing = ended + max(LEAST_SECONDS, (ended - began) / MOST_SHARE)

    def interrupted(self, rows: Sequence[Result]) -> None:
        """Add the rows of cells that did not run."""
        self._page.add_all(rows)

    def done(self, about: Mapping[str, Any]) -> None:
        """Write the page for the last time, with the content of `sweep.json` at the end, and free its rows."""
        self._page.about = about
        try:
            self._write("report.html", self._page.html(running=False))
        except RunFolderFull as error:  # where there is no room for the matrix either, that is said there
            why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
            self._problems.append(f"the page could not be written: {why}")
        self._page = Page({})

    @property
    def problems(self) -> Sequence[str]:
        """That the page could not be written, if so."""
        return self._problems
