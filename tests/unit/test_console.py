"""What is shown to a person ends no command, whatever became of where it is shown."""

import errno
import io
import os
import pty
import sys

import pytest
from rich.console import Console

from sweep.report.console import for_a_person, plain_unless_terminal


class Broken(io.StringIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.tries = number, 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
def test_where_nobody_reads_any_more_nothing_more_is_written(number: int) -> None:
    file = Broken(number)
    console = plain_unless_terminal(Console(file=file))
    console.print("one")
    console.print("two")
    assert file.tries == 1


def test_a_full_disk_is_an_error_of_a_command_but_not_of_what_a_sweep_shows() -> None:
    with pytest.raises(OSError, match="No space left"):
        plain_unless_terminal(Console(file=Broken(errno.ENOSPC))).print("a table")
    for_a_person(Console(file=Broken(errno.ENOSPC))).print("a table")


def test_a_closed_file_takes_nothing() -> None:
    file = io.StringIO()
    console = for_a_person(Console(file=file))
    file.close()
    console.print("a line")


def test_a_terminal_that_was_closed_takes_what_comes() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        console = for_a_person(Console(file=terminal))
        assert console.is_terminal
        os.close(ours)
        console.print("a line")
        console.print("another")
        terminal.write("by somebody else")  # goes nowhere, and fails neither now nor when it is closed
        terminal.flush()
    assert sys.stdout is not terminal
