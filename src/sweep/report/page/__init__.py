"""report.html: a page in a single file, which is written again and again while a sweep runs."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib import resources
from sys import intern
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader

from sweep.cell import BASELINE
from sweep.reading import one_line
from sweep.report import matrix, text
from sweep.report.page import answers, compact, totals
from sweep.result import SECONDS, Result
from sweep.status import Status

MOST_ROWS = 20_000
"""How many rows a page keeps: with more it would be too large to use."""

MOST_ANSWERS, FIRST_ANSWERS = 300, 24
"""How many groups have their answer on the page, and how many of these are visible without a click."""

SCRIPTS = ("data", "state", "parts", "filters", "matrix", "table", "trials", "detail", "charts", "sections", "main")
LIBRARIES = {
    "d3.min.js": ("d3 7.9.2", "LICENSE.d3"),
    "plot.umd.min.js": ("Observable Plot 0.6.17", "LICENSE.plot"),
    "htm-preact.umd.js": ("htm 3.1.1, https://www.apache.org/licenses/LICENSE-2.0, and Preact", "LICENSE.preact"),
}

GLYPHS = {
    Status.OK: "✓",
    Status.MISMATCH: "≠",
    Status.UNPROVED: "≟",
    Status.INVALID: "⊘",
    Status.SKIPPED: "–",
    Status.CRASHED: "✕",
}
"""A sign for each status, so that colour is not the only difference."""

KeptRow = tuple[Result, str]
"""A row without details, and its JSON with them."""

_Json = TypeVar("_Json", str, str | None)


class Page:
    """The report page of a run. Each row is turned into compact JSON once, when it is added.

    `about` is the content of `sweep.json`, and may be replaced by a newer one; `folder` is the run folder as a person
    would type it. `stage` is what the sweep is doing now, where every cell has its row already.
    """

    def __init__(self, about: Mapping[str, Any], folder: str = ".") -> None:
        self.about = about
        self.stage = ""
        self._folder = folder
        self._compact = compact.Compact()
        self._totals = totals.Totals()
        self._eager: dict[str, Result] = {}
        self._kept: dict[str, KeptRow] = {}
        self._added = 0

    def add(self, row: Result) -> None:
        """Add the first row of a cell."""
        self._added += 1
        self._put(row)
        if len(self._kept) > MOST_ROWS * 5 // 4:
            self._keep_at_most(MOST_ROWS)

    def add_all(self, rows: Sequence[Result]) -> None:
        """Add the first rows of many cells: only of those that are kept the JSON is made, which takes the longest."""
        self._added += len(rows)
        causes = {row.id: self._count(row) for row in rows}
        candidates: list[tuple[Result, str | None]] = [*self._kept.values(), *((row, None) for row in rows)]
        self._kept = {
            row.id: (row, as_json) if as_json else self._compacted(row, causes[row.id])
            for row, as_json in rows_to_keep(candidates, MOST_ROWS)
        }

    def replace(self, row: Result) -> None:
        """Put a newer row of a cell in the place of the one that was added."""
        self._totals.take_back(row.id)
        self._eager.pop(row.id, None)
        self._put(row)

    def _put(self, row: Result) -> None:
        self._kept[row.id] = self._compacted(row, self._count(row))

    def _count(self, row: Result) -> int | None:
        """Have it in all that is said of all rows; returns the number of its cause."""
        if row.conversion == BASELINE and row.status is Status.OK:
            self._eager[row.id] = _without_details(row)
        return self._totals.add(row, compact.family(row))

    def _compacted(self, row: Result, cause: int | None) -> KeptRow:
        return _without_details(row), self._compact.row(row, cause)

    def _keep_at_most(self, most: int) -> None:
        self._kept = {row.id: (row, as_json) for row, as_json in rows_to_keep([*self._kept.values()], most)}

    def html(self, *, running: bool) -> Iterator[str]:
        """The text of the file, in pieces; `running` is whether the sweep still runs."""
        self._keep_at_most(MOST_ROWS)
        rows = [row for row, _ in self._kept.values()]
        groups = matrix.groups(rows)
        pieces = (
            _environment()
            .get_template("page.html.j2")
            .generate(
                about=self.about,
                answers=list(answers.answers(groups[:MOST_ANSWERS])),
                first=FIRST_ANSWERS,
                command=_command(self.about),
                counts={status: self._totals.statuses[status] for status in Status},
                css=_file_text("page.css"),
                data=self._data(groups, running=running),
                noise_floor=text.noise_floor([*self._eager.values()]),
                folder=self._folder,
                glyphs=GLYPHS,
                groups=len(groups),
                kept=len(rows),
                provisional=text.provisional(rows, running=running),
                planned=max(len(self.about.get("plan", ())), self._added),
                running=running,
                scripts=_scripts(),
                stage=self.stage,
                notes=[*text.of_models(rows), *text.unlike_hardware(rows)],
                subject=_subject(rows),
                text=text,
                total=self._added,
            )
        )
        for piece in pieces:
            yield piece.encode("utf-8", "replace").decode()  # a name that is no valid text must not stop the page

    def _data(self, groups: Sequence[tuple[str, Sequence[Result]]], *, running: bool) -> Iterator[str]:
        """The data that the scripts of the page read, as one JSON object."""
        numbers = {id_: number for number, id_ in enumerate(self._kept)}
        floor = matrix.noise_floor([*self._eager.values()])
        about = {
            "running": running,
            "folder": self._folder,
            "glyphs": GLYPHS,
            "statuses": list(Status),
            "phases": SECONDS,
            "fields": compact.FIELDS,
            "shares": sorted(compact.SHARED),
            "parts": compact.PARTS,
            "quotient": compact.QUOTIENT,
            "output": compact.OUTPUT,
            "shape": compact.SHAPE,
            "floor": asdict(floor) if floor else None,
            "groups": [
                [one_line(name), _setting(name, rows[0]), [numbers[row.id] for row in rows]] for name, rows in groups
            ],
            **self._totals.as_json(),
        }
        yield compact.script_json(about)[:-1]
        for name, entries in (
            ("shared", self._compact.shared()),
            ("rows", (as_json for _, as_json in self._kept.values())),
        ):
            yield f',"{name}":[\n'
            for number, entry in enumerate(entries):
                yield ",\n" * bool(number) + entry
            yield "]"
        yield "}"


def from_rows(rows: Sequence[Result], about: Mapping[str, Any], folder: str = ".") -> Iterator[str]:
    """The page of a sweep that is over."""
    page = Page(about, folder)
    page.add_all(rows)
    return page.html(running=False)


def rows_to_keep(kept: list[tuple[Result, _Json]], most: int) -> list[tuple[Result, _Json]]:
    """At most `most` of the rows, in their order: of each group the fastest, and as many of those that are not ok.

    A row that is left out now would be left out of any larger number of rows too, so this may be called again when
    more rows have come.
    """
    if len(kept) <= most:
        return kept
    places: dict[str, int] = {}
    for _, group in matrix.groups([row for row, _ in kept]):
        ok = [row for row in group if row.status is Status.OK]
        not_ok = sorted((row for row in group if row.status is not Status.OK), key=_is_skipped_or_invalid)
        places |= {row.id: place for rows in (ok, not_ok) for place, row in enumerate(rows)}
    first = sorted(range(len(kept)), key=lambda number: places[kept[number][0].id])[:most]
    return [kept[number] for number in sorted(first)]


def _is_skipped_or_invalid(row: Result) -> bool:
    return row.status in {Status.SKIPPED, Status.INVALID}


def _without_details(row: Result) -> Result:
    """A row without the parts that only its JSON needs, so that thousands of rows take little memory."""
    return replace(
        row,
        model=intern(row.model),
        conversion=intern(row.conversion),
        device=intern(row.device),
        message=intern(row.message),
        seconds={"convert": row.seconds.get("convert")},
        engine=replace(row.engine, evidence={}) if row.engine else None,
        throughput_per_s=None,
        load=None,
        crash=None,
        node=None,
        versions={},
        compat=(),
        attempts=(),
        log=None,
        samples=None,
    )


def _setting(title: str, row: Result) -> str:
    """The title of a group without its model and device."""
    return one_line(title.removeprefix(f"{row.model} · {row.device} · "))


def _command(about: Mapping[str, Any]) -> str:
    return f"python -m sweep {shlex.join(map(str, about.get('command', ())))}".rstrip()


def _subject(rows: Sequence[Result]) -> str:
    """The heading of the page: the models and devices of the sweep."""
    models, devices = (list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("model", "device"))
    return f"{_join_names(models)} on {_join_names(devices)}" if rows else "A sweep"


def _join_names(names: Sequence[str], most: int = 4) -> str:
    """`a, b and c`; of more than `most` names the first ones, and how many more there are."""
    parts = [*map(one_line, names[:most]), *([f"{len(names) - most} more"] if len(names) > most else [])]
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(__name__, "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _file_text(name: str) -> str:
    """The text of a file of this package, ours or vendored."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _scripts() -> Iterator[str]:
    """The scripts of the page: the libraries with their notices, and ours in a scope of its own."""
    for name, (title, licence) in LIBRARIES.items():
        yield f"/* {title}\n{_file_text(f'vendor/{licence}')}*/\n{_file_text(f'vendor/{name}')}\n"
    ours = "".join(_file_text(f"js/{name}.js") for name in SCRIPTS)
    yield f"(() => {{\n'use strict';\n{ours}}})();\n"
