"""Makes the files of a run folder anew from its rows, whatever became of the sweep: `python -m sweep.report RUN`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sweep.errors import ExitCode, SweepError
from sweep.record import RunFolder
from sweep.report import files, page


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m sweep.report", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--junit", action="store_true", help="junit.xml too")
    options = parser.parse_args(arguments)
    folder = RunFolder(Path(options.run))
    try:
        about, rows = folder.about(), folder.load()
        place = {id_: number for number, id_ in enumerate(about["plan"])}
        rows.sort(key=lambda row: place.get(row.id, len(place)))
        folder.write("report.html", page.from_rows(rows, about, options.run))
        files.write(rows, folder, junit_too=options.junit)
    except SweepError as error:
        print(f"sweep.report: {error}", file=sys.stderr)
        return ExitCode.BAD_REQUEST
    return ExitCode.COMPLETE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
