"""Tables in the style of sweep, and a console for pipes."""

import json
import os
import sys
from contextlib import suppress
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_NUMERIC = {"p50 ms", "speed-up", "trials", "rel. error", "convert s", "pays off"}
_GIVE_WAY = {"conversion", "status"}
"""Where there is little room these columns are cut, so that no figure is."""


def table(*headings: str) -> Table:
    """An empty table in the style of sweep."""
    lines = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        numeric = heading in _NUMERIC
        no_wrap = heading not in _GIVE_WAY
        lines.add_column(heading, justify="right" if numeric else "left", no_wrap=no_wrap, overflow="ellipsis")
    return lines


def plain_unless_terminal(console: Console) -> Console:
    """`console` itself, or one without control codes and without a width to wrap at."""
    if console.is_terminal:
        return console
    return Plain(file=console.file, highlight=False, no_color=True, width=10_000, force_jupyter=False)


def print_json(value: Any) -> None:
    """Print a value as JSON, for programs; one that reads no more than it needs ends nothing."""
    plain_unless_terminal(Console(highlight=False)).out(json.dumps(value, indent=1), highlight=False)


class Plain(Console):
    """Writes lines to a pipe; when the reader of the pipe is gone it writes nothing more, and the sweep goes on."""

    def on_broken_pipe(self) -> None:
        self.file = open(os.devnull, "w")  # noqa: SIM115 - it is the rest of this process's output
        with suppress(OSError, ValueError):
            os.dup2(self.file.fileno(), sys.stdout.fileno())
