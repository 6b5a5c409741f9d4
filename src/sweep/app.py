"""The way of a cell: plan, validate, dispatch, record, report."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import datetime

from sweep import dispatch
from sweep.cell import Cell, Mode, Request
from sweep.dispatch import Dispatcher, history
from sweep.dispatch.backlog import Backlog
from sweep.errors import BadRequest, ExitCode
from sweep.plan import registry, rules, validate
from sweep.plan.cells import conversions, expand
from sweep.plan.inventory import Inventory, all_modes, described
from sweep.record import RunFolder
from sweep.report import files, matrix
from sweep.report.live import Live
from sweep.report.mlflow import Tracker
from sweep.report.page import Page
from sweep.report.terminal import Board
from sweep.request.settings import Settings
from sweep.result import Outcome, Reason, Result, Status, not_run


def run(requests: Sequence[Request], settings: Settings, board: Board) -> ExitCode:
    """Answer every cell that the requests ask for. Raises SweepError if nothing could be run, or not all be written."""
    folder = RunFolder(settings.run_dir)
    try:
        with closing(dispatch.create(settings.dispatch)) as dispatcher:
            return _run(requests, settings, board, folder, dispatcher)
    finally:
        folder.discard_unused()
        folder.release()


def _run(
    requests: Sequence[Request], settings: Settings, board: Board, folder: RunFolder, dispatcher: Dispatcher
) -> ExitCode:
    tracker = Tracker(settings.record.mlflow) if settings.record.mlflow and not settings.dry_run else None
    nodes = dispatcher.nodes()
    modes = _modes(nodes, settings)
    rules.refuse_unknown(settings.grid, requests, modes)
    cells = expand(requests, modes, settings.grid)
    if not cells:
        raise BadRequest("nothing to run: the conversions asked for select no mode")
    ready, refused = validate.split(cells, nodes, modes)
    doubts = rules.unmet(settings.grid, ((asked, conversions(asked, modes)) for asked in requests), modes)
    if settings.dry_run:
        board.show_plan(cells, refused, doubts)
        return ExitCode.COMPLETE
    if settings.on_invalid == "abort":
        _refuse_invalid(refused)
    began = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}"
    about = {"command": settings.command, "began": began, **described(nodes)}
    kept: list[Result] = []
    if settings.resume:
        kept = folder.resume(cells, about, settings.retry, anyway=settings.resume_anyway)
    else:
        folder.start(cells, about)
    done = {row.id for row in kept}
    live = Live(Page(folder.about(), str(folder.path)), folder.write)
    for row in kept:
        live.add(row)

    took = history.seconds()
    backlog = Backlog([cell for cell in ready if cell.id not in done], settings.dispatch.retries, took)
    board.planned(len(cells), len(done), len(backlog), doubts)
    outcomes = dispatcher.run(backlog, board.started)
    told = [board.ended, *([tracker.log] if tracker else []), live.ended]
    interrupted = False
    try:
        with board:
            _carry_out([row for row in refused if row.id not in done], backlog, outcomes, folder, told)
    except KeyboardInterrupt:
        interrupted = True
        outcomes.close()
        left = _record_interrupted(cells, folder)
        for row in left:
            live.add(row)
        if tracker:
            tracker.leave_out(len(left))

    if (joined := dispatcher.nodes()) is not nodes:
        folder.note(described(joined))
    live.done(folder.about())
    rows = matrix.tabulate(cells, folder.load())
    history.remember(rows, took)
    files.write(rows, folder, junit_too=settings.report.junit)
    board.show_matrix(rows, folder.path, tracker.problems if tracker else ())
    if interrupted:
        board.show_how_to_resume(folder.path)
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED_ON if any(row.status in settings.fail_on for row in rows) else ExitCode.COMPLETE


def _modes(nodes: Sequence[Inventory], settings: Settings) -> dict[str, Mode]:
    """What nodes have and the configuration registers. Raises BadRequest where that takes the name of another."""
    known = all_modes(nodes)
    try:
        return known | registry.own(settings.register, known, "configuration")
    except ValueError as error:
        raise BadRequest(*(f"register: {problem}" for problem in str(error).split("; "))) from error


def _carry_out(
    refused: Sequence[Result],
    backlog: Backlog,
    outcomes: Iterable[Outcome],
    folder: RunFolder,
    told: Sequence[Callable[[Result], None]],
) -> None:
    """Record what was refused, then what becomes of each cell; all in `told` hear of every row that is written."""

    def record(outcome: Outcome) -> None:
        row = folder.append(outcome)
        for listener in told:
            listener(row)

    for row in refused:
        record(Outcome(result=row))
    for outcome in outcomes:
        for ended in backlog.ended(outcome):
            record(ended)


def _refuse_invalid(refused: Sequence[Result]) -> None:
    invalid = [row for row in refused if row.status is Status.INVALID]
    if invalid:
        raise BadRequest(*dict.fromkeys(row.message for row in invalid))


def _record_interrupted(cells: Sequence[Cell], folder: RunFolder) -> list[Result]:
    """Give every cell that has no row one that says so; returns those."""
    written = {row.id for row in folder.load()}
    why = "the sweep was interrupted before it was done; resume it"
    rows = [not_run(cell, Reason.INTERRUPTED, why) for cell in cells if cell.id not in written]
    return [folder.append(Outcome(result=row)) for row in rows]
