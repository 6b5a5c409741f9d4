"""report.html while a sweep runs: written anew now and then, so that it can be watched."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sweep.errors import RunFolderFull
from sweep.plan import Plan
from sweep.report.listener import Listener
from sweep.report.page import Page
from sweep.result import Result

EVERY = 5.0
"""Seconds between two writings at the least."""

SHARE = 0.02
"""Of the time at the most, however long a writing takes."""


class Live(Listener):
    """Makes the page of a sweep as rows come."""

    def __init__(
        self, folder: str, write: Callable[[str, Iterable[str]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`folder` is the run folder as a person would type it; `write` is given the file's name and its text.

        `clock` tells seconds.
        """
        self._folder, self._write, self._clock = folder, write, clock
        self._page = Page({})
        self._next = 0.0

    def planned(self, plan: Plan, kept: Sequence[Result], about: Mapping[str, Any]) -> None:
        """Begin the page, with the rows that are there already."""
        self._page = Page(about, self._folder)
        for row in kept:
            self._page.add(row)

    def ended(self, row: Result) -> None:
        """Add a row; the page is written if it was not just now. Where there is no room for it, it stays as it was."""
        self._page.add(row)
        began = self._clock()
        if began < self._next:
            return
        with suppress(RunFolderFull):  # the journal tells of that
            self._write("report.html", self._page.html(running=True))
        ended = self._clock()
        self._next = ended + max(EVERY, (ended - began) / SHARE)

    def interrupted(self, rows: Sequence[Result]) -> None:
        """Add the rows of what did not run."""
        for row in rows:
            self._page.add(row)

    def done(self, about: Mapping[str, Any]) -> None:
        """Write the page for the last time, with what `sweep.json` says in the end, and let go of its rows."""
        self._page.about = about
        self._write("report.html", self._page.html(running=False))
        self._page = Page({})
