"""A comparison of sweeps in words: on a terminal, as Markdown for a pull request, as a page."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import jinja2
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweep.compare.comparison import Against, Change, Comparison, Timed
from sweep.compare.matching import Renamed
from sweep.compare.significance import SIGNIFICANCE, Unit
from sweep.reading import one_line
from sweep.report import text
from sweep.report.console import table
from sweep.report.files import escape_markdown
from sweep.result import Result

_TIMES = ("conversion", "of", "base ms", "new ms", "new/base", "95 % interval", "p", "eager", "note")
_NUMERIC = set(_TIMES[2:-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A table of cells that changed in the same way; `bad` where that is a regression."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bad: bool = False


def sections(against: Against, *, every: bool) -> list[Section]:
    """The sections for a sweep, the worst first; cells without a difference are in them only if `every`."""
    before_after = ("conversion", "of", "base", "new", "message")
    tables = [
        Section(
            title="Status changed",
            headings=before_after,
            rows=tuple(_changed_row(base, new) for base, new in against.changed)
            + tuple(map(_missing_row, against.missing)),
            bad=against.no_longer_ok > 0,
        ),
        Section(
            title="Vanished", headings=("conversion", "of", "base"), rows=tuple(map(_status_row, against.vanished))
        ),
        Section(title="Appeared", headings=("conversion", "of", "new"), rows=tuple(map(_status_row, against.appeared))),
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
    return [section for section in tables if section.rows]


def _names(row: Result) -> tuple[str, str]:
    """The conversion, and all else that tells its cell from others: model, device, batch size, options."""
    of = [row.model, row.device, f"batch {row.batch_size}"]
    of += [f"{row.threads} {'thread' if row.threads == 1 else 'threads'}"] if row.threads is not None else []
    of += [f"{key}={value}" for key, value in sorted(row.overrides.items())]
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
    return (*_names(renamed.new[0]), differences or "its model's config, its measure, its tolerance or another option")


def _times_row(timed: Timed) -> tuple[str, ...]:
    assert timed.base.latency_ms is not None and timed.new.latency_ms is not None, "they are ok"
    notes = [f"eager too ({timed.eager_ratio:.3f}): the machine or torch changed"] if timed.eager_too else []
    if timed.tested is None:
        notes.append("no samples, not tested")
    elif timed.tested.unit is Unit.BLOCK:
        notes.append("one process a side: how processes differ is unknown")
    if timed.verdict is Change.SAME and timed.tested and timed.tested.significant:
        notes.append("significant, but within the threshold")
    return (
        *_names(timed.new),
        f"{timed.base.latency_ms.p50:.4g}",
        f"{timed.new.latency_ms.p50:.4g}",
        f"{timed.ratio:.3f}",
        f"{timed.interval[0]:.3f} to {timed.interval[1]:.3f}" if timed.interval else "–",
        f"{timed.tested.p:.2g}" if timed.tested else "–",
        f"{timed.eager_ratio:.3f}",
        "; ".join(notes),
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


def about(against: Against) -> list[str]:
    """How the sweeps differ besides their cells."""
    return [f"versions: {one_line(', '.join(against.versions), 1000)}"] if against.versions else []


def method(comparison: Comparison) -> list[str]:
    """How times were tested, and what the verdicts mean."""
    tests = sum(comparison.tests.values())
    if not tests:
        return ["Nothing was tested: no cell is ok on both sides and has its samples there."]
    lines = [
        f"Tested: p50 of {tests} {'cell' if tests == 1 else 'cells'}, on the logarithms of what each process found, by "
        f"two-sided moderated t-tests with Holm's correction over all of them at {SIGNIFICANCE:.0%}. A difference is "
        f"told that is significant and more than {comparison.threshold * 100:.3g}% of base's p50. Intervals are each "
        "cell's own, not corrected; eager is how its p50, timed in the same processes, moved."
    ]
    changes = comparison.least_changes
    steadiest, usual, unsteadiest = changes[0], median(changes), changes[-1]
    lines.append(
        f"To be told, a cell had to be slower by {_percent(usual)} (the median; {_percent(steadiest)} where times were "
        f"steadiest, {_percent(unsteadiest)} where least so): smaller changes may be there, unseen."
    )
    if blocks := comparison.tests.get(Unit.BLOCK, 0):
        lines.append(
            f"{blocks} of them had one process a side, and were tested on consecutive blocks of its samples: how "
            "processes differ is unknown there, so a difference may be of these two processes alone."
        )
    return lines


def _percent(share: float) -> str:
    return f"{share:.0%}" if share < 10 else "ten times and more"


def show(comparison: Comparison, console: Console, *, every: bool) -> None:
    """Print a comparison, in colour where `console` is a terminal."""
    for against in comparison.against:
        console.print(Text(f"{one_line(against.name)} against {one_line(comparison.base)}", "bold"))
        for line in about(against):
            console.print(Text(line))
        for section in sections(against, every=every):
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
        for section in sections(against, every=every):
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
            "sections": [asdict(section) for section in sections(against, every=every)],
        }
        for against in comparison.against
    ]
    yield environment.get_template("compare.html.j2").render(
        base=one_line(comparison.base), against=sweeps, numeric=_NUMERIC, method=method(comparison)
    )
