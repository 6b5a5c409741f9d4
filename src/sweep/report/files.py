"""The files of a run folder that are made from its rows: the text of matrix.csv, matrix.md and matrix.json is here."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from sweep.record import RunFolder
from sweep.report import best, junit, matrix, parquet, text
from sweep.report.columns import COLUMNS
from sweep.result import SCHEMA, Result


def write(rows: Sequence[Result], folder: RunFolder, *, junit_too: bool = False) -> None:
    """Write every file that is made from the rows of a sweep, except report.html. Raises RunFolderFull."""
    texts = file_texts(rows)
    if junit_too:
        texts["junit.xml"] = junit.as_xml(rows)
    for name, pieces in texts.items():
        folder.write(name, pieces)
    folder.write_with(parquet.write, "results.parquet", rows)


def file_texts(rows: Sequence[Result]) -> dict[str, Iterator[str]]:
    """The text of each file by its name, in pieces, because there may be many rows."""
    return {"matrix.csv": as_csv(rows), "matrix.md": as_markdown(rows), "matrix.json": as_json(rows)}


def as_csv(rows: Sequence[Result]) -> Iterator[str]:
    """One line for each row, under the names of COLUMNS; a value that is missing is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in COLUMNS])
    for row in rows:
        writer.writerow([column.value(row) for column in COLUMNS])
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def as_json(rows: Sequence[Result]) -> Iterator[str]:
    """The rows as in results.jsonl, in the order of the plan, after the counts of statuses and the noise floor."""
    floor = matrix.noise_floor(rows)
    about = {"schema": SCHEMA, "counts": matrix.counts(rows), "noise_floor": asdict(floor) if floor else None}
    yield f'{json.dumps(about, indent=1).removesuffix("}").rstrip()},\n "rows": ['
    for number, row in enumerate(rows):
        yield ",\n  " * bool(number) or "\n  "
        yield json.dumps(asdict(row))
    yield "\n ]\n}\n"


def as_markdown(rows: Sequence[Result]) -> Iterator[str]:
    """A table for each model and device, below what it comes to."""
    yield f"# Results\n\n{text.summary(rows)}\n\n"
    if provisional := text.provisional(rows):
        yield f"{escape_markdown(provisional)}\n\n"
    for title, group in matrix.groups(rows):
        yield f"## {escape_markdown(title)}\n\n{escape_markdown(best.headline(group))}\n\n"
        yield f"| {' | '.join(text.HEADINGS)} |\n|{' --- |' * len(text.HEADINGS)}\n"
        for row in group:
            yield f"| {' | '.join(escape_markdown(cell) for cell in text.columns(row))} |\n"
        yield "\n"
    for line in text.remarks(rows):
        yield f"{escape_markdown(line)}\n"


_IN_MARKDOWN = {mark: f"\\{mark}" for mark in "\\`*[]|~"} | {"<": "&lt;", ">": "&gt;", "@": "&#64;"}


def escape_markdown(string: str) -> str:
    """A string whose characters Markdown shows as they are: no table column, tag, link, emphasis or mention."""
    return "".join(_IN_MARKDOWN.get(letter, letter) for letter in string)
