"""The way of a cell: plan, validate, dispatch, record, report."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from typing import Any

from sweep import dispatch, plan
from sweep.cell import Cell, Request
from sweep.dispatch import Dispatcher, history
from sweep.dispatch.backlog import Backlog
from sweep.errors import ExitCode
from sweep.plan import Plan
from sweep.plan.inventory import Inventory, described
from sweep.record import RunFolder
from sweep.report import files, matrix
from sweep.report.listener import Listener
from sweep.report.live import Live
from sweep.report.mlflow import Tracker
from sweep.report.terminal import Board
from sweep.request.settings import Settings
from sweep.result import Outcome, Reason, Result, not_run


def run(requests: Sequence[Request], settings: Settings, board: Board) -> ExitCode:
    """Answer every cell that the requests ask for. Raises SweepError if nothing could be run, or not all be written."""
    with _opened(settings, board) as (folder, dispatcher):
        listeners = _listeners(settings, folder, board)
        nodes = dispatcher.nodes()
        planned = plan.make(requests, nodes, settings.grid, settings.register)
        if settings.dry_run:
            board.show_plan(planned)
            return ExitCode.COMPLETE
        if settings.on_invalid == "abort":
            planned.refuse_invalid()

        kept = _started(planned, nodes, settings, folder)
        left = planned.without(kept)
        for listener in listeners:
            listener.planned(left, kept, folder.about())
        backlog = Backlog(left.ready, settings.dispatch.retries, history.seconds())
        interrupted = _carry_out(left, backlog, dispatcher, folder, listeners)

        if (joined := dispatcher.nodes()) is not nodes:
            folder.note(described(joined))
        for listener in listeners:
            listener.done(folder.about())
        rows = matrix.tabulate(planned.cells, folder.load())
        history.remember(rows)
        files.write(rows, folder, junit_too=settings.report.junit)
        board.show_matrix(rows, folder.path, [problem for listener in listeners for problem in listener.problems])
        if interrupted:
            board.show_how_to_resume(folder.path)
            return ExitCode.INTERRUPTED
        return ExitCode.FAILED_ON if any(row.status in settings.fail_on for row in rows) else ExitCode.COMPLETE


@contextmanager
def _opened(settings: Settings, board: Board) -> Iterator[tuple[RunFolder, Dispatcher]]:
    """The run folder and who carries cells; both are let go of in the end, a folder that nothing came of for good."""
    folder = RunFolder(settings.run_dir, board.invocation.resume)
    try:
        with closing(dispatch.create(settings.dispatch)) as dispatcher:
            yield folder, dispatcher
    finally:
        folder.discard_unused()
        folder.release()


def _listeners(settings: Settings, folder: RunFolder, board: Board) -> list[Listener]:
    """In the order in which they hear of a row."""
    if settings.dry_run:
        return []
    tracker = [Tracker(settings.record.mlflow)] if settings.record.mlflow else []
    return [board, *tracker, Live(str(folder.path), folder.write)]


def _started(planned: Plan, nodes: Sequence[Inventory], settings: Settings, folder: RunFolder) -> list[Result]:
    """Write down what was asked; returns the rows that are there already, of a sweep that is gone on with."""
    began = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}"
    about: dict[str, Any] = {"command": settings.command, "began": began, **described(nodes)}
    if settings.resume:
        return folder.resume(planned.cells, about, settings.retry, anyway=settings.resume_anyway)
    folder.start(planned.cells, about)
    return []


def _carry_out(
    left: Plan, backlog: Backlog, dispatcher: Dispatcher, folder: RunFolder, listeners: Sequence[Listener]
) -> bool:
    """Record what was refused, then what becomes of each cell; returns whether the sweep was interrupted."""

    def started(cell: Cell) -> None:
        for listener in listeners:
            listener.started(cell)

    def record(outcome: Outcome) -> None:
        row = folder.append(outcome)
        for listener in listeners:
            listener.ended(row)

    outcomes = dispatcher.run(backlog, started)
    try:
        with ExitStack() as stack:
            for listener in listeners:
                stack.enter_context(listener)
            for row in left.refused:
                record(Outcome(result=row))
            for outcome in outcomes:
                for ended in backlog.ended(outcome):
                    record(ended)
    except KeyboardInterrupt:
        outcomes.close()
        rows = _record_interrupted(left.cells, folder)
        for listener in listeners:
            listener.interrupted(rows)
        return True
    return False


def _record_interrupted(cells: Sequence[Cell], folder: RunFolder) -> list[Result]:
    """Give every cell that has no row one that says so; returns those."""
    written = {row.id for row in folder.load()}
    why = "the sweep was interrupted before it was done; resume it"
    rows = [not_run(cell, Reason.INTERRUPTED, why) for cell in cells if cell.id not in written]
    return [folder.append(Outcome(result=row)) for row in rows]
