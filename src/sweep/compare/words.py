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
from sweep.report.files import markdown
from sweep.result import Result

_TIMES = ("conversion", "of", "base ms", "new ms", "new/base", "95 % interval", "p", "eager", "note")
_NUMERIC = set(_TIMES[2:-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A table of cells of which the same is to be said; `bad` where it makes a regression."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bad: bool = False


def sections(one: Against, *, every: bool) -> list[Section]:
    """What there is to say, the gravest first; cells without a difference only where `every` is asked for."""
    before_after = ("conversion", "of", "base", "new", "message")
    found = [
        Section(
            title="Status changed",
            headings=before_after,
            rows=tuple((*_named(a), text.verdict(a), text.verdict(b), one_line(b.message)) for a, b in one.changed)
            + tuple((*_named(a), text.verdict(a), "no row", "planned, and not finished") for a in one.missing),
            bad=one.lost > 0,
        ),
        Section(title="Vanished", headings=("conversion", "of", "base"), rows=tuple(map(_with_status, one.vanished))),
        Section(title="Appeared", headings=("conversion", "of", "new"), rows=tuple(map(_with_status, one.appeared))),
        Section(
            title="Asked differently, so not compared",
            headings=("conversion", "of", "what differs"),
            rows=tuple(map(_asked, one.renamed)),
        ),
    ]
    for verdict in Change:
        if verdict is not Change.SAME or every:
            rows = tuple(map(_timed, one.of(verdict)))
            title = str(verdict).capitalize()
            found.append(Section(title=title, headings=_TIMES, rows=rows, bad=verdict is Change.SLOWER))
    return [section for section in found if section.rows]


def _named(row: Result) -> tuple[str, str]:
    """A conversion, and of what: all that tells its cell from others."""
    of = [row.model, row.device, f"batch {row.batch_size}"]
    of += [f"{row.threads} {'thread' if row.threads == 1 else 'threads'}"] if row.threads is not None else []
    of += [f"{key}={value}" for key, value in sorted(row.overrides.items())]
    return one_line(row.conversion), one_line(" · ".join(of))


def _with_status(row: Result) -> tuple[str, ...]:
    return (*_named(row), text.verdict(row))


def _asked(one: Renamed) -> tuple[str, ...]:
    more = f" and {len(one.differs) - 3} more" if len(one.differs) > 3 else ""
    said = ", ".join(one.differs[:3]) + more
    return (*_named(one.new[0]), said or "its model's config, its measure, its tolerance or another option")


def _timed(one: Timed) -> tuple[str, ...]:
    assert one.base.latency_ms is not None and one.new.latency_ms is not None, "they are ok"
    notes = [f"eager too ({one.eager_ratio:.3f}): the machine or torch changed"] if one.eager_too else []
    if one.tested is None:
        notes.append("no samples, not tested")
    elif one.tested.unit is Unit.BLOCK:
        notes.append("one process a side: how processes differ is unknown")
    if one.verdict is Change.SAME and one.tested and one.tested.significant:
        notes.append("significant, but within the threshold")
    return (
        *_named(one.new),
        f"{one.base.latency_ms.p50:.4g}",
        f"{one.new.latency_ms.p50:.4g}",
        f"{one.ratio:.3f}",
        f"{one.interval[0]:.3f} to {one.interval[1]:.3f}" if one.interval else "–",
        f"{one.tested.p:.2g}" if one.tested else "–",
        f"{one.eager_ratio:.3f}",
        "; ".join(notes),
    )


def summary(one: Against) -> str:
    """`1 changed status; 2 slower, 0 faster, 69 no difference (1 of them significant, but within the threshold)`."""
    cells = {
        "changed status": len(one.changed),
        "without a row yet": len(one.missing),
        "vanished": len(one.vanished),
        "appeared": len(one.appeared),
        "asked differently": sum(len(renamed.new) for renamed in one.renamed),
    }
    times = {str(verdict): len(one.of(verdict)) for verdict in Change}
    said = [", ".join(f"{n} {what}" for what, n in cells.items() if n)]
    said.append(", ".join(f"{n} {what}" for what, n in times.items() if n or what != Change.UNTESTED))
    if one.within:
        said[-1] += f" ({one.within} of them significant, but within the threshold)"
    if one.unproved:
        said.append(f"{one.unproved} not ok on either side")
    return "; ".join(filter(None, said))


def about(one: Against) -> list[str]:
    """What differs besides the cells."""
    return [f"versions: {one_line(', '.join(one.versions), 1000)}"] if one.versions else []


def method(comparison: Comparison) -> list[str]:
    """How it was tested, and what the verdicts mean."""
    tests = sum(comparison.tests.values())
    if not tests:
        return ["Nothing was tested: no cell is ok on both sides and has its samples there."]
    said = [
        f"Tested: p50 of {tests} {'cell' if tests == 1 else 'cells'}, on the logarithms of what each process found, by "
        f"two-sided moderated t-tests with Holm's correction over all of them at {SIGNIFICANCE:.0%}. A difference is "
        f"told that is significant and more than {comparison.threshold * 100:.3g}% of base's p50. Intervals are each "
        "cell's own, not corrected; eager is how its p50, timed in the same processes, moved."
    ]
    steadiest, usual, unsteadiest = comparison.least[0], median(comparison.least), comparison.least[-1]
    said.append(
        f"To be told, a cell had to be slower by {_said(usual)} (the median; {_said(steadiest)} where times were "
        f"steadiest, {_said(unsteadiest)} where least so): smaller changes may be there, unseen."
    )
    if blocks := comparison.tests.get(Unit.BLOCK, 0):
        said.append(
            f"{blocks} of them had one process a side, and were tested on consecutive blocks of its samples: how "
            "processes differ is unknown there, so a difference may be of these two processes alone."
        )
    return said


def _said(share: float) -> str:
    return f"{share:.0%}" if share < 10 else "ten times and more"


def show(comparison: Comparison, console: Console, *, every: bool) -> None:
    """Print it, in colour where `console` is a terminal."""
    for one in comparison.against:
        console.print(Text(f"{one_line(one.name)} against {one_line(comparison.base)}", "bold"))
        for line in about(one):
            console.print(Text(line))
        for section in sections(one, every=every):
            console.print()
            console.print(Text(f"{section.title}: {len(section.rows)}", "bold red" if section.bad else "bold"))
            if console.is_terminal:
                _show_narrow(section, console)
            else:
                console.print(_table(section.headings, section.rows))
        console.print(Text(summary(one), "bold"))
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
    """A table for each model and its like, so that a cell keeps to a line; what there is to say of it stands below."""
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
    """What fits a pull request: a line for each sweep, and all else folded away."""
    for one in comparison.against:
        names = f"{markdown(one_line(one.name))} against {markdown(one_line(comparison.base))}"
        yield f"**{markdown(summary(one))}** – {names}\n\n"
    for one in comparison.against:
        of = f" ({markdown(one_line(one.name))})" if len(comparison.against) > 1 else ""
        for section in sections(one, every=every):
            yield f"<details{' open' if section.bad else ''}>\n"
            yield f"<summary>{section.title}{of}: {len(section.rows)}</summary>\n\n"
            marks = (" ---: |" if heading in _NUMERIC else " --- |" for heading in section.headings)
            yield f"| {' | '.join(section.headings)} |\n|{''.join(marks)}\n"
            for row in section.rows:
                yield f"| {' | '.join(map(markdown, row))} |\n"
            yield "\n</details>\n\n"
    yield "<details>\n<summary>How this was found</summary>\n\n"
    for line in (*(said for one in comparison.against for said in about(one)), *method(comparison)):
        yield f"{markdown(line)}\n\n"
    yield "</details>\n"


def as_html(comparison: Comparison, *, every: bool) -> Iterator[str]:
    """A page that needs nothing besides itself."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sweep.compare", "."), autoescape=True, trim_blocks=True
    )
    against = [
        {
            "name": one_line(one.name),
            "summary": summary(one),
            "about": about(one),
            "sections": [asdict(section) for section in sections(one, every=every)],
        }
        for one in comparison.against
    ]
    yield environment.get_template("compare.html.j2").render(
        base=one_line(comparison.base), against=against, numeric=_NUMERIC, method=method(comparison)
    )
