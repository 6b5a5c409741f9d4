"""Runs one cell of a finished sweep again, in the foreground: `python -m sweep.rerun RUN/cells/ID`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError

from sweep import isolate, reading
from sweep.cell import Cell
from sweep.errors import ExitCode
from sweep.result import Status

USAGE = "usage: python -m sweep.rerun RUN/cells/ID"


def main(arguments: Sequence[str]) -> int:
    """Print the cell's output as it comes, then its row; 0 if it is ok, 1 if not, 2 if there is no cell."""
    if len(arguments) != 1 or arguments[0] in {"-h", "--help"}:
        print(USAGE, file=sys.stderr)
        return ExitCode.COMPLETE if arguments in (["-h"], ["--help"]) else ExitCode.BAD_REQUEST
    try:
        cell = reading.of(Cell).validate_json((Path(arguments[0]) / "cell.json").read_bytes())
    except OSError as error:
        print(f"sweep.rerun: cannot read {error.filename}: {error.strerror}\n{USAGE}", file=sys.stderr)
        return ExitCode.BAD_REQUEST
    except ValidationError as error:
        print(f"sweep.rerun: cell.json describes no cell: {error.errors()[0]['msg']}", file=sys.stderr)
        return ExitCode.BAD_REQUEST
    try:
        with isolate.Supervisor() as supervisor:
            row = isolate.run(cell, supervisor, _echo).result
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    print(json.dumps(asdict(row), indent=1))
    return ExitCode.COMPLETE if row.status is Status.OK else ExitCode.FAILED_ON


def _echo(data: bytes) -> None:
    """Show text, and no control code: what a cell prints must not work a terminal."""
    text = data.decode(errors="replace")
    sys.stderr.write("".join(c if c.isprintable() or c in "\n\t" else "�" for c in text))
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
