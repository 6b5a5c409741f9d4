"""The way of a cell: plan, validate, dispatch, record, report."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import Any

from sweep import dispatch, interrupts, keeper, plan
from sweep.cell import Cell, Request
from sweep.dispatch import Dispatcher, history
from sweep.dispatch.backlog import Backlog
from sweep.dispatch.refinement import Refinement
from sweep.errors import CarrierLost, ExitCode
from sweep.plan import Plan
from sweep.plan.environments import needed
from sweep.plan.inventory import Inventory, nodes_as_json
from sweep.record import SPENT, RunFolder
from sweep.report import files, matrix, text
from sweep.report.listener import Listeners
from sweep.report.live import Live
from sweep.report.mlflow import Tracker
from sweep.report.terminal import Board
from sweep.request.settings import Settings
from sweep.result import Outcome, Result, not_run
from sweep.status import Reason


def run(requests: Sequence[Request], settings: Settings, board: Board) -> ExitCode:
    """Give a row to every cell that the requests ask for. Raises SweepError where nothing can run or be written."""
    with interrupts.once() as hear_no_more, _folder_and_dispatcher(requests, settings, board) as (folder, dispatcher):
        listeners = _listeners(settings, folder, board)
        nodes = dispatcher.nodes(board.waits)
        planned = plan.make(requests, nodes, settings.grid, settings.register, may_come=settings.nodes_may_come)
        if settings.dry_run:
            board.show_plan(planned)
            return ExitCode.COMPLETE
        if settings.on_invalid == "abort":
            planned.refuse_invalid()

        kept = _start_or_resume(planned, nodes, settings, folder)
        remaining = planned.without(kept)
        listeners.tell(lambda one: one.planned(remaining, kept, folder.about()))
        backlog = Backlog(remaining.ready, settings.dispatch.retries, history.seconds())
        refinement = Refinement(planned.cells, backlog, kept, folder)
        outcomes = dispatcher.run(backlog, listeners.started, listeners.waits)
        interrupted = False
        try:
            _run_cells(remaining.refused, refinement, outcomes, folder, listeners)
        except (KeyboardInterrupt, CarrierLost) as error:
            interrupted = True
            listeners.fail(str(error))
            with suppress(KeyboardInterrupt):  # a second one: without waiting for what runs
                outcomes.close()
            hear_no_more()
            _end_interrupted(remaining.cells, refinement, folder, listeners)
        hear_no_more()  # every cell has its row, and what is left takes seconds

        if (nodes_now := dispatcher.nodes()) is not nodes:
            folder.add_about(nodes_as_json(nodes_now))
        about = folder.about()
        listeners.tell(lambda one: one.done(about))
        rows = _write_files(planned, folder, settings)
        board.show_matrix(rows, folder.path, [*listeners.problems, *dispatcher.problems])
        if interrupted:
            board.show_how_to_resume(folder.path)
            return ExitCode.INTERRUPTED
        return ExitCode.FAILED_ON if any(row.status in settings.fail_on for row in rows) else ExitCode.COMPLETE


@contextmanager
def _folder_and_dispatcher(
    requests: Sequence[Request], settings: Settings, board: Board
) -> Iterator[tuple[RunFolder, Dispatcher]]:
    """The run folder and the dispatcher; at the end both are released, and a folder without a sweep is removed."""
    folder = RunFolder(settings.run_dir, board.invocation.resume)
    environments = needed(settings.grid.environments, requests)
    try:
        wants_gpus = any(request.device.gpus > 0 for request in requests)
        with closing(dispatch.create(settings.dispatch, environments, wants_gpus=wants_gpus)) as dispatcher:
            yield folder, dispatcher
    finally:
        folder.discard_unused()
        folder.release()


def _listeners(settings: Settings, folder: RunFolder, board: Board) -> Listeners:
    """The listeners of a sweep, in the order in which they are called."""
    if settings.dry_run:
        return Listeners([])
    tracker = [Tracker(settings.record.mlflow)] if settings.record.mlflow else []
    return Listeners([board, *tracker, Live(str(folder.path), folder.write)])


def _start_or_resume(planned: Plan, nodes: Sequence[Inventory], settings: Settings, folder: RunFolder) -> list[Result]:
    """Write the request and the plan to the run folder; returns the rows that a resumed sweep keeps."""
    began = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}"
    about: dict[str, Any] = {"command": settings.command, "began": began, **nodes_as_json(nodes)}
    kept: list[Result] = []
    if settings.resume:
        kept = folder.resume(planned.cells, about, settings.retry, anyway=settings.resume_anyway)
    else:
        folder.start(planned.cells, about)
    keeper.has_folder(folder.path)
    return kept


def _run_cells(
    refused: Sequence[Result],
    refinement: Refinement,
    outcomes: Iterator[Outcome],
    folder: RunFolder,
    listeners: Listeners,
) -> None:
    """Record a row for each cell, of refused ones first, as outcomes come; and then for those that come again."""
    backlog = refinement.backlog

    def record(outcome: Outcome) -> None:
        row = folder.append(refinement.with_attempts(outcome))
        again = refinement.recorded(row)
        listeners.tell(lambda one: (one.refined if again else one.ended)(row))

    def go_on() -> None:
        if not backlog.is_idle:
            return
        _write_rows(refinement, folder, listeners)
        if begun := refinement.begin_round():
            files.write(refinement.rows, folder)
            listeners.tell(lambda one: one.round(begun.number, begun.cells, begun.confirms))

    with listeners:
        if why := keeper.ends_only():
            raise CarrierLost(f"{why}: what had not ended has rows that say so")
        for row in (written := folder.append_all(refused)):
            refinement.recorded(row)
        listeners.tell(lambda one: one.refused(written))
        go_on()
        for outcome in outcomes:
            for ended in backlog.ended(outcome):
                record(ended)
            go_on()


def _write_files(planned: Plan, folder: RunFolder, settings: Settings) -> list[Result]:
    """Write what is made of all rows, and return these; each took so long, which the next sweep goes by."""
    rows = matrix.tabulate(planned.cells, folder.load())
    if said := text.of_models(rows):
        folder.add_about({"found": said})
    history.remember(rows)
    files.write(rows, folder, junit_too=settings.report.junit)
    return rows


def _end_interrupted(cells: Sequence[Cell], refinement: Refinement, folder: RunFolder, listeners: Listeners) -> None:
    """Give a row to every cell that has none."""
    rows = _record_interrupted(cells, refinement, folder)
    listeners.tell(lambda one: one.interrupted(rows))
    _write_rows(refinement, folder, listeners)


def _write_rows(refinement: Refinement, folder: RunFolder, listeners: Listeners) -> None:
    """Write one row for each cell that has one, with figures that take account of all of them."""
    changed = refinement.estimate()
    folder.rewrite(refinement.rows)
    folder.add_about({SPENT: refinement.spent})
    for row in changed:
        listeners.tell(lambda one, row=row: one.refined(row))  # type: ignore[misc]


def _record_interrupted(cells: Sequence[Cell], refinement: Refinement, folder: RunFolder) -> list[Result]:
    """Write a row for every cell that has none, with the reason `interrupted`; returns these rows."""
    there = folder.load()
    for row in there:  # of the last it may not be known yet: the signal may have come just when it was written
        refinement.recorded(row)
    written = {row.id for row in there}
    message = "the sweep was interrupted before it was done; resume it"
    recorded = folder.append_all(
        [not_run(cell, Reason.INTERRUPTED, message) for cell in cells if cell.id not in written]
    )
    for row in recorded:
        refinement.recorded(row)
    return recorded
