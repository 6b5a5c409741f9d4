"""What a terminal shows while a sweep runs and when it is done; plain lines where the output is no terminal."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweep.cell import Cell
from sweep.plan import Plan
from sweep.reading import one_line
from sweep.report import best, matrix, text
from sweep.report.console import for_a_person, table
from sweep.report.listener import Listener
from sweep.request.invocation import Invocation
from sweep.result import Result
from sweep.status import Status

_STYLES = {
    Status.OK: "green",
    Status.MISMATCH: "magenta",
    Status.UNPROVED: "yellow",
    Status.INVALID: "yellow",
    Status.SKIPPED: "dim",
    Status.CRASHED: "bold red",
}


MOST_REFUSED = 100
"""So many cells that cannot run have a line of their own."""


class Board(Listener):
    """The listener that shows the progress of a sweep on a terminal, or in plain lines."""

    name = "the display"

    def __init__(self, console: Console | None = None, invocation: Invocation | None = None) -> None:
        """`invocation` is how sweep was started, for the commands that are shown."""
        self.invocation = invocation or Invocation()
        self._console = for_a_person(console or Console(highlight=False))
        self._total = self._to_run = self._ended = self._ran = 0
        self._in_round = self._refined = 0
        self._running: dict[str, tuple[Cell, float]] = {}
        self._said: dict[str, tuple[Status, int]] = {}
        self._began = time.monotonic()
        self._live: Live | None = None

    def planned(self, plan: Plan, kept: Sequence[Result], about: Mapping[str, Any]) -> None:
        """Count the cells, and show the doubts about the plan."""
        self._total, self._ended, self._to_run = len(plan.cells), len(kept), len(plan.ready)
        self._said = {row.id: _state(row) for row in kept}
        for doubt in plan.doubts:
            self._say(Text(doubt, "yellow"))

    def show_plan(self, plan: Plan) -> None:
        """Show every cell with the status that it would get, and the doubts about the plan."""
        refused = {row.id: row for row in plan.refused}
        lines = table("cell", "conversion", "model", "device", "batch", "threads", "would be", "note")
        for cell in plan.cells:
            row = refused.get(cell.id)
            verdict = Text(text.verdict(row), _STYLES[row.status]) if row else Text("run", "green")
            threads = "all" if cell.threads is None else str(cell.threads)
            names = (cell.id, cell.conversion, cell.model.name, cell.device.name, str(cell.batch_size), threads)
            line = [one_line(name) for name in names]
            lines.add_row(*map(Text, line), verdict, Text(row.message if row else ""))
        self._console.print(lines)
        counts = f"{len(plan.ready)} would run, {len(plan.refused)} would not."
        self._console.print(f"{len(plan.cells)} cells planned: {counts}")
        for doubt in plan.doubts:
            self._say(Text(doubt, "yellow"))

    def __enter__(self) -> "Board":
        self._began = time.monotonic()
        done = f", {self._ended} done before" if self._ended else ""
        self._say(f"{self._total} cells planned{done}, {self._to_run} to run")
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._progress, console=self._console, refresh_per_second=4, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def started(self, cell: Cell) -> None:
        self._running[cell.id] = (cell, time.monotonic())

    def refused(self, rows: Sequence[Result]) -> None:
        """A line for each of the first cells that cannot run, and one for all others."""
        for row in rows[:MOST_REFUSED]:
            self.ended(row)
        if others := rows[MOST_REFUSED:]:
            self._ended += len(others)
            counts = Counter(map(text.verdict, others)).items()
            counted = ", ".join(f"{number:,} {verdict}" for verdict, number in counts)
            self._say(f"{self._ended}/{self._total} and {len(others):,} more cells that cannot run: {counted}")

    def waits(self, text: str) -> None:
        self._say(Text(one_line(text), "yellow"))

    def ended(self, row: Result) -> None:
        """One line for a cell that has its row."""
        self._ended += 1
        self._said[row.id] = _state(row)
        if self._running.pop(row.id, None):
            self._ran += 1
        line = Text(f"{self._ended:>{len(str(self._total))}}/{self._total} ")
        line.append(f"{text.status(row):<16} ", _STYLES[row.status])
        line.append(one_line(f"{row.model} {row.conversion} {row.device}"))
        if row.speedup:
            line.append(f"  {text.speedup(row)}", "bold" if row.status is Status.OK else "dim")
        if note := text.note(row):
            line.append(f"  {note}", "dim")
        self._say(line)

    def round(self, number: int, cells: int, confirms: bool) -> None:
        """One line for a round of further trials; the bar is of these from now on."""
        if said := text.begun_round(number, cells, confirms=confirms):
            self._in_round, self._refined = cells, 0
            self._say(Text(said, "bold"))

    def refined(self, row: Result) -> None:
        """One short line for a cell that had more trials; nothing where only the trials of others told more of it."""
        self._refined += bool(self._running.pop(row.id, None))
        if self._said.get(row.id) == _state(row):
            return
        self._said[row.id] = _state(row)
        line = Text("   again  ", "dim")
        line.append(text.status(row), _STYLES[row.status])
        line.append("  " + one_line(f"{row.model} {row.conversion} {row.device}"))
        if row.speedup:
            line.append(f"  {text.speedup(row)}", "bold" if row.status is Status.OK else "dim")
        if counted := text.trials_in_words(row):
            line.append(f", {counted}")
        self._say(line)

    def _say(self, line: Text | str) -> None:
        self._console.print(line, soft_wrap=not self._console.is_terminal, overflow="ellipsis")

    def _progress(self) -> RenderableType:
        """The part that is drawn again and again: a bar, an estimate of the time left, and the cells that run."""
        now = time.monotonic()
        bar = Table.grid(padding=(0, 1))
        done, of = (self._refined, self._in_round) if self._in_round else (self._ended, self._total)
        left = " in this round" if self._in_round else self._time_left(now)
        counts = f"{done}/{of} done, {len(self._running)} running{left}"
        bar.add_row(ProgressBar(total=max(of, 1), completed=done, width=30), counts)
        lines = [
            Text(f"  {cell.model.name} {cell.conversion} {cell.device.name}  {text.duration(now - since)}", "cyan")
            for cell, since in self._running.values()
        ]
        return Group(bar, *lines)

    def _time_left(self, now: float) -> str:
        if not self._ran:
            return ""
        seconds = (self._to_run - self._ran) * (now - self._began) / self._ran
        return f", about {text.duration(seconds)} left"

    def show_matrix(self, rows: Sequence[Result], folder: Path, problems: Sequence[str] = ()) -> None:
        """Show the matrix, a table for each group below what it comes to, with remarks on it; then the problems of
        listeners, and the files.

        On a terminal each cell fits into one line, without columns for which there is no room, and its message stands
        below the table. Of very many rows only some are shown: see `matrix.tables`.
        """
        notes_in_table = not self._console.is_terminal
        tables, not_shown = matrix.tables(rows)
        left_out: set[str] = set()
        for one in tables:
            self._console.print()
            self._console.print(Text(one.title, "bold"))
            self._console.print(Text(best.headline(one.group)))
            cells = [text.columns(row) for row in one.shown]
            fitting = _fitting(cells, None if notes_in_table else self._console.width)
            lines = table(*(text.HEADINGS[place] for place in fitting))
            left_out |= {name for place, name in enumerate(text.HEADINGS[:-1]) if place not in fitting}
            for row, said in zip(one.shown, cells, strict=True):
                name, status, *others = (said[place] for place in fitting)
                lines.add_row(Text(name), Text(status, _STYLES[row.status]), *map(Text, others))
            self._console.print(lines)
            if not notes_in_table:
                self._show_notes(one.shown)
        if not_shown:
            self._console.print(not_shown)
        if left_out:
            names = ", ".join(name for name in text.HEADINGS if name in left_out)
            self._console.print(Text(f"For want of room without: {names}; matrix.md has all columns.", "dim"))
        self._console.print(Text(text.summary(rows), "bold"))
        for line in filter(None, (text.provisional(rows), *text.remarks(rows))):
            self._console.print(Text(line))
        for problem in problems:
            self._console.print(Text(problem, "yellow"))
        self._console.print(Text(f"Page: {folder}/report.html"))
        names = "matrix.md, matrix.csv, matrix.json, results.parquet, cells/<id>/cell.log"
        self._console.print(Text(f"Files: {folder}/ ({names})"))

        failed = [row for row in rows if row.log and row.status is not Status.OK]
        for row in failed[: matrix.MOST_ROWS // 100 if not_shown else None]:
            again = Text(f"Again: {self.invocation.rerun(str(folder), row.id)}", "dim")
            self._console.print(again, soft_wrap=True)

    def show_how_to_resume(self, folder: Path) -> None:
        self._console.print(Text(f"Go on with: {self.invocation.resume(str(folder))}"), soft_wrap=True)

    def _show_notes(self, group: Sequence[Result]) -> None:
        """Show each message once, with the conversions that have it."""
        by_message: dict[str, list[Result]] = {}
        for row in group:
            if note := text.note(row):
                by_message.setdefault(note, []).append(row)
        for message, rows in by_message.items():
            line = Text(" ")
            line.append(", ".join(one_line(row.conversion) for row in rows), _STYLES[rows[0].status])
            line.append(f": {message}")
            self._console.print(line)
        self._console.print()


def _state(row: Result) -> tuple[Status, int]:
    """What changes when a cell has more trials."""
    return row.status, len(row.speedup.quotients) if row.speedup else 0


_MAY_GO = ("note", "pays off", "convert s", "rel. error", "trials")
"""The columns that a terminal does without: `note` always, for it stands below, and the others for want of room."""


def _fitting(lines: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """The places in text.HEADINGS of the columns that a table of a width has room for; all of them without a width.

    The name of a conversion may be cut to 24 characters and a status to 16, but no figure.
    """
    places = list(range(len(text.HEADINGS)))
    if width is None:
        return places
    widths = [max(map(len, column)) for column in zip(text.HEADINGS, *lines, strict=True)]
    widths[:2] = min(widths[0], 24), min(widths[1], 16)
    for name in _MAY_GO:
        if name == "note" or sum(widths[place] + 3 for place in places) > width:
            places.remove(text.HEADINGS.index(name))
    return places
