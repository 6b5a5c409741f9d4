"""What changed from one sweep to others: `python -m sweep.compare BASE NEW [MORE…]`."""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from sweep import ending
from sweep.compare import as_json, comparison, matching, significance, words
from sweep.compare.comparison import Comparison
from sweep.compare.matching import ComparedRun
from sweep.compare.significance import Timings
from sweep.errors import BadRequest, ExitCode, SweepError
from sweep.report.console import plain_unless_terminal
from sweep.report.run import load
from sweep.request.invocation import current

EXIT_CODES = """exit codes: 0 no regression; 1 a cell is slower by more than the threshold, or was ok and no longer is;
2 the request is wrong, or what ran on unlike hardware would be compared"""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog=current().command("compare"), description=__doc__, epilog=EXIT_CODES)
    parser.add_argument("base", metavar="BASE", help="a run folder")
    parser.add_argument("new", metavar="NEW", nargs="+", help="run folders, each to be compared with BASE")
    parser.add_argument("--threshold", default="5%", help="less is no difference: 5%% (the default) or 0.05")
    parser.add_argument("--all", action="store_true", help="list the cells without a difference too")
    parser.add_argument("--unlike-hardware", action="store_true", help="compare times of unlike hardware nevertheless")
    parser.add_argument("--format", choices=("terminal", "markdown", "html", "json"), default="terminal")
    parser.add_argument("--output", metavar="FILE", help="write there instead of printing")
    options = parser.parse_args(arguments)
    return ending.run_command("sweep.compare", lambda: _compare(options))


def _compare(options: argparse.Namespace) -> ExitCode:
    comparison = _compared([options.base, *options.new], options.threshold, unlike=options.unlike_hardware)
    _tell(comparison, options.format, options.output, every=options.all)
    return ExitCode.FAILED_ON if comparison.regressed else ExitCode.COMPLETE


def _compared(folders: Sequence[str], threshold: str, *, unlike: bool) -> Comparison:
    """Raises BadRequest with all that is wrong."""
    problems: list[str] = []
    least = 0.0
    try:
        least = share(threshold)
    except ValueError as error:
        problems.append(f"--threshold: {error}")
    runs = []
    for folder in dict.fromkeys(folders):
        try:
            runs.append(_run(Path(folder)))
        except SweepError as error:
            problems.append(str(error))
    if problems:
        raise BadRequest(*problems)
    by_name = {run.name: run for run in runs}
    base, *news = (by_name[str(Path(folder))] for folder in folders)
    problems += [problem for new in news for problem in _cannot_be_compared(base, new, unlike=unlike)]
    if problems:
        raise BadRequest(*problems)
    proved = {id_ for new in news for id_ in matching.proved(base, new)}
    alone = {id_ for new in news for id_ in base.rows.keys() ^ new.rows.keys()}
    base, *news = (
        replace(run, timings=dict(_timings(run, proved)), asked=dict(_asked(run, alone))) for run in (base, *news)
    )
    return comparison.compare(base, news, least)


def share(said: str) -> float:
    """`5%` or `0.05` as 0.05. Raises ValueError for anything that is no share."""
    try:
        number = float(said.removesuffix("%")) / (100 if said.endswith("%") else 1)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1:
        raise ValueError(f"{said!r} is no share: say 5% or 0.05")
    return number


def _run(path: Path) -> ComparedRun:
    """What is to be read of a run folder at first. Raises SweepError."""
    run = load(path)
    versions = run.about.get("versions")
    return ComparedRun(
        name=str(path),
        rows={row.id: row for row in run.rows},
        planned=frozenset(run.about["plan"]),
        versions=versions if isinstance(versions, dict) else {},
    )


def _cannot_be_compared(base: ComparedRun, new: ComparedRun, *, unlike: bool) -> Iterator[str]:
    if not base.rows.keys() & (new.rows.keys() | new.planned):
        yield (
            f"{base.name} and {new.name} have no cell in common: nothing of {new.name} was asked with the same model "
            "config, measure, tolerance and options"
        )
    if unlike:
        return
    for (before, now), cells in matching.unlike_hardware(base, new).items():
        yield (
            f"{cells} {'cell' if cells == 1 else 'cells'} of {new.name} ran on {now}, in {base.name} on {before}: "
            "their times do not compare; --unlike-hardware compares them nevertheless"
        )


def _timings(run: ComparedRun, ids: Iterable[str]) -> Iterator[tuple[str, Timings]]:
    """Of those cells of a run whose samples can be read. One file at a time: raw samples may take a lot of room."""
    for id_ in ids:
        row = run.rows.get(id_)
        if row and row.samples and (found := significance.timings(_json(Path(run.name) / row.samples))):
            yield id_, found


def _asked(run: ComparedRun, ids: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for id_ in ids:
        said = _json(Path(run.name) / "cells" / id_ / "cell.json") if id_ in run.rows else None
        if isinstance(said, dict):
            yield id_, said


def _json(path: Path) -> Any:
    """What a file says, or None where it is missing or broken."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _tell(found: Comparison, form: str, output: str | None, *, every: bool) -> None:
    """Raises BadRequest if the file cannot be written."""
    try:
        with open(output, "w", encoding="utf-8") if output else nullcontext(sys.stdout) as file:
            if form == "terminal":
                words.show(found, plain_unless_terminal(Console(file=file, highlight=False)), every=every)
            elif form == "json":
                file.writelines(as_json.as_json(found))
            else:
                write = words.as_markdown if form == "markdown" else words.as_html
                file.writelines(write(found, every=every))
    except OSError as error:
        raise BadRequest(f"cannot write {output or 'the comparison'}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
