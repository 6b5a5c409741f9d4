"""A comparison of sweeps in words: on a terminal, as Markdown for a pull request, as a page."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import log, log1p

import jinja2
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweep.cell import BASELINE, asked
from sweep.compare.comparison import Against, Change, Comparison, Timed
from sweep.compare.eager import Moved
from sweep.compare.explained import about, method
from sweep.compare.matching import Renamed
from sweep.reading import one_line
from sweep.report import text
from sweep.report.console import table
from sweep.report.files import escape_markdown
from sweep.result import Result

_TIMES = ("conversion", "of", "base", "new", "new/base", "95 % interval", "p", "p50", "eager", "note")
_EAGER = ("conversion", "of", "base ms", "new ms", "new/base", "note")
_NUMERIC = {*_TIMES[2:-1], *_EAGER[2:-1]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A table of cells that changed in the same way; `bad` where that is a regression."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bad: bool = False


def sections(against: Against, *, every: bool, threshold: float = 0.0) -> list[Section]:
    """The sections for a sweep, the worst first; what does not differ, by the share `threshold`, only if `every`."""
    before_after = ("conversion", "of", "was", "is", "message")
    tables = [
        Section(
            title="Status changed",
            headings=before_after,
            rows=tuple(_changed_row(base, new) for base, new in against.changed)
            + tuple(map(_missing_row, against.missing)),
            bad=against.no_longer_ok > 0,
        ),
        Section(title="Vanished", headings=("conversion", "of", "was"), rows=tuple(map(_status_row, against.vanished))),
        Section(title="Appeared", headings=("conversion", "of", "is"), rows=tuple(map(_status_row, against.appeared))),
        Section(
            title="Asked differently, so not compared",
            headings=("conversion", "of", "what differs"),
            rows=tuple(map(_renamed_row, against.renamed)),
        ),
    ]
    for verdict in Change:
        if verdict is not Change.SAME or every:
            rows = tuple(map(_times_row, against.with_verdict(verdict)))
            title = str(verdict).capitalize()
            tables.append(Section(title=title, headings=_TIMES, rows=rows, bad=verdict is Change.SLOWER))
    moved = [one for one in against.eager if every or abs(log(one.ratio)) > log1p(threshold)]
    tables.append(Section(title="Eager itself moved", headings=_EAGER, rows=tuple(map(_eager_row, moved))))
    return [section for section in tables if section.rows]


def _names(row: Result) -> tuple[str, str]:
    """The conversion, and all else that tells its cell from others: model, device, batch size, options."""
    of = [row.model, row.device, f"batch {row.batch_size}"]
    of += [f"{row.threads} {'thread' if row.threads == 1 else 'threads'}"] if row.threads is not None else []
    of += [f"environment {row.environment}"] if row.environment else []
    of += [f"{key}={value}" for key, value in sorted(asked(row.overrides).items())]
    return one_line(row.conversion), one_line(" · ".join(of))


def _changed_row(base: Result, new: Result) -> tuple[str, ...]:
    return (*_names(base), text.verdict(base), text.verdict(new), one_line(new.message))


def _missing_row(base: Result) -> tuple[str, ...]:
    return (*_names(base), text.verdict(base), "no row", "planned, and not finished")


def _status_row(row: Result) -> tuple[str, ...]:
    return (*_names(row), text.verdict(row))


def _renamed_row(renamed: Renamed) -> tuple[str, ...]:
    more = f" and {len(renamed.differs) - 3} more" if len(renamed.differs) > 3 else ""
    differences = ", ".join(renamed.differs[:3]) + more
    return (*_names(renamed.new[0]), differences or "its model's config or another option")


def _times_row(timed: Timed) -> tuple[str, ...]:
    return (
        *_names(timed.new),
        f"{timed.base_speedup:.3f}",
        f"{timed.new_speedup:.3f}",
        f"{timed.ratio:.3f}",
        f"{timed.interval[0]:.3f} to {timed.interval[1]:.3f}" if timed.interval else "–",
        f"{timed.tested.p:.2g}" if timed.tested else "–",
        f"{timed.p50_ratio:.3f}",
        f"{timed.eager_ratio:.3f}",
        "; ".join(_notes(timed)),
    )


def _notes(timed: Timed) -> Iterator[str]:
    if timed.why_not:
        yield timed.why_not
    if timed.by_eager:
        yield "eager moved, and its own p50 hardly"
    if timed.tested and timed.tested.borrowed:
        yield "one trial a side"
    if timed.tested and timed.confirmed_once:
        yield "confirmed on one side: of all its trials"
    if timed.verdict is Change.SAME and timed.tested and timed.tested.significant:
        yield "significant, but within the threshold"


def _eager_row(moved: Moved) -> tuple[str, ...]:
    versions = one_line(", ".join(moved.versions), 200)
    why = f"the machine, its load or what is installed changed ({versions})" if versions else ""
    return (
        BASELINE,
        _names(moved.new)[1],
        f"{moved.base_ms:.4g}",
        f"{moved.new_ms:.4g}",
        f"{moved.ratio:.3f}",
        why or "the machine or its load changed",
    )


def summary(against: Against) -> str:
    """`1 changed status; 2 slower, 0 faster, 69 no difference (1 of them significant, but within the threshold)`."""
    cells = {
        "changed status": len(against.changed),
        "without a row yet": len(against.missing),
        "vanished": len(against.vanished),
        "appeared": len(against.appeared),
        "asked differently": sum(len(renamed.new) for renamed in against.renamed),
    }
    times = {str(verdict): len(against.with_verdict(verdict)) for verdict in Change}
    parts = [", ".join(f"{n} {name}" for name, n in cells.items() if n)]
    parts.append(", ".join(f"{n} {name}" for name, n in times.items() if n or name != Change.UNTESTED))
    if against.within_threshold:
        parts[-1] += f" ({against.within_threshold} of them significant, but within the threshold)"
    if against.unproved:
        parts.append(f"{against.unproved} not ok on either side")
    return "; ".join(filter(None, parts))


def show(comparison: Comparison, console: Console, *, every: bool) -> None:
    """Print a comparison, in colour where `console` is a terminal."""
    for against in comparison.against:
        console.print(Text(f"{one_line(against.name)} against {one_line(comparison.base)}", "bold"))
        for line in about(against):
            console.print(Text(line))
        for section in sections(against, every=every, threshold=comparison.threshold):
            console.print()
            console.print(Text(f"{section.title}: {len(section.rows)}", "bold red" if section.bad else "bold"))
            if console.is_terminal:
                _show_narrow(section, console)
            else:
                console.print(_table(section.headings, section.rows))
        console.print(Text(summary(against), "bold"))
        console.print()
    for line in method(comparison):
        console.print(Text(line))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    lines = table(*headings)
    for column, heading in zip(lines.columns, headings, strict=True):
        column.justify = "right" if heading in _NUMERIC else "left"
    for row in rows:
        lines.add_row(*map(Text, row))
    return lines


def _show_narrow(section: Section, console: Console) -> None:
    """A table for each model and setting, so that each cell fits into a line; notes on cells stand below the table."""
    noted = section.headings[-1] in {"note", "message"}
    last = -1 if noted else None
    for of in dict.fromkeys(row[1] for row in section.rows):
        rows = [row for row in section.rows if row[1] == of]
        console.print(Text(of, "dim"))
        headings = (section.headings[0], *section.headings[2:last])
        console.print(_table(headings, [(row[0], *row[2:last]) for row in rows]))
        for row in rows if noted else ():
            if row[-1]:
                console.print(Text(f" {row[0]}: {row[-1]}"))


def as_markdown(comparison: Comparison, *, every: bool) -> Iterator[str]:
    """Markdown for a pull request: a line for each sweep, and all else folded."""
    for against in comparison.against:
        names = f"{escape_markdown(one_line(against.name))} against {escape_markdown(one_line(comparison.base))}"
        yield f"**{escape_markdown(summary(against))}** – {names}\n\n"
    for against in comparison.against:
        of = f" ({escape_markdown(one_line(against.name))})" if len(comparison.against) > 1 else ""
        for section in sections(against, every=every, threshold=comparison.threshold):
            yield f"<details{' open' if section.bad else ''}>\n"
            yield f"<summary>{section.title}{of}: {len(section.rows)}</summary>\n\n"
            marks = (" ---: |" if heading in _NUMERIC else " --- |" for heading in section.headings)
            yield f"| {' | '.join(section.headings)} |\n|{''.join(marks)}\n"
            for row in section.rows:
                yield f"| {' | '.join(map(escape_markdown, row))} |\n"
            yield "\n</details>\n\n"
    yield "<details>\n<summary>How this was found</summary>\n\n"
    for line in (*(line for against in comparison.against for line in about(against)), *method(comparison)):
        yield f"{escape_markdown(line)}\n\n"
    yield "</details>\n"


def as_html(comparison: Comparison, *, every: bool) -> Iterator[str]:
    """A page in a single file."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sweep.compare", "."), autoescape=True, trim_blocks=True
    )
    sweeps = [
        {
            "name": one_line(against.name),
            "summary": summary(against),
            "about": about(against),
            "sections": [asdict(section) for section in sections(against, every=every, threshold=comparison.threshold)],
        }
        for against in comparison.against
    ]
    yield environment.get_template("compare.html.j2").render(
        base=one_line(comparison.base), against=sweeps, numeric=_NUMERIC, method=method(comparison)
    )
