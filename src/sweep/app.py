"""The way of a cell: plan, validate, dispatch, record, report."""

from collections.abc import Iterable, Sequence

from sweep import dispatch, history, plan, registry, rules, validate
from sweep.backlog import Backlog
from sweep.cell import Cell, Mode, Outcome, Reason, Request, Result, Status
from sweep.errors import BadRequest, ExitCode
from sweep.record import RunFolder
from sweep.report import files, matrix
from sweep.report.terminal import Board
from sweep.settings import Settings
from sweep.validate import Inventory


def run(requests: Sequence[Request], settings: Settings, board: Board) -> ExitCode:
    """Answer every cell that the requests ask for. Raises SweepError if nothing could be run, or not all be written."""
    folder = RunFolder(settings.run_dir)
    try:
        return _run(requests, settings, board, folder)
    finally:
        folder.discard_unused()
        folder.release()


def _run(requests: Sequence[Request], settings: Settings, board: Board, folder: RunFolder) -> ExitCode:
    dispatcher = dispatch.create(settings.dispatch)
    nodes = dispatcher.nodes()
    modes = _modes(nodes, settings)
    rules.refuse_unknown(settings.grid, requests, modes)
    cells = plan.expand(requests, modes, settings.grid)
    if not cells:
        raise BadRequest("nothing to run: the conversions asked for select no mode")
    ready, refused = validate.split(cells, nodes, modes)
    if settings.dry_run:
        board.show_plan(cells, refused)
        return ExitCode.COMPLETE
    if settings.on_invalid == "abort":
        _refuse_invalid(refused)
    about = {"command": settings.command, **validate.described(nodes)}
    if settings.resume:
        done = {row.id for row in folder.resume(cells, about, settings.retry, anyway=settings.resume_anyway)}
    else:
        folder.start(cells, about)
        done = set()

    took = history.seconds()
    backlog = Backlog([cell for cell in ready if cell.id not in done], settings.dispatch.retries, took)
    asked = ((request, plan.conversions(request, modes)) for request in requests)
    board.planned(len(cells), len(done), len(backlog), rules.unmet(settings.grid, asked, modes))
    outcomes = dispatcher.run(backlog, board.started)
    interrupted = False
    try:
        _carry_out([row for row in refused if row.id not in done], backlog, outcomes, folder, board)
    except KeyboardInterrupt:
        interrupted = True
        outcomes.close()
        _record_interrupted(cells, folder)

    if (joined := dispatcher.nodes()) is not nodes:
        folder.note(validate.described(joined))
    rows = matrix.tabulate(cells, folder.load())
    history.remember(rows, took)
    for name, text in files.made_from(rows).items():
        folder.write(name, text)
    board.show_matrix(rows, folder.path)
    if interrupted:
        board.show_how_to_resume(folder.path)
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED_ON if any(row.status in settings.fail_on for row in rows) else ExitCode.COMPLETE


def _modes(nodes: Sequence[Inventory], settings: Settings) -> dict[str, Mode]:
    """What nodes have and the configuration registers. Raises BadRequest where that takes the name of another."""
    known = validate.all_modes(nodes)
    try:
        return known | registry.own(settings.register, known, "configuration")
    except ValueError as error:
        raise BadRequest(*f"register.{error}".split("; ")) from error


def _carry_out(
    refused: Sequence[Result], backlog: Backlog, outcomes: Iterable[Outcome], folder: RunFolder, board: Board
) -> None:
    with board:
        for row in refused:
            board.ended(folder.append(Outcome(result=row)))
        for outcome in outcomes:
            for told in backlog.ended(outcome):
                board.ended(folder.append(told))


def _refuse_invalid(refused: Sequence[Result]) -> None:
    invalid = [row for row in refused if row.status is Status.INVALID]
    if invalid:
        raise BadRequest(*dict.fromkeys(row.message for row in invalid))


def _record_interrupted(cells: Sequence[Cell], folder: RunFolder) -> None:
    written = {row.id for row in folder.load()}
    for cell in cells:
        if cell.id not in written:
            row = validate.row(cell, Reason.INTERRUPTED, "the sweep was interrupted before it was done; resume it")
            folder.append(Outcome(result=row))
