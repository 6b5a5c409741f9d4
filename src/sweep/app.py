"""The way of a cell: plan, validate, dispatch, record, report."""

from collections.abc import Iterator, Sequence
from itertools import chain

from sweep import dispatch, plan, validate
from sweep.cell import Cell, Outcome, Reason, Request, Result, Status
from sweep.errors import BadRequest, ExitCode
from sweep.record import RunFolder
from sweep.report import files, matrix
from sweep.report.terminal import Board
from sweep.settings import Settings


def run(requests: Sequence[Request], settings: Settings, board: Board) -> ExitCode:
    """Answer every cell that the requests ask for. Raises SweepError if nothing could be run."""
    folder = RunFolder(settings.run_dir)
    try:
        return _run(requests, settings, board, folder)
    finally:
        folder.discard_unused()


def _run(requests: Sequence[Request], settings: Settings, board: Board, folder: RunFolder) -> ExitCode:
    dispatcher = dispatch.create(settings.dispatch, settings.address)
    inventory = dispatcher.inventory()
    cells = plan.expand(requests, inventory.modes)
    if not cells:
        raise BadRequest("nothing to run: the conversions asked for select no mode")
    ready, refused = validate.split(cells, inventory)
    board.planned(cells, refused)
    if settings.dry_run:
        board.show_plan(cells, refused)
        return ExitCode.COMPLETE
    if settings.on_invalid == "abort":
        _refuse_invalid(refused)
    nodes = [{"name": inventory.node, "hardware": inventory.hardware}]
    folder.start(cells, {"command": settings.command, "versions": inventory.versions, "nodes": nodes})

    interrupted = False
    outcomes = dispatcher.run(ready, board.started)
    try:
        with board:
            for outcome in chain(map(_refusal, refused), outcomes):
                board.ended(folder.append(outcome))
    except KeyboardInterrupt:
        interrupted = True
        outcomes.close()
        for outcome in _interrupted(cells, folder):
            folder.append(outcome)

    rows = matrix.tabulate(cells, folder.load())
    files.write(folder.path, rows)
    board.show_matrix(rows, folder.path)
    if interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED_ON if any(row.status in settings.fail_on for row in rows) else ExitCode.COMPLETE


def _refusal(row: Result) -> Outcome:
    return Outcome(result=row)


def _refuse_invalid(refused: Sequence[Result]) -> None:
    invalid = [row for row in refused if row.status is Status.INVALID]
    if invalid:
        raise BadRequest(*dict.fromkeys(row.message for row in invalid))


def _interrupted(cells: Sequence[Cell], folder: RunFolder) -> Iterator[Outcome]:
    written = {row.id for row in folder.load()}
    for cell in cells:
        if cell.id not in written:
            yield _refusal(validate.row(cell, Reason.INTERRUPTED, "the sweep was interrupted before it was done"))
