"""The way of a cell: plan, validate, dispatch, record, report."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from typing import Any

from sweep import dispatch, plan
from sweep.cell import Cell, Request
from sweep.dispatch import Dispatcher, history
from sweep.dispatch.backlog import Backlog
from sweep.dispatch.refinement import Refinement
from sweep.errors import ExitCode
from sweep.plan import Plan
from sweep.plan.inventory import Inventory, nodes_as_json
from sweep.record import SPENT, RunFolder
from sweep.report import files, matrix, text
from sweep.report.listener import Listener
from sweep.report.live import Live
from sweep.report.mlflow import Tracker
from sweep.report.terminal import Board
from sweep.request.settings import Settings
from sweep.result import Outcome, Result, not_run
from sweep.status import Reason


def run(requests: Sequence[Request], settings: Settings, board: Board) -> ExitCode:
    """Give a row to every cell that the requests ask for. Raises SweepError where nothing can run or be written."""
    with _run_folder_and_dispatcher(settings, board) as (folder, dispatcher):
        listeners = _listeners(settings, folder, board)
        nodes = dispatcher.nodes()
        planned = plan.make(requests, nodes, settings.grid, settings.register)
        if settings.dry_run:
            board.show_plan(planned)
            return ExitCode.COMPLETE
        if settings.on_invalid == "abort":
            planned.refuse_invalid()

        kept = _start_or_resume(planned, nodes, settings, folder)
        remaining = planned.without(kept)
        about = folder.about()
        _tell(listeners, lambda one: one.planned(remaining, kept, about))
        backlog = Backlog(remaining.ready, settings.dispatch.retries, history.seconds())
        refinement = Refinement(planned.cells, backlog, kept, folder)
        interrupted = _run_cells(remaining, refinement, dispatcher, folder, listeners)

        if (nodes_now := dispatcher.nodes()) is not nodes:
            folder.add_about(nodes_as_json(nodes_now))
        about = folder.about()
        _tell(listeners, lambda one: one.done(about))
        rows = matrix.tabulate(planned.cells, folder.load())
        if said := text.of_models(rows):
            folder.add_about({"found": said})
        history.remember(rows)
        files.write(rows, folder, junit_too=settings.report.junit)
        board.show_matrix(rows, folder.path, [problem for listener in listeners for problem in listener.problems])
        if interrupted:
            board.show_how_to_resume(folder.path)
            return ExitCode.INTERRUPTED
        return ExitCode.FAILED_ON if any(row.status in settings.fail_on for row in rows) else ExitCode.COMPLETE


@contextmanager
def _run_folder_and_dispatcher(settings: Settings, board: Board) -> Iterator[tuple[RunFolder, Dispatcher]]:
    """The run folder and the dispatcher; at the end both are released, and a folder without a sweep is removed."""
    folder = RunFolder(settings.run_dir, board.invocation.resume)
    try:
        with closing(dispatch.create(settings.dispatch)) as dispatcher:
            yield folder, dispatcher
    finally:
        folder.discard_unused()
        folder.release()


def _listeners(settings: Settings, folder: RunFolder, board: Board) -> list[Listener]:
    """The listeners of a sweep, in the order in which they are called."""
    if settings.dry_run:
        return []
    tracker = [Tracker(settings.record.mlflow)] if settings.record.mlflow else []
    return [board, *tracker, Live(str(folder.path), folder.write)]


def _start_or_resume(planned: Plan, nodes: Sequence[Inventory], settings: Settings, folder: RunFolder) -> list[Result]:
    """Write the request and the plan to the run folder; returns the rows that a resumed sweep keeps."""
    began = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}"
    about: dict[str, Any] = {"command": settings.command, "began": began, **nodes_as_json(nodes)}
    if settings.resume:
        return folder.resume(planned.cells, about, settings.retry, anyway=settings.resume_anyway)
    folder.start(planned.cells, about)
    return []


def _run_cells(
    remaining: Plan,
    refinement: Refinement,
    dispatcher: Dispatcher,
    folder: RunFolder,
    listeners: Sequence[Listener],
) -> bool:
    """Run the cells and record a row for each, those of refused cells first, and then those that come again.

    Returns whether it was interrupted.
    """
    backlog = refinement.backlog

    def record(outcome: Outcome) -> None:
        row = folder.append(refinement.with_attempts(outcome))
        again = refinement.recorded(row)
        _tell(listeners, lambda one: (one.refined if again else one.ended)(row))

    def go_on() -> None:
        if not backlog.is_idle:
            return
        _write_rows(refinement, folder, listeners)
        if begun := refinement.begin_round():
            files.write(refinement.rows, folder)
            _tell(listeners, lambda one: one.round(begun.number, begun.cells, begun.confirms))

    outcomes = dispatcher.run(backlog, lambda cell: _tell(listeners, lambda one: one.started(cell)))
    try:
        with ExitStack() as stack:
            for listener in listeners:
                stack.enter_context(listener)
            for row in remaining.refused:
                record(Outcome(result=row))
            go_on()
            for outcome in outcomes:
                for ended in backlog.ended(outcome):
                    record(ended)
                go_on()
    except KeyboardInterrupt:
        outcomes.close()
        rows = _record_interrupted(remaining.cells, refinement, folder)
        _tell(listeners, lambda one: one.interrupted(rows))
        _write_rows(refinement, folder, listeners)
        return True
    return False


def _tell(listeners: Sequence[Listener], event: Callable[[Listener], None]) -> None:
    for listener in listeners:
        event(listener)


def _write_rows(refinement: Refinement, folder: RunFolder, listeners: Sequence[Listener]) -> None:
    """Write one row for each cell that has one, with figures that take account of all of them."""
    changed = refinement.estimate()
    folder.rewrite(refinement.rows)
    folder.add_about({SPENT: refinement.spent})
    for row in changed:
        _tell(listeners, lambda one, row=row: one.refined(row))  # type: ignore[misc]


def _record_interrupted(cells: Sequence[Cell], refinement: Refinement, folder: RunFolder) -> list[Result]:
    """Write a row for every cell that has none, with the reason `interrupted`; returns these rows."""
    there = folder.load()
    for row in there:  # of the last it may not be known yet: the signal may have come just when it was written
        refinement.recorded(row)
    written = {row.id for row in there}
    message = "the sweep was interrupted before it was done; resume it"
    rows = [not_run(cell, Reason.INTERRUPTED, message) for cell in cells if cell.id not in written]
    recorded = [folder.append(Outcome(result=row)) for row in rows]
    for row in recorded:
        refinement.recorded(row)
    return recorded
