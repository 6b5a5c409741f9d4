"""report.html while a sweep runs: written anew now and then, so that it can be watched."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from sweep.errors import RunFolderFull
from sweep.report.page import Page
from sweep.result import Result

EVERY = 5.0
"""Seconds between two writings at the least."""

SHARE = 0.02
"""Of the time at the most, however long a writing takes."""


class Live:
    """Told of rows as they come."""

    def __init__(
        self, page: Page, write: Callable[[str, Iterable[str]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`write` is given the file's name and its text; `clock` tells seconds."""
        self._page, self._write, self._clock = page, write, clock
        self._next = 0.0

    def ended(self, row: Result) -> None:
        """Add a row; the page is written if it was not just now. Where there is no room for it, it stays as it was."""
        self.add(row)
        began = self._clock()
        if began < self._next:
            return
        with suppress(RunFolderFull):  # the journal tells of that
            self._write("report.html", self._page.html(running=True))
        ended = self._clock()
        self._next = ended + max(EVERY, (ended - began) / SHARE)

    def add(self, row: Result) -> None:
        """Add a row that is there already."""
        self._page.add(row)

    def done(self, about: Mapping[str, Any]) -> None:
        """Write the page for the last time, with what `sweep.json` says in the end, and let go of its rows."""
        self._page.about = about
        self._write("report.html", self._page.html(running=False))
        self._page = Page({})
