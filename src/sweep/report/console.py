"""Tables in the style of sweep, and a console for pipes."""

import errno
import json
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import IO, Any, TextIO, cast

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
    """`console` itself, or one without control codes and without a width to wrap at.

    Either writes nothing more once the reader of a pipe or the terminal is gone.
    """
    return _console(console, {errno.EPIPE, errno.EIO})


def for_a_person(console: Console) -> Console:
    """As `plain_unless_terminal`, and nothing that writing meets is an error: all that is shown is in files too."""
    return _console(console, None)


def _console(console: Console, quiet: Collection[int] | None) -> Console:
    file = cast("TextIO", _Tolerant(console.file, quiet))
    if console.is_terminal:
        console.file = file
        return console
    return Console(file=file, highlight=False, no_color=True, width=10_000, force_jupyter=False)


def print_json(value: Any) -> None:
    """Print a value as JSON, for programs; one that reads no more than it needs ends nothing."""
    plain_unless_terminal(Console(highlight=False)).out(json.dumps(value, indent=1), highlight=False)


class _Tolerant:
    """A stream that takes nothing more, and says nothing of it, once it has met one of some errors, or any (None)."""

    def __init__(self, stream: IO[str], quiet: Collection[int] | None) -> None:
        self._stream, self._quiet, self._gone = stream, quiet, False

    def write(self, text: str) -> int:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._do(lambda: self._stream.write(text.encode(encoding, "replace").decode(encoding)))
        return len(text)

    def flush(self) -> None:
        self._do(self._stream.flush)

    def _do(self, work: Callable[[], object]) -> None:
        if self._gone:
            return
        try:
            work()
        except OSError as error:
            if self._quiet is not None and error.errno not in self._quiet:
                raise
            self._gone = True
            swallow(self._stream)
        except ValueError:  # somebody closed it
            self._gone = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def swallow(stream: IO[str]) -> None:
    """Have what is still written to a stream, as by the interpreter when it ends, go nowhere."""
    with open(os.devnull, "w") as nowhere, suppress(OSError, ValueError):
        os.dup2(nowhere.fileno(), stream.fileno())
