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
from sweep.compare import as_json, comparison, matching, samples, words
from sweep.compare.comparison import Comparison
from sweep.compare.matching import ComparedRun
from sweep.errors import BadRequest, ExitCode, SweepError
from sweep.report.console import plain_unless_terminal
from sweep.report.run import Run, load
from sweep.request.invocation import current
from sweep.result import Quotient

EXIT_CODES = f"""exit codes: 0 no regression; 1 a speed-up fell by more than the threshold, or a cell was ok and no
longer is; 2 the request is wrong, or what ran on unlike hardware would be compared; {ending.EXIT_CODES}"""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog=current().command("compare"), description=__doc__, epilog=EXIT_CODES)
    parser.add_argument("base", metavar="BASE", help="a run folder")
    parser.add_argument("new", metavar="NEW", nargs="+", help="run folders, each to be compared with BASE")
    parser.add_argument("--threshold", default="3%", help="less is no difference: 3%% (the default) or 0.03")
    parser.add_argument("--all", action="store_true", help="list the cells without a difference too")
    parser.add_argument("--unlike-hardware", action="store_true", help="compare times of unlike hardware nevertheless")
    parser.add_argument("--format", choices=("terminal", "markdown", "html", "json"), default="terminal")
    parser.add_argument("--output", metavar="FILE", help="write there instead of printing")
    options = parser.parse_args(arguments)
    return ending.run_command("sweep.compare", lambda: _compare(options))


def _compare(options: argparse.Namespace) -> ExitCode:
    compared = _read_and_compare([options.base, *options.new], options.threshold, unlike=options.unlike_hardware)
    _write(compared, options.format, options.output, every=options.all)
    return ExitCode.FAILED_ON if compared.regressed else ExitCode.COMPLETE


def _read_and_compare(folders: Sequence[str], threshold: str, *, unlike: bool) -> Comparison:
    """Read run folders, of which the first is the base, and compare them. Raises BadRequest with every problem."""
    problems: list[str] = []
    threshold_share = 0.0
    try:
        threshold_share = share(threshold)
    except ValueError as error:
        problems.append(f"--threshold: {error}")
    runs = []
    for folder in dict.fromkeys(folders):
        try:
            runs.append(_read_run(Path(folder)))
        except SweepError as error:
            problems.append(str(error))
    if problems:
        raise BadRequest(*problems)
    by_name = {run.name: run for run in runs}
    base = by_name[str(Path(folders[0]))]
    news = [matching.aligned(base, by_name[str(Path(folder))]) for folder in folders[1:]]
    problems += [problem for new in news for problem in _cannot_be_compared(base, new, unlike=unlike)]
    if problems:
        raise BadRequest(*problems)
    ok_in_both = {id_ for new in news for id_ in matching.ok_in_both(base, new)}
    base, *news = (replace(run, quotients=dict(_quotients(run, ok_in_both))) for run in (base, *news))
    return comparison.compare(base, news, threshold_share)


def share(text: str) -> float:
    """`5%` or `0.05` as 0.05. Raises ValueError for any other text."""
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1:
        raise ValueError(f"{text!r} is no share: say 5% or 0.05")
    return number


def _read_run(path: Path) -> ComparedRun:
    """A run folder without what only its samples tell. Raises SweepError."""
    run = load(path)
    versions, environments = run.about.get("versions"), run.about.get("environments")
    return ComparedRun(
        name=str(path),
        rows={row.id: row for row in run.rows},
        questions=dict(_questions(run)),
        planned=frozenset(run.about["plan"]),
        versions=versions if isinstance(versions, dict) else {},
        environments=environments if isinstance(environments, dict) else {},
    )


def _questions(run: Run) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The `cell.json` of those cells of a run where it can be read. Cells share equal parts: there may be many."""
    parts: dict[str, Any] = {}
    for row in run.rows:
        question = _read_json(run.folder / "cells" / row.id / "cell.json") if row.log else None
        if isinstance(question, dict):
            yield row.id, {name: parts.setdefault(json.dumps(part), part) for name, part in question.items()}


def _cannot_be_compared(base: ComparedRun, new: ComparedRun, *, unlike: bool) -> Iterator[str]:
    """Why two runs cannot be compared, if so; with `unlike`, hardware may differ."""
    if not base.rows.keys() & (new.rows.keys() | new.planned):
        yield (
            f"{base.name} and {new.name} have no cell in common: nothing of {new.name} was asked with the same model "
            "config and options"
        )
    if unlike:
        return
    for (before, now), cells in matching.unlike_hardware(base, new).items():
        yield (
            f"{cells} {'cell' if cells == 1 else 'cells'} of {new.name} ran on {now}, in {base.name} on {before}: "
            "their times do not compare; --unlike-hardware compares them nevertheless"
        )


def _quotients(run: ComparedRun, ids: Iterable[str]) -> Iterator[tuple[str, Sequence[Quotient]]]:
    """What trials found of those cells whose rows do not say it. One file at a time: samples may need much memory."""
    for id_ in ids:
        row = run.rows.get(id_)
        if row and row.samples and not run.quotients_of(id_):
            yield id_, samples.quotients(_read_json(Path(run.name).expanduser() / row.samples))


def _read_json(path: Path) -> Any:
    """The content of a JSON file, None where it is missing or broken."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _write(compared: Comparison, form: str, output: str | None, *, every: bool) -> None:
    """Write a comparison to the file `output`, or print it. Raises BadRequest if the file cannot be written."""
    try:
        with open(output, "w", encoding="utf-8") if output else nullcontext(sys.stdout) as file:
            if form == "terminal":
                words.show(compared, plain_unless_terminal(Console(file=file, highlight=False)), every=every)
            elif form == "json":
                file.writelines(as_json.as_json(compared))
            else:
                to_text = words.as_markdown if form == "markdown" else words.as_html
                file.writelines(to_text(compared, every=every))
    except OSError as error:
        raise BadRequest(f"cannot write {output or 'the comparison'}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
