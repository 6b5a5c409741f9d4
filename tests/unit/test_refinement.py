"""Cells that come again for further trials, and for how long."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests import rows

from sweep.cell import Cell, Measure
from sweep.dispatch.backlog import Backlog
from sweep.dispatch.refinement import Begun, Refinement
from sweep.record import ENOUGH, SPENT, RunFolder
from sweep.result import Outcome, Quotient, Result, Speedup, not_run
from sweep.status import Reason

MakeCell = Callable[..., Cell]


def row(cell: Cell, *quotients: float) -> Result:
    found = tuple(Quotient(value=value, spread=0.01) for value in quotients)
    speedup = Speedup(value=1.0, low=1.0, high=1.0, quotients=found)
    return rows.ok(id=cell.id, conversion=cell.conversion, speedup=speedup, overrides={})


@pytest.fixture
def cells(make_cell: MakeCell) -> list[Cell]:
    return [make_cell(id=name, conversion=name, measure=Measure(budget=1)) for name in ("EAGER", "JIT_TRACE")]


@pytest.fixture
def folder(tmp_path: Path, cells: list[Cell]) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.start(cells, {})
    return folder


def begun(refinement: Refinement) -> Begun | None:
    refinement.estimate()
    return refinement.begin_round()


def taken(backlog: Backlog) -> list[Cell]:
    found = []
    while cell := backlog.take():
        found.append(cell)
    return found


def test_nothing_comes_again_before_every_cell_has_its_row(cells: list[Cell], folder: RunFolder) -> None:
    backlog = Backlog(cells, 0)
    refinement = Refinement(cells, backlog, [], folder)
    assert backlog.may_grow
    assert begun(refinement) is None
    for cell in taken(backlog):
        assert begun(refinement) is None
        for outcome in backlog.ended(Outcome(result=row(cell, 1.0))):
            assert not refinement.recorded(outcome.result)
    round_ = begun(refinement)
    assert round_ is not None
    assert round_.number == 2
    assert {backlog.further(cell).round for cell in taken(backlog)} == {2}


def test_trials_of_a_round_come_one_at_a_time_each_with_another_control(cells: list[Cell], folder: RunFolder) -> None:
    backlog = Backlog([], 0)
    refinement = Refinement(cells, backlog, [row(cells[0], 1.0), row(cells[1], 1.3)], folder)
    controls, trials = [], {cell.id: 1 for cell in cells}
    for _ in range(3):
        assert begun(refinement) is not None
        for cell in taken(backlog):
            further = backlog.further(cell)
            assert further.count == 1
            controls.append(further.control)
            trials[cell.id] += 1
            for outcome in backlog.ended(Outcome(result=row(cell, *[1.0] * trials[cell.id]))):
                assert refinement.recorded(outcome.result)
    assert len(set(controls)) == 3


def test_what_could_not_be_run_again_keeps_its_row(cells: list[Cell], folder: RunFolder) -> None:
    backlog = Backlog([], 0)
    refinement = Refinement(cells, backlog, [row(cell, 1.0) for cell in cells], folder)
    assert begun(refinement) is not None
    again = taken(backlog)
    assert again
    for cell in again:
        assert backlog.ended(Outcome(result=not_run(cell, Reason.LOST, "its node is gone"))) == []
    assert {found.status for found in refinement.rows} == {"ok"}


@pytest.mark.parametrize(("spent", "again"), [(0.0, True), (59.0, False), (60.0, False)])
def test_a_sweep_goes_on_only_with_what_is_left_of_its_budget(
    cells: list[Cell], folder: RunFolder, spent: float, again: bool
) -> None:
    folder.add_about({SPENT: spent})
    backlog = Backlog([], 0)
    refinement = Refinement(cells, backlog, [row(cell, 1.0) for cell in cells], folder)
    assert (begun(refinement) is not None) == again
    assert backlog.may_grow == again


def test_where_nothing_is_left_to_find_out_only_a_larger_budget_finds_out_more(
    cells: list[Cell], folder: RunFolder
) -> None:
    def first_round(minutes: float) -> Begun | None:
        asked = [replace(cell, measure=replace(cell.measure, budget=minutes)) for cell in cells]
        refinement = Refinement(asked, Backlog([], 0), [row(cell, 1.0) for cell in asked], folder)
        return begun(refinement)

    assert first_round(0.001) is None  # too little for any trial, and it is spent on none
    assert folder.about()[ENOUGH] == 0.06
    assert first_round(0.001) is None
    assert first_round(1) is not None


def test_what_was_enough_is_so_no_longer_where_a_cell_runs_again(cells: list[Cell], folder: RunFolder) -> None:
    folder.add_about({ENOUGH: 60.0})
    for cell in cells:
        folder.append(Outcome(result=not_run(cell, Reason.LOST, "its node is gone")))
    folder.resume(cells, {}, [], anyway=False)
    assert folder.about()[ENOUGH] == 60.0
    folder.resume(cells, {}, ["lost"], anyway=False)
    assert ENOUGH not in folder.about()


def test_time_counts_from_the_first_round_of_further_trials(cells: list[Cell], folder: RunFolder) -> None:
    now = 1000.0
    backlog = Backlog(cells, 0)
    refinement = Refinement(cells, backlog, [], folder, clock=lambda: now)
    now = 2000.0
    assert refinement.spent == 0.0
    for cell in taken(backlog):
        backlog.ended(Outcome(result=row(cell, 1.0)))
        refinement.recorded(row(cell, 1.0))
    assert begun(refinement) is not None
    now = 2030.0
    assert refinement.spent == 30.0
    now = 2061.0
    for _ in range(2):  # what was chosen before its time was over is run
        for cell in taken(backlog):
            backlog.ended(Outcome(result=row(cell, 1.0, 1.0)))
        round_ = begun(refinement)
    assert round_ is None
