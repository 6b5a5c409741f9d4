"""The command line: `python -m sweep +model=NAME … -m`, and its other commands: `python -m sweep compare BASE NEW`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

from sweep import ending, interrupts, keeper
from sweep.errors import ExitCode

COMMANDS = {
    "compare": "sweep.compare.__main__",
    "modes": "sweep.modes",
    "pick": "sweep.pick.__main__",
    "report": "sweep.report.__main__",
    "rerun": "sweep.rerun",
}
"""The modules of the other commands, by name; each can be started as `python -m sweep.NAME` too."""


def main(arguments: Sequence[str]) -> int:
    """Run a sweep, or the command that the first argument names; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character must not end a sweep
    if arguments and arguments[0] in COMMANDS:
        code: int = import_module(COMMANDS[arguments[0]]).main(arguments[1:])
        return code
    return ending.run_command("sweep", lambda: _run_sweep(arguments))


def _run_sweep(arguments: Sequence[str]) -> int:
    interrupts.listen()
    from sweep.request.compose import compose

    composed = compose(arguments)
    if composed is None:
        return ExitCode.COMPLETE

    from sweep import app  # after the help: importing what a run needs takes long
    from sweep.report.terminal import Board
    from sweep.request import invocation

    return app.run(*composed, Board(invocation=invocation.current()))


def script() -> NoReturn:
    """The entry point of the console script `sweep`."""
    arguments = sys.argv[1:]
    sys.exit(main(arguments) if arguments[:1] and arguments[0] in COMMANDS else keeper.run(arguments, main))


if __name__ == "__main__":
    script()
