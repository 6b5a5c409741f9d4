"""Which errors prove a label, which refute it, and which do neither."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sweep.cell import Cell, Tolerance
from sweep.evidence import Engine, Found, OutputCheck, OutputPart, View, loss_class
from sweep.status import Problem
from sweep.verdict import output

TOLERANCE = {
    "fp32": Tolerance(rel_l2=2e-5, otherwise=1e-4),
    "bf16": Tolerance(rel_l2=8e-3, otherwise=5e-2),
    "int8": Tolerance(rel_l2=1e-2, otherwise=0.15),
    "int2": Tolerance(rel_l2=5e-2, otherwise=0.5),
    "uncalibrated": Tolerance(rel_l2=1e-2, otherwise=0.15),
}
CONVERSIONS = {"fp32": "EAGER", "bf16": "BF16+EAGER", "int8": "OPTIMUM_QUANTO_WI8", "int2": "OPTIMUM_QUANTO_WI2"}


@pytest.fixture
def problem(make_cell: Callable[..., Cell]) -> Callable[..., Problem | None]:
    def judged(check: OutputCheck, name: str = "fp32", *found: Found, **tolerance: Any) -> Problem | None:
        changed = {**TOLERANCE, name: replace(TOLERANCE[name], **tolerance)}
        cell = make_cell(conversion=CONVERSIONS[name], tolerance=changed)
        assert cell.mode is not None
        return output.problem(cell, cell.mode, check, Engine(requested="eager", actual="eager", precision=name), found)

    return judged


Judge = Callable[..., Problem | None]


def part(error: float, name: str = "output", view: str = "whole", kind: Any = "float", **of_view: Any) -> OutputPart:
    values: dict[str, Any] = {"nonsense": 1.0, "loss": {"fp32": 1e-6, "bf16": 4e-3, "int8": 0.014, "int2": 0.42}}
    return OutputPart(name=name, kind=kind, views={view: View(error=error, **values | of_view)}, elements=8)


def check(*parts: OutputPart, **changes: Any) -> OutputCheck:
    return OutputCheck(parts=parts, inputs=8, **changes)


def says(found: Problem | None) -> str:
    return str(found.status) if found else "ok"


@pytest.mark.parametrize(
    ("name", "error", "verdict"),
    [
        ("fp32", 0.0, "ok"),
        ("fp32", 1.9e-5, "ok"),
        ("fp32", 3e-5, "mismatch"),
        ("bf16", 0.015, "ok"),
        ("bf16", 0.02, "mismatch"),  # a scale of 1.02
        ("int8", 0.055, "ok"),
        ("int8", 0.06, "mismatch"),
        ("int2", 0.44, "ok"),  # what leaves room for nonsense, as long as that is 1.5 times the honest loss
        ("int2", 0.81, "mismatch"),
    ],
)
def test_allowed_is_a_multiple_of_what_is_lost_honestly(problem: Judge, name: str, error: float, verdict: str) -> None:
    assert says(problem(check(part(error)), name)) == verdict


def test_the_class_is_that_of_an_engine_that_was_free_to_choose(make_cell: Callable[..., Cell]) -> None:
    def judged(error: float, **classes: Tolerance) -> Problem | None:
        cell = make_cell(conversion="COMPILE_OPENVINO", tolerance=classes)
        assert cell.mode is not None
        chosen = Engine(requested="openvino", actual="openvino", precision="bf16")
        return output.problem(cell, cell.mode, check(part(error)), chosen, ())

    fp32, bf16 = TOLERANCE["fp32"], TOLERANCE["bf16"]
    assert says(judged(0.015, fp32=fp32, bf16=bf16)) == "ok"
    assert says(judged(0.03, fp32=fp32, bf16=bf16)) == "mismatch"
    assert says(judged(0.015, fp32=fp32)) == "mismatch"  # which class there is none of allows nothing more
    none_at_all = judged(0.0)
    assert none_at_all is not None
    assert none_at_all.message.endswith("add tolerance.fp32")


def test_a_label_that_says_nothing_of_its_loss_is_held_to_that_of_its_like(make_cell: Callable[..., Cell]) -> None:
    cell = make_cell(conversion="OPTIMUM_QUANTO_AI8WI8", tolerance=TOLERANCE)
    assert cell.mode is not None
    engine = Engine(requested="quanto", actual="quanto", precision="uncalibrated")
    judged = output.views(cell, cell.mode, check(part(0.3, loss={"int8_static": 0.1, "uncalibrated": 0.01})), engine)
    assert [one.allowed for one in judged] == [pytest.approx(0.4)]


def test_the_furthest_beyond_what_it_is_allowed_is_named_first(problem: Judge) -> None:
    large, small = part(0.3, "large", loss={"fp32": 0.05}), part(0.1, "small", loss={"fp32": 0.01})
    ids = part(0.001, "ids", "differing", "integer", loss={"fp32": 0.0})
    for parts, named in (((large, small), "small"), ((small, large), "small"), ((large, ids), "ids")):
        found = problem(check(*parts))
        assert found is not None
        assert found.message.startswith(f"{named}: ")
        assert ("or set tolerance.fp32.rel_l2" in found.message) == (named != "ids")
    only = problem(check(part(0.3)))
    assert only is not None
    assert only.message.startswith("relative L2 error 0.3")
    coarse = {"int2": 3.6}
    unsure = problem(check(part(0.1, "a", loss=coarse), part(4.5, "b", loss=coarse)), "int2")
    assert unsure is not None
    assert unsure.message.startswith("b: ")


def test_single_places_are_judged_only_where_their_own_loss_leaves_room(problem: Judge) -> None:
    def with_place(error: float, loss: float) -> OutputCheck:
        whole = part(1e-3)
        place = View(error=error, nonsense=1.0, loss={"int8": loss})
        return check(replace(whole, views={**whole.views, "place": place}))

    assert says(problem(with_place(0.5, loss=0.1), "int8")) == "mismatch"
    assert says(problem(with_place(0.3, loss=0.1), "int8")) == "ok"
    assert says(problem(with_place(0.9, loss=0.7), "int8")) == "ok"


def test_the_worst_view_of_the_worst_part_is_named(problem: Judge) -> None:
    found = problem(check(part(1e-6, "boxes"), part(0.3, "scores", "row"), part(0.2, "logits", "column")))
    assert found is not None
    assert found.message.startswith(
        "scores: relative L2 error 0.3 against eager in its worst row, class fp32 allows 2e-05"
    )
    assert "honest fp32 loses 1e-06 of it on this model" in found.message


@pytest.mark.parametrize(("error", "verdict"), [(9e-5, "ok"), (2e-4, "mismatch")])
def test_where_nothing_is_known_of_the_loss_a_figure_stands_for_it(problem: Judge, error: float, verdict: str) -> None:
    found = problem(check(part(error, loss={})))
    assert says(found) == verdict
    assert found is None or "is not known" in found.message


def test_what_would_let_nonsense_pass_proves_nothing(problem: Judge) -> None:
    coarse = {"fp32": 1e-6, "int2": 3.6}
    for error in (0.1, 4.5):
        found = problem(check(part(error, loss=coarse)), "int2")
        assert says(found) == "unproved"
        assert found is not None
        assert "would let nonsense pass (1)" in found.message
    assert says(problem(check(part(0.04, loss=coarse)), "int2")) == "ok"  # as near as any class must be


@pytest.mark.parametrize(
    ("error", "noise", "verdict"), [(0.0, 0, "ok"), (0.011, 0, "ok"), (0.02, 0, "unproved"), (0.0, 0.04, "unproved")]
)
def test_what_is_as_near_as_honest_ones_is_proved_where_only_the_floor_would_let_nonsense_pass(
    problem: Judge, error: float, noise: float, verdict: str
) -> None:
    hardly_changed = part(error, loss={"fp32": 1e-6, "int2": 3e-3}, nonsense=0.06, noise=noise)  # the floor is 0.05
    assert says(problem(check(hardly_changed), "int2")) == verdict


def test_a_model_that_amplifies_rounding_is_nobodys_fault(problem: Judge) -> None:
    found = Found(kind="rounding", text="amplifies rounding: in fp32 it is off its own fp64 answer by 1e+04")
    amplified = {"fp32": 1e4}
    verdict = problem(check(part(0.7, loss=amplified)), "fp32", found)
    assert says(verdict) == "unproved"
    assert verdict is not None
    assert verdict.message == f"nothing can be compared: the model {found.text}"
    assert problem(check(part(0.0, loss=amplified)), "fp32", found) is None  # the same kernels, the same bits


def test_integers_are_exact_but_for_what_honest_rounding_flips(problem: Judge) -> None:
    def ids(share: float, **of_view: Any) -> OutputCheck:
        return check(part(share, "ids", "differing", "integer", **{"loss": {"fp32": 0.0, "bf16": 0.01}} | of_view))

    assert says(problem(ids(0.0))) == "ok"
    assert says(problem(ids(0.001))) == "mismatch"
    assert says(problem(ids(0.03), "bf16")) == "ok"
    wrong = problem(ids(1.0), "bf16")
    assert says(wrong) == "mismatch"
    assert wrong is not None
    assert wrong.message.startswith("ids: 1 of its values are not eager's")
    assert says(problem(ids(0.001, loss={}))) == "mismatch"


@pytest.mark.parametrize("kind", ["random", "state"])
def test_a_model_that_does_not_repeat_itself_proves_nothing(problem: Judge, kind: str) -> None:
    fickle = Found(kind=kind, text="gives another answer at every call")
    noisy = part(1.1, noise=0.9)
    assert says(problem(check(noisy, repeats=False), "fp32", fickle)) == "unproved"
    other = problem(check(noisy, repeats=True), "fp32", fickle)
    assert says(other) == "mismatch"
    assert other is not None
    assert "another function" in other.message
    assert problem(check(part(1e-7, noise=1e-7), repeats=True), "fp32", fickle) is None  # the noise of atomic additions


@pytest.mark.parametrize("kind", ["random", "state"])
def test_noise_that_leaves_room_for_junk_proves_nothing_either(problem: Judge, kind: str) -> None:
    fickle = Found(kind=kind, text="gives another answer at every call")
    dropout = part(0.25, noise=0.2)
    assert says(problem(check(dropout, repeats=False), "fp32", fickle)) == "unproved"
    assert says(problem(check(dropout, repeats=True), "fp32", fickle)) == "mismatch"


def test_a_model_of_one_answer_proves_nothing(problem: Judge) -> None:
    constant = Found(kind="constant", text="gives the same answer to every input")
    assert says(problem(check(part(0.0)), "fp32", constant)) == "unproved"
    assert says(problem(check(part(0.5)), "fp32", constant)) == "mismatch"


def test_a_flip_or_two_of_few_integers_is_chance(problem: Judge) -> None:
    def ids(share: float, elements: int, name: str) -> Problem | None:
        lost: dict[str, Any] = {"loss": {"fp32": 0.0, "bf16": 0.0}}
        return problem(check(replace(part(share, "ids", "differing", "integer", **lost), elements=elements)), name)

    assert says(ids(1 / 8, 8, "bf16")) == "ok"
    assert says(ids(1 / 8, 8, "fp32")) == "mismatch"
    assert says(ids(0.01, 4096, "bf16")) == "mismatch"
    assert says(ids(1.0, 8, "bf16")) == "mismatch"
    assert says(ids(1e-5, 100_000, "fp32")) == "mismatch", "the floor of a class is of floats"


def test_a_view_that_no_honest_answer_had_is_left_alone(problem: Judge) -> None:
    both = part(1e-6)
    views = {**both.views, "small": View(error=0.3, nonsense=1.0)}
    assert problem(check(replace(both, views=views))) is None


def test_a_little_noise_widens_what_is_allowed(problem: Judge) -> None:
    assert says(problem(check(part(3e-4, noise=2e-4)))) == "ok"
    assert says(problem(check(part(5e-4, noise=2e-4)))) == "mismatch"


@pytest.mark.parametrize(
    ("nothing", "said"),
    [
        (check(OutputPart(name="boxes", kind="float", views={}, elements=0)), "empty for all inputs"),
        (check(part(0.0, nonsense=None)), "whatever its input and its weights are"),
        (check(undecidable="input 2: shape [3], eager's is [4]"), "changes the form of the model's outputs, too"),
    ],
)
def test_where_there_is_nothing_to_compare_nothing_is_proved(problem: Judge, nothing: OutputCheck, said: str) -> None:
    found = problem(nothing)
    assert says(found) == "unproved"
    assert found is not None
    assert said in found.message


def test_a_part_that_never_changes_must_be_right_and_proves_nothing(problem: Judge) -> None:
    anchors = part(0.0, "anchors", nonsense=None)
    assert problem(check(part(1e-6), anchors)) is None
    assert problem(check(part(1e-6), replace(anchors, elements=0))) is None
    assert says(problem(check(part(1e-6), part(0.1, "anchors", nonsense=None)))) == "mismatch"


def test_options_tighten_and_loosen(problem: Judge) -> None:
    assert says(problem(check(part(0.3)), "fp32", rel_l2=0.5)) == "ok"
    assert says(problem(check(part(9e-3)), "bf16", rel_l2=8e-3, multiple=0.0)) == "mismatch"
    assert says(problem(check(replace(part(0.0), cosine=0.9)), "fp32", cosine=0.99)) == "mismatch"


@pytest.mark.parametrize(
    ("conversion", "expected"),
    [
        ("OPTIMUM_QUANTO_Wf8E4M3N", "fp8_e4m3"),
        ("OPTIMUM_QUANTO_Wf8E5M2", "fp8_e5m2"),
        ("OPTIMUM_QUANTO_AI8WI8", "int8_static"),
        ("OPTIMUM_QUANTO_AI8WI4", "int4_static"),
        ("OPTIMUM_QUANTO_AI8WI2", "int2_static"),
        ("NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED", "int8_static"),
        ("EXPORT+AI8WI8_STATIC_QUANTIZED", "int8_static"),
        ("OPTIMUM_QUANTO_WI4", "int4"),
        ("FP16+EAGER", "fp16"),
    ],
)
def test_labels_that_lose_alike_have_one_class(make_cell: Callable[..., Cell], conversion: str, expected: str) -> None:
    mode = make_cell(conversion=conversion).mode
    assert mode is not None
    assert loss_class(mode) == expected


def test_the_row_has_every_part_and_the_worst_of_all(make_cell: Callable[..., Cell]) -> None:
    cell = make_cell(tolerance=TOLERANCE)
    assert cell.mode is not None
    boxes = replace(part(1e-6, "boxes"), cosine=0.9, max_abs=3.0)
    ids = part(0.25, "ids", "differing", "integer")
    engine = Engine(requested="eager", actual="eager", precision="fp32")
    found = output.fidelity(cell, cell.mode, check(boxes, ids), engine)
    assert found is not None
    assert (found.rel_l2, found.cosine, found.max_abs, found.differing_share) == (1e-6, 0.9, 3.0, 0.25)
    assert (found.allowed, found.tolerance_class, found.inputs) == (2e-5, "fp32", 8)
    assert [(one.name, one.worst_view, one.allowed) for one in found.outputs] == [
        ("boxes", "whole", 2e-5),
        ("ids", "differing", 4e-6),
    ]
    unseen = output.fidelity(cell, cell.mode, check(boxes, ids), None)
    assert unseen is not None
    assert (unseen.allowed, unseen.rel_l2) == (None, 1e-6)
    assert [(one.worst_view, one.worst_error, one.worst_allowed) for one in unseen.outputs] == [(None, None, None)] * 2
    other = replace(part(0.5, "scores", loss={"fp32": 0.2}), max_abs=1.0, cosine=0.5, top1_agreement=0.75)
    both = output.fidelity(cell, cell.mode, check(replace(boxes, top1_agreement=1.0), other), engine)
    assert both is not None
    assert (both.rel_l2, both.max_abs, both.allowed) == (0.5, 3.0, 0.8)
    assert (both.cosine, both.top1_agreement) == (0.5, 0.75)
    assert (both.outputs[1].worst_error, both.outputs[1].worst_allowed) == (0.5, 0.8)
    boundless = output.fidelity(cell, cell.mode, check(part(0.5, loss={"fp32": 1e30}, nonsense=None)), engine)
    assert boundless is not None
    assert (boundless.allowed, boundless.outputs[0].worst_allowed) == (None, None), "JSON has no infinity"
    views = {"whole": View(error=1e-6, loss={"fp32": 1e-6}), "row": View(error=3e-3, loss={"fp32": 1e-3})}
    of_rows = output.fidelity(cell, cell.mode, check(replace(boxes, views=views)), engine)
    assert of_rows is not None
    assert of_rows.outputs[0].worst_view == "row"
