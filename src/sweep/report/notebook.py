"""The matrix as a notebook shows it."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sweep.report import best, matrix, text
from sweep.result import Result
from sweep.status import Status

_COLOURS = {
    Status.OK: "#2e7d32",
    Status.MISMATCH: "#ad1fad",
    Status.UNPROVED: "#b45309",
    Status.INVALID: "#996000",
    Status.SKIPPED: "#757575",
    Status.CRASHED: "#d32f2f",
}
"""The colours of the names of statuses: their contrast is at least 4.5 on white and 3 on black."""

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def as_html(rows: Sequence[Result], summary: str, folder: str) -> str:
    """A table for each group of the matrix; all text of rows is escaped."""
    tables, left_out = matrix.tables(rows)
    return _TEMPLATES.get_template("notebook.html.j2").render(
        folder=folder,
        summary=summary,
        left_out=left_out,
        headings=text.HEADINGS,
        colours=_COLOURS,
        words=text.WORDS,
        groups=[
            (table.title, best.headline(table.group), [(row.status, text.columns(row)) for row in table.shown])
            for table in tables
        ],
        provisional=text.provisional(rows),
        remarks=text.remarks(rows),
    )
