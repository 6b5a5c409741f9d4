from collections.abc import Callable
from dataclasses import replace

from sweep import validate
from sweep.backlog import Backlog
from sweep.cell import Cell, Model, Outcome, Phase, Reason

MakeCell = Callable[..., Cell]


def outcome(cell: Cell, reason: Reason, phase: Phase = Phase.EAGER, attempt: str = "") -> Outcome:
    row = validate.row(cell, reason, "so it was")
    return Outcome(result=replace(row, phase=phase, attempts=(attempt,) if attempt else ()))


def test_cells_come_in_the_order_of_the_plan_unless_they_do_not_fit(make_cell: MakeCell) -> None:
    cells = [make_cell(id="a", batch_size=8), make_cell(id="b"), make_cell(id="c")]
    backlog = Backlog(cells, 0)
    assert backlog.take(lambda cell: cell.batch_size < 8) == cells[1]
    assert backlog.take() == cells[0]
    assert len(backlog) == 1
    assert backlog.take(lambda cell: cell.batch_size == 8) is None
    assert backlog.take() == cells[2]
    assert backlog.take() is None


def test_what_is_lost_comes_back_until_its_retries_are_over(make_cell: MakeCell) -> None:
    backlog = Backlog([make_cell(id="a")], 2)
    for attempt in ("one", "two"):
        cell = backlog.take()
        assert cell is not None
        assert backlog.ended(outcome(cell, Reason.LOST, attempt=attempt)) == []
    cell = backlog.take()
    assert cell is not None
    (told,) = backlog.ended(outcome(cell, Reason.LOST, attempt="three"))
    assert told.result.attempts == ("one", "two", "three")
    assert backlog.take() is None


def test_what_crashes_by_itself_is_not_tried_again(make_cell: MakeCell) -> None:
    backlog = Backlog([make_cell(id="a")], 2)
    cell = backlog.take()
    assert cell is not None
    assert len(backlog.ended(outcome(cell, Reason.SIGNAL))) == 1
    assert len(backlog) == 0


def test_a_model_that_crashes_unconverted_is_not_tried_in_other_conversions(make_cell: MakeCell) -> None:
    other = Model(name="other", config={"_target_": "torch.nn.ReLU", "input": {"shape": [8]}})
    alike, unlike = make_cell(id="alike", conversion="JIT_TRACE"), make_cell(id="model", model=other)
    cells = [
        make_cell(id="first"),
        alike,
        unlike,
        make_cell(id="batch", batch_size=3),
        make_cell(id="one", threads=None),
    ]
    backlog = Backlog(cells, 2)
    cell = backlog.take()
    assert cell is not None
    first, spared = backlog.ended(outcome(cell, Reason.SIGNAL))
    assert first.result.id == "first"
    assert (spared.result.id, spared.result.status, spared.result.reason) == ("alike", "skipped", "eager-fails")
    assert "see first" in spared.result.message
    assert len(backlog) == 3


def test_a_conversion_that_crashes_says_nothing_of_others(make_cell: MakeCell) -> None:
    backlog = Backlog([make_cell(id="a"), make_cell(id="b", conversion="JIT_TRACE")], 2)
    cell = backlog.take()
    assert cell is not None
    assert len(backlog.ended(outcome(cell, Reason.SIGNAL, Phase.CONVERT))) == 1
    assert len(backlog) == 1
