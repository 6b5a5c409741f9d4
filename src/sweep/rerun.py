"""Runs one cell of a finished sweep again, in the foreground: `python -m sweep.rerun RUN/cells/ID`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sweep import ending, isolate
from sweep.errors import ExitCode
from sweep.isolate import host, venv
from sweep.record import read_cell
from sweep.report.console import print_json
from sweep.request.invocation import current
from sweep.status import Status

EXIT_CODES = f"exit codes: 0 the cell is ok; 1 it is not; 2 there is no cell; {ending.EXIT_CODES}"


def main(arguments: Sequence[str]) -> int:
    """Print the cell's output as it comes, on standard error, then its row."""
    parser = argparse.ArgumentParser(prog=current().command("rerun"), description=__doc__, epilog=EXIT_CODES)
    parser.add_argument("cell", metavar="RUN/cells/ID", type=Path, help="the folder of a cell")
    options = parser.parse_args(arguments)
    return ending.run_command("sweep.rerun", lambda: _run_again(options.cell))


def _run_again(folder: Path) -> ExitCode:
    cell = read_cell(folder)
    host.refuse_unfit()
    if cell.environment:
        venv.enter(cell.environment, ["-m", "sweep.rerun", str(folder)])
    with isolate.Supervisor() as supervisor:
        row = isolate.run(cell, supervisor, _echo).result
    print_json(asdict(row))
    return ExitCode.COMPLETE if row.status is Status.OK else ExitCode.FAILED_ON


def _echo(data: bytes) -> None:
    """Show text, and no control code: what a cell prints must not work a terminal."""
    text = data.decode(errors="replace")
    sys.stderr.write("".join(c if c.isprintable() or c in "\n\t" else "�" for c in text))
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
