"""The matrix as a notebook shows it."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sweep.report import matrix, text
from sweep.result import Result, Status

_COLOURS = {
    Status.OK: "#2e7d32",
    Status.MISMATCH: "#ad1fad",
    Status.INVALID: "#996000",
    Status.SKIPPED: "#757575",
    Status.CRASHED: "#d32f2f",
}
"""Of the words for them, which say it too: a contrast of 4.5 on white, and of 3 on black."""

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def as_html(rows: Sequence[Result], summary: str, folder: str) -> str:
    """A table for each model and device, with every status; all that rows say is text in it."""
    most = matrix.shown_of_each(rows)
    return _TEMPLATES.get_template("notebook.html.j2").render(
        folder=folder,
        summary=summary,
        most=most,
        total=len(rows),
        headings=text.HEADINGS,
        colours=_COLOURS,
        groups=[
            (title, [(row.status, text.columns(row)) for row in group[:most]]) for title, group in matrix.groups(rows)
        ],
        remarks=(*text.unlike(rows), text.floor(rows)),
    )
