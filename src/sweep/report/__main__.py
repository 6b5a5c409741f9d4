"""Makes the files of a run folder anew from its rows, whatever became of the sweep: `python -m sweep.report RUN`."""

import argparse
import sys
from collections.abc import Sequence

from sweep import ending
from sweep.errors import ExitCode
from sweep.record import RunFolder
from sweep.report import files, page
from sweep.report.run import load
from sweep.request.invocation import current


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog=current().command("report"), description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--junit", action="store_true", help="junit.xml too")
    options = parser.parse_args(arguments)
    return ending.run_command("sweep.report", lambda: _make(options.run, junit_too=options.junit))


def _make(where: str, *, junit_too: bool) -> ExitCode:
    run = load(where)
    folder = RunFolder(run.folder, current().resume)
    folder.write("report.html", page.from_rows(run.rows, run.about, where))
    files.write(run.rows, folder, junit_too=junit_too)
    return ExitCode.COMPLETE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
