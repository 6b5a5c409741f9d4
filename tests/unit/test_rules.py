from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sweep.cell import Cell, Device, Measure, Mode, Model, Request, Tolerance
from sweep.errors import BadRequest
from sweep.plan import rules, validate
from sweep.plan.cells import expand
from sweep.plan.inventory import Inventory
from sweep.plan.rules import Grid, Override
from sweep.user_data import UserData

CONVERSIONS = ("EAGER", "OPTIMUM_QUANTO_WI8", "JIT_TRACE")
VIT = Model(name="vit", config={"_target_": "a.Vit", "width": 64, "input": {"shape": [8]}})


def request(**changes: Any) -> Request:
    values: dict[str, Any] = {"model": VIT, "device": Device(name="cpu"), "conversions": CONVERSIONS, "batch_size": 8}
    values["tolerance"] = {"fp32": Tolerance(rel_l2=1e-4), "int8": Tolerance(rel_l2=0.15)}
    return Request(**values | changes)


def left_out(modes: Mapping[str, Mode], grid: Grid, *asked: Request) -> list[str]:
    return [cell.conversion for cell in expand(asked or [request()], modes, grid) if cell.excluded_by]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"conversion": "JIT_TRACE"}, ["JIT_TRACE"]),
        ({"conversion": "*QUANTO*"}, ["OPTIMUM_QUANTO_WI8"]),
        ({"conversion": "!EAGER"}, ["OPTIMUM_QUANTO_WI8", "JIT_TRACE"]),
        ({"conversion": ["EAGER", "JIT*"]}, ["EAGER", "JIT_TRACE"]),
        ({"precision": "int8"}, ["OPTIMUM_QUANTO_WI8"]),
        ({"engine": "torchscript"}, ["JIT_TRACE"]),
        ({"model": "vit", "engine": "quanto"}, ["OPTIMUM_QUANTO_WI8"]),
        ({"model": "resnet"}, []),
        ({"batch_size": 8}, list(CONVERSIONS)),
        ({"batch_size": ">8"}, []),
        ({"batch_size": ">= 8"}, list(CONVERSIONS)),
        ({"batch_size": "<1e+2"}, list(CONVERSIONS)),
        ({"batch_size": ">1.2.3"}, []),  # a form, and nothing has it
        ({"threads": ">1"}, []),  # it has no number of them
        ({"threads": None}, list(CONVERSIONS)),
        ({"model.width": "<=64"}, list(CONVERSIONS)),
        ({"model.input.shape": "*8*"}, list(CONVERSIONS)),
        ({"model.depth": 3}, []),  # another model may have it
        ({"device.kind": "cuda"}, []),
        ({"measure.trials": 1}, list(CONVERSIONS)),
    ],
)
def test_a_rule_leaves_out_the_cells_that_meet_all_of_it(
    modes: dict[str, Mode], condition: dict[str, Any], expected: list[str]
) -> None:
    assert left_out(modes, Grid(exclude=(condition,))) == expected
    inverse = left_out(modes, Grid(include=(condition,)))
    assert inverse == [name for name in CONVERSIONS if name not in expected]


def test_cells_are_told_apart_by_their_data(modes: dict[str, Mode]) -> None:
    arguments = {"_target_": "mine.batches", "rows": 3}
    asked = [request(data=UserData(name="mine", arguments=arguments, calibration=number)) for number in (8, 0)]
    condition = {"conversion": "EAGER", "data": "mine", "data.calibration": 0, "data.rows": "<4"}
    assert left_out(modes, Grid(exclude=(condition,)), *asked, request()) == ["EAGER"]


def test_any_rule_leaves_out_and_any_rule_lets_in(modes: dict[str, Mode]) -> None:
    grid = Grid(include=({"conversion": "EAGER"}, {"conversion": "JIT*"}), exclude=({"engine": "torchscript"},))
    assert left_out(modes, grid) == ["OPTIMUM_QUANTO_WI8", "JIT_TRACE"]
    said = [cell.excluded_by for cell in expand([request()], modes, grid)]
    assert said == [None, "it meets no rule of include", "exclude[0] leaves it out: engine=torchscript"]


def test_what_is_left_out_has_its_row_and_what_makes_no_sense_says_so_first(
    modes: dict[str, Mode], make_cell: Callable[..., Cell]
) -> None:
    node = Inventory(
        modes=modes, found=frozenset(), devices=frozenset({"cpu"}), versions={}, node="here", hardware="a CPU"
    )
    cells = [make_cell(excluded_by="exclude[0]: …"), make_cell(id="b", conversion="OPENVINO", excluded_by="exclude[0]")]
    ready, refused = validate.split_by_eligibility(cells, [node])
    assert ready == []
    assert [f"{row.status}/{row.reason}" for row in refused] == ["skipped/excluded", "invalid/unknown-conversion"]


def test_what_runs_is_the_same_cell_with_rules_or_without(modes: dict[str, Mode]) -> None:
    plain = expand([request()], modes)
    ruled = expand([request()], modes, Grid(exclude=({"conversion": "JIT_TRACE"},)))
    assert [cell.id for cell in ruled] == [cell.id for cell in plain]


