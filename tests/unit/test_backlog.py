from collections.abc import Callable
from dataclasses import replace

import pytest

from sweep.cell import Cell, Device, Limits, Model, Phase
from sweep.dispatch.backlog import Backlog, history_key
from sweep.result import Outcome, not_run
from sweep.status import Reason

MakeCell = Callable[..., Cell]


def outcome(cell: Cell, reason: Reason, phase: Phase = Phase.EAGER, attempt: str = "") -> Outcome:
    row = not_run(cell, reason, "so it was")
    return Outcome(result=replace(row, phase=phase, attempts=(attempt,) if attempt else ()))


def test_cells_come_in_the_order_of_the_plan_unless_they_do_not_fit(make_cell: MakeCell) -> None:
    other = Device(name="other")
    cells = [make_cell(id="a", device=other), make_cell(id="b"), make_cell(id="c")]
    backlog = Backlog(cells, 0)
    assert backlog.take(lambda cell: cell.device is not other) == cells[1]
    assert backlog.take() == cells[0]
    assert len(backlog) == 1
    assert backlog.take(lambda cell: cell.device is other) is None
    assert backlog.take() == cells[2]
    assert backlog.take() is None


def test_what_is_lost_comes_back_until_its_retries_are_over(make_cell: MakeCell) -> None:
    backlog = Backlog([make_cell(id="a")], 2)
    for attempt in ("one", "two"):
        cell = backlog.take() or backlog.take_alone()
        assert cell is not None
        assert backlog.ended(outcome(cell, Reason.LOST, attempt=attempt)) == []
        assert backlog.take() is None  # it is not given out beside others any more
        assert len(backlog) == 1
    cell = backlog.take_alone()
    assert cell is not None
    (ended,) = backlog.ended(outcome(cell, Reason.LOST, attempt="three"))
    assert ended.result.attempts == ("one", "two", "three")
    assert backlog.take_alone() is None


def test_what_crashes_by_itself_is_not_tried_again(make_cell: MakeCell) -> None:
    backlog = Backlog([make_cell(id="a")], 2)
    cell = backlog.take()
    assert cell is not None
    assert len(backlog.ended(outcome(cell, Reason.SIGNAL))) == 1
    assert len(backlog) == 0


@pytest.mark.parametrize("reason", [Reason.SIGNAL, Reason.BAD_MODEL])
def test_a_model_that_fails_unconverted_is_not_tried_in_other_conversions(reason: Reason, make_cell: MakeCell) -> None:
    other = Model(name="other", config={"_target_": "torch.nn.ReLU", "input": {"shape": [8]}})
    alike, unlike = make_cell(id="alike", conversion="JIT_TRACE"), make_cell(id="model", model=other)
    cells = [
        make_cell(id="first"),
        alike,
        unlike,
        make_cell(id="batch", batch_size=3),
        make_cell(id="one", threads=None),
        make_cell(id="roomier", conversion="JIT_TRACE", limits=Limits(memory=16000)),
    ]
    backlog = Backlog(cells, 2)
    cell = backlog.take()
    assert cell is not None
    first, spared = backlog.ended(outcome(cell, reason))
    assert first.result.id == "first"
    assert (spared.result.id, spared.result.status, spared.result.reason) == ("alike", "skipped", "eager-fails")
    assert "see first" in spared.result.message
    assert len(backlog) == 4


def test_a_model_must_fail_on_a_second_node_before_its_other_cells_are_spared(make_cell: MakeCell) -> None:
    cells = [make_cell(id="first"), make_cell(id="alike", conversion="JIT_TRACE")]
    backlog = Backlog(cells, 0)
    backlog.elsewhere = lambda _cell, _node: True
    assert backlog.take() == cells[0]
    failed = replace(outcome(cells[0], Reason.RAISED, attempt="one"), node="a")
    assert backlog.ended(failed) == []
    assert backlog.suspects.failed_on("first") == {"a"}
    assert not backlog.has(lambda cell: cell.id == "first" and "a" not in backlog.suspects.failed_on(cell.id))
    assert backlog.take(lambda cell: "b" not in backlog.suspects.failed_on(cell.id)) == cells[0]
    ended = backlog.ended(replace(outcome(cells[0], Reason.RAISED, attempt="two"), node="b"))
    assert [(one.result.id, one.result.reason) for one in ended] == [("first", "raised"), ("alike", "eager-fails")]
    assert ended[0].result.attempts == ("one", "two")
    assert len(backlog) == 0


def test_a_node_where_models_fail_that_run_elsewhere_is_sick_and_no_cell_is_spared_for_it(make_cell: MakeCell) -> None:
    cells = [make_cell(id=str(number), batch_size=number + 1) for number in range(3)]
    others = [make_cell(id=f"other {cell.id}", conversion="JIT_TRACE", batch_size=cell.batch_size) for cell in cells]
    backlog = Backlog([*cells, *others], 0)
    backlog.elsewhere = lambda _cell, _node: True
    for cell in cells:
        assert not backlog.suspects.is_sick("a")
        assert backlog.take(lambda one, cell=cell: one is cell) is cell  # type: ignore[misc]
        assert backlog.ended(replace(outcome(cell, Reason.RAISED), node="a")) == []
        assert backlog.take(lambda one, cell=cell: one is cell) is cell  # type: ignore[misc]
        late = replace(outcome(cell, Reason.RAISED, Phase.CONVERT), node="b")
        assert [one.result.id for one in backlog.ended(late)] == [cell.id]
    assert backlog.suspects.is_sick("a")
    assert not backlog.suspects.is_sick("b")
    assert len(backlog) == len(others)


def test_a_cell_that_no_other_node_can_run_any_more_may_fail_again_where_it_did(make_cell: MakeCell) -> None:
    backlog = Backlog([make_cell(id="a")], 0)
    backlog.elsewhere = lambda _cell, _node: True
    cell = backlog.take()
    assert cell
    assert backlog.ended(replace(outcome(cell, Reason.RAISED), node="a")) == []
    assert backlog.waiting() == [cell]
    assert not backlog.has(lambda cell: "a" not in backlog.suspects.failed_on(cell.id))
    backlog.send_anywhere(cell)
    assert backlog.take(lambda cell: "a" not in backlog.suspects.failed_on(cell.id)) == cell
    backlog.elsewhere = lambda _cell, _node: False
    assert [one.result.reason for one in backlog.ended(replace(outcome(cell, Reason.RAISED), node="a"))] == ["raised"]


def test_a_cell_that_is_sent_anywhere_takes_no_other_with_it(make_cell: MakeCell) -> None:
    slow, quick = (make_cell(id=str(n), conversion="JIT_TRACE", batch_size=n) for n in (1, 2))
    seconds = {history_key("linear", "JIT_TRACE", "cpu", n): 100.0 / n for n in (1, 2)}
    backlog = Backlog([slow, quick], 0, seconds)
    backlog.elsewhere = lambda _cell, _node: True
    assert backlog.take() is slow
    assert backlog.ended(replace(outcome(slow, Reason.RAISED), node="a")) == []
    backlog.send_anywhere(slow)
    assert [backlog.take(), backlog.take(), backlog.take()] == [slow, quick, None]
    assert not backlog
    assert backlog.taken == [slow, quick]


def test_a_conversion_that_crashes_says_nothing_of_others(make_cell: MakeCell) -> None:
    backlog = Backlog([make_cell(id="a"), make_cell(id="b", conversion="JIT_TRACE")], 2)
    cell = backlog.take()
    assert cell is not None
    assert len(backlog.ended(outcome(cell, Reason.SIGNAL, Phase.CONVERT))) == 1
    assert len(backlog) == 1


def test_what_had_too_little_memory_beside_others_is_tried_alone(make_cell: MakeCell) -> None:
    backlog = Backlog([make_cell(id="a")], retries=0)
    cell = backlog.take()
    assert cell is not None
    crowded = replace(outcome(cell, Reason.MEMORY, attempt="beside others"), crowded=True)
    assert backlog.ended(crowded) == []
    assert backlog.take_alone() == cell
    (ended,) = backlog.ended(outcome(cell, Reason.MEMORY, attempt="alone"))
    assert ended.result.attempts == ("beside others", "alone")


def test_eager_and_then_the_longest_go_first_as_long_as_before_or_as_their_engine_tells(make_cell: MakeCell) -> None:
    names = ("COMPILE_INDUCTOR_DEFAULT", "JIT_TRACE", "EAGER", "EXPORT+AI8WI8_STATIC_QUANTIZED")
    cells = [make_cell(id=name, conversion=name) for name in names]
    backlog = Backlog(cells, 0, {history_key("linear", "JIT_TRACE", "cpu", 2): 1000.0})
    order = [cell.conversion for cell in iter(backlog.take, None)]
    assert order == ["EAGER", "JIT_TRACE", "COMPILE_INDUCTOR_DEFAULT", "EXPORT+AI8WI8_STATIC_QUANTIZED"]


def test_whether_a_node_fits_is_asked_once_for_cells_with_the_same_needs(make_cell: MakeCell) -> None:
    device = Device(name="cpu")
    backlog = Backlog([make_cell(id=f"{n}", device=device) for n in range(1000)], 0)
    judged: list[Cell] = []

    def fits(cell: Cell) -> bool:
        judged.append(cell)
        return False

    assert backlog.take(fits) is None
    assert len(judged) == 1
    assert backlog.has(lambda cell: True)
    assert not backlog.has(lambda cell: False)