def test_options_are_set_for_the_cells_that_meet_a_rule_later_ones_over_earlier(modes: dict[str, Mode]) -> None:
    grid = Grid(
        rules=(
            Override(when={"model": "vit"}, set={"limits.memory": 16000, "limits.convert": 10}),
            Override(when={"conversion": "JIT*"}, set={"limits.convert": 20, "measure.trials": 5, "threads": 2}),
            Override(when={"precision": "int8"}, set={"tolerance.int8.rel_l2": 0.3}),
        )
    )
    plain = expand([request()], modes)
    eager, quanto, jit = expand([request()], modes, grid)
    assert (eager.limits.memory, eager.limits.convert, jit.limits.convert) == (16000, 10, 20)
    assert (eager.measure, jit.measure.trials, eager.threads, jit.threads) == (Measure(), 5, None, 2)
    assert quanto.tolerance["int8"].rel_l2 == 0.3
    assert eager.tolerance["int8"].rel_l2 == 0.15
    of_limits = {"limits.memory": "16000", "limits.convert": "10"}
    assert (eager.overrides, quanto.overrides) == (of_limits, {**of_limits, "tolerance.int8.rel_l2": "0.3"})
    assert jit.overrides == {**of_limits, "limits.convert": "20", "measure.trials": "5"}  # threads have a column
    assert eager.id == plain[0].id  # deadlines are not part of what is asked
    assert quanto.id == plain[1].id  # nor is how it is judged
    assert jit.id != plain[2].id
    assert jit.model is VIT


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"exclude": ({"modle": "vit"},)}, "exclude[0]: no cell has a field 'modle': did you mean model?"),
        ({"include": ({"measure.sample": 3},)}, "include[0]: no cell has a field 'measure.sample'"),
        ({"exclude": ({},)}, "exclude[0]: a rule without a field means every cell"),
        (
            {"rules": (Override(when={"model": "vit"}, set={"seed": 3}),)},
            "rules[0].set: seed cannot be set by a rule",
        ),
        ({"rules": (Override(when={"model": "vit"}, set={"limits.memry": 3}),)}, "limits.memry cannot be set"),
        ({"rules": (Override(when={"model": "vit"}, set={"tolerance.a.b.rel_l2": 3}),)}, "cannot be set by a rule"),
    ],
)
def test_a_field_or_an_option_that_does_not_exist_is_refused(grid: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"rule|field") as raised:
        Grid(**grid)
    assert said in str(raised.value)


def test_a_tolerance_class_that_does_not_exist_is_not_passed_over(modes: dict[str, Mode]) -> None:
    grid = Grid(rules=(Override(when={"model": "vit"}, set={"tolerance.fp23.rel_l2": 1}),))
    with pytest.raises(BadRequest, match=r"rules\[0\].set: there is no tolerance class 'fp23'"):
        expand([request()], modes, grid)


def test_what_a_rule_leaves_out_answers_for_no_other_cell(modes: dict[str, Mode]) -> None:
    grid = Grid(exclude=({"threads": 2},), rules=(Override(when={"model": "vit"}, set={"threads": 1}),))
    asked = [request(conversions=("EAGER",), threads=threads) for threads in (2, 1, 1)]
    left, kept, again = expand(asked, modes, grid)
    assert left.excluded_by
    assert (kept.excluded_by, kept.duplicate_of) == (None, None)
    assert again.duplicate_of == kept.id
    assert len({left.id, kept.id, again.id}) == 3


def test_an_option_set_to_what_it_cannot_be_names_its_rule(modes: dict[str, Mode]) -> None:
    grid = Grid(rules=(Override(when={"model": "vit"}, set={"limits.memory": -1}),))
    with pytest.raises(BadRequest, match=r"rules\[0\].set: limits.memory must be more than 0"):
        expand([request()], modes, grid)


def test_a_rule_for_a_conversion_that_does_not_exist_is_refused_one_that_was_asked_for_is_not(
    modes: dict[str, Mode],
) -> None:
    grid = Grid(exclude=({"conversion": ["EAGER", "JIT_*", "OPENVINO", "!COMPILE_INDUCTOR"]},))
    with pytest.raises(BadRequest) as raised:
        rules.refuse_unknown_conversions(grid, [request()], modes)
    assert raised.value.problems == (
        "exclude[0]: unknown conversion 'OPENVINO': did you mean COMPILE_OPENVINO?",
        "exclude[0]: unknown conversion 'COMPILE_INDUCTOR': did you mean COMPILE_INDUCTOR_DEFAULT?",
    )
    rules.refuse_unknown_conversions(grid, [request(conversions=("OPENVINO", "COMPILE_INDUCTOR"))], modes)


def test_a_rule_that_meets_no_cell_is_told(modes: dict[str, Mode]) -> None:
    grid = Grid(exclude=({"model": "resnet", "batch_size": ">8"}, {"conversion": "EAGER"}))
    asked = [(request(), CONVERSIONS)]
    assert rules.unused_conditions(grid, asked, modes) == ["exclude[0] (model=resnet, batch_size>8) meets no cell"]
    assert rules.unused_conditions(Grid(), asked, modes) == []
