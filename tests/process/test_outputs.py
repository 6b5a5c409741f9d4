"""What a model returns, read part by part, and compared: here by calling the checks themselves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy
import pytest
import torch

from sweep.child import comparison, outputs
from sweep.child.reference import Reference
from sweep.evidence import OutputCheck, OutputPart


@pytest.fixture
def inputs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 5, generator=generator) for _ in range(3)]


def model(x: torch.Tensor) -> torch.Tensor:
    return x.cumsum(-1)


def same(x: torch.Tensor) -> torch.Tensor:
    return x


def checked(inputs: list[torch.Tensor], lie: Callable[[torch.Tensor], Any], of: Any = model) -> OutputCheck:
    return Reference(of, inputs).check(lie, same, "fp32")


def part(check: OutputCheck, name: str = "output") -> OutputPart:
    return next(one for one in check.parts if one.name == name)


class Boxes(NamedTuple):
    boxes: torch.Tensor
    scores: torch.Tensor


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...] = ()
    loss: torch.Tensor | None = None


class Cache:
    """As libraries keep keys and values: an object that holds tensors, and what makes them."""

    def __init__(self, keys: torch.Tensor) -> None:
        self.layers = [_Layer(keys), _Layer(keys + 1)]
        self.make = torch.zeros


class _Layer:
    def __init__(self, keys: torch.Tensor) -> None:
        self.keys, self.is_sliding = keys, False


@dataclass
class Node:
    value: torch.Tensor
    next: Any = field(default=None)


@pytest.mark.parametrize(
    ("nest", "names"),
    [
        (torch.ones(1), ["output"]),
        (3.5, ["output"]),
        ({"logits": torch.ones(1), "aux": [torch.ones(1), None]}, ["logits", "aux[0]"]),
        ([Boxes(torch.ones(1), torch.ones(1))], ["[0].boxes", "[0].scores"]),
        (Answer(torch.ones(1), (torch.ones(1),)), ["logits", "hidden[0]"]),
        (Cache(torch.ones(1)), ["layers[0].keys", "layers[1].keys"]),
        ({"text": ["a", "b"], "n": 2}, ["text[0]", "text[1]", "n"]),
        ({0: torch.ones(1)}, ["0"]),
        (Node(torch.ones(1), Node(torch.ones(1))), ["value", "next.value"]),
    ],
)
def test_every_part_has_its_path(nest: Any, names: list[str]) -> None:
    assert list(outputs.read(nest)) == names


def test_parts_are_copied_and_of_their_kind() -> None:
    buffer = torch.zeros(2)
    kept = outputs.read({"a": [buffer], "b": numpy.ones(3, dtype="f4"), "c": torch.ones(2) > 0, "d": 7, "e": "x"})
    buffer.fill_(7)
    assert [outputs.kind_of(one) for one in kept.values()] == ["float", "float", "boolean", "integer", "string"]
    assert kept["a[0]"].tolist() == [0, 0]  # type: ignore[union-attr]
    assert kept["b"].dtype is torch.float64  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "odd",
    [
        torch.ones(2, dtype=torch.complex64).conj(),  # a lazy conjugate
        torch.eye(3).to_sparse(),
        torch.nn.Parameter(torch.ones(3)),
        torch.ones(3).neg().expand(2, 3),
        torch.ones(2, dtype=torch.bfloat16),
    ],
)
def test_tensors_of_any_class_are_read(odd: torch.Tensor) -> None:
    (kept,) = outputs.read(odd).values()
    assert isinstance(kept, torch.Tensor)
    assert kept.dtype is torch.float64
    assert bool(torch.isfinite(kept).all())


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # deprecated, and what native int8 models return
def test_tensors_that_keep_their_values_in_another_form_count_with_their_values() -> None:
    class Doubled(torch.Tensor):
        def dequantize(self) -> torch.Tensor:
            return self.as_subclass(torch.Tensor) * 2

    quantized = torch.quantize_per_tensor(torch.tensor([0.5, 1.0]), 0.5, 0, torch.quint8)
    values = [torch.tensor([1 + 2j]), torch.tensor([1.0]).as_subclass(Doubled), quantized, numpy.float32(3), 4]
    read = outputs.read(values).values()
    assert [one.tolist() for one in read if isinstance(one, torch.Tensor)] == [[[1, 2]], [2], [0.5, 1.0], 3, 4]


class Handle:
    """Something that does its work when it is turned into an array."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def __array__(self) -> Any:
        return self.x.numpy()


def _loop() -> list[Any]:
    loop: list[Any] = [torch.ones(1)]
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("unreadable", "message"),
    [
        (object(), "holds a object, of which no tensors can be read"),
        ({"a": iter([torch.ones(1)])}, "at a holds a list_iterator"),
        (Handle(torch.ones(1)), "holds a Handle"),
        (torch.ones(1, device="meta"), "on the meta device, where tensors hold no values"),
        (numpy.array([object()]), "array of objects"),
        ({"when": numpy.array(["2026-01-01"], dtype="M8[D]")}, "at when holds datetime64"),
        (_loop(), "holds a list"),
    ],
)
def test_what_cannot_be_read_is_one_clear_word(unreadable: Any, message: str) -> None:
    with pytest.raises(outputs.UnreadableOutput, match=message):
        outputs.read(unreadable)


def test_an_output_is_had_in_places_that_are_there_where_they_fit() -> None:
    given = {"a": torch.ones(3), "b": numpy.ones(2), "none": None, "c": "text"}
    places = outputs.places_for(outputs.ready(given))
    outputs.touch({"a": torch.full((3,), 2.0), "b": numpy.full(2, 3.0), "none": None, "c": "other"}, places)
    assert places[0].tolist() == [2.0] * 3
    assert places[1].tolist() == [3.0] * 2
    for other in ([torch.ones(4), numpy.ones(5)], [torch.ones(3).double()], [numpy.ones(2)], []):
        outputs.touch(other, places)
    assert places[0].tolist() == [2.0] * 3
    with pytest.raises(outputs.UnreadableOutput):
        outputs.touch([object()], places)


def test_devices_are_those_of_outputs_and_parameters() -> None:
    layer = torch.nn.Linear(2, 2)
    assert outputs.devices_of(layer(torch.ones(1, 2)), layer) == "cpu"
    assert outputs.devices_of({"a": torch.ones(1, device="meta")}, layer) == "cpu+meta"
    assert outputs.devices_of([numpy.ones(2)], torch.nn.ReLU()) == "cpu"


def test_figures_are_those_of_another_library(inputs: list[torch.Tensor]) -> None:
    check = checked(inputs, lambda x: model(x) + 0.01 * torch.roll(x, 1))
    pairs = [
        (model(x)[row].numpy().astype("f8"), (model(x) + 0.01 * torch.roll(x, 1))[row].numpy().astype("f8"))
        for x in inputs
        for row in range(2)
    ]
    norm = numpy.linalg.norm
    assert part(check).views["whole"].error == pytest.approx(max(norm(y - r) / norm(r) for r, y in pairs))
    assert part(check).cosine == pytest.approx(min(r @ y / norm(r) / norm(y) for r, y in pairs))
    assert part(check).max_abs == pytest.approx(max(abs(y - r).max() for r, y in pairs))
    assert part(check).top1_agreement == 1.0
    assert (check.inputs, part(check).views["whole"].noise, check.problem) == (3, 0.0, None)


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (lambda x: torch.full_like(x, float("nan")), "10 of 10 values are not finite"),
        (lambda x: model(x)[:1], "shape [1, 5], eager's is [2, 5]"),
        (lambda x: [model(x), x], "gives 2 outputs, eager gives 1"),
        (lambda x: [], "gives 0 outputs, eager gives 1"),
        (torch.zeros_like, "same output for inputs"),
        (lambda x: x.add_(1), "the conversion changes its input"),
        (lambda x: object(), "holds a object, of which no tensors"),
        (lambda x: "text", "gives strings, eager gives floats"),
    ],
)
def test_no_tolerance_excuses_a_wrong_form(inputs: list[torch.Tensor], lie: Any, message: str) -> None:
    problem = checked(inputs, lie).problem
    assert problem is not None
    assert message in problem


def test_another_nest_and_other_names_are_the_same_answer(inputs: list[torch.Tensor]) -> None:
    check = checked(inputs, lambda x: {"logits": (model(x),)})
    assert check.problem is None
    assert part(check).views["whole"].error == 0


def test_one_wrong_row_of_one_input_is_seen_undiluted(inputs: list[torch.Tensor]) -> None:
    last = inputs[-1]

    def lie(x: torch.Tensor) -> torch.Tensor:
        y = model(x)
        if torch.equal(x, last):
            y[1] = -y[1]
        return y

    check = checked(inputs, lie)
    assert part(check).views["whole"].error == pytest.approx(2.0)
    assert part(check).cosine == pytest.approx(-1.0)


WIDE = torch.randn(4, 16, 32, generator=torch.Generator().manual_seed(3))
MASK = torch.arange(32) >= 24


def _one_token(y: torch.Tensor) -> torch.Tensor:
    y[2, 7] = 0
    return y


def _one_channel(y: torch.Tensor) -> torch.Tensor:
    y[:, 5] *= 1.5
    return y


def _one_place(y: torch.Tensor) -> torch.Tensor:
    y[..., 3] = -y[..., 3]
    return y


def _behind_a_mask(y: torch.Tensor) -> torch.Tensor:
    return torch.where(MASK, y, -y)


@pytest.mark.parametrize(
    ("wrong", "view", "least"),
    [
        (_one_token, "row", 1.0),
        (_one_channel, "column", 0.4),
        (_one_place, "column", 1.9),
        (_behind_a_mask, "small", 1.9),
    ],
)
def test_an_error_that_is_small_beside_the_whole_is_large_in_its_view(wrong: Any, view: str, least: float) -> None:
    def of(x: torch.Tensor) -> torch.Tensor:
        y = WIDE * x
        return torch.where(MASK, torch.tensor(-1e9), y) if wrong is _behind_a_mask else y

    check = checked([torch.full((4, 1, 1), float(n)) for n in (1, 2)], lambda x: wrong(of(x)), of)
    views = part(check).views
    assert views[view].error >= least
    assert views["whole"].error < 0.5 * least


def test_one_class_of_a_thousand_shows_at_its_place_over_all_inputs() -> None:
    torch.manual_seed(0)
    classes, inputs = torch.randn(1000, 16), [torch.randn(1, 16) for _ in range(3)]

    def of(x: torch.Tensor) -> torch.Tensor:
        return x @ classes.T

    def wrong(x: torch.Tensor) -> torch.Tensor:
        y = of(x)
        y[:, 7] = 0
        return y

    views = part(checked(inputs, wrong, of)).views
    assert views["whole"].error < 0.1
    assert views["place"].error > 0.3
    assert "column" not in views
    assert "place" not in part(checked(inputs[:2], of, of)).views, "of two values nothing can be told"
    few = checked(inputs, lambda x: of(x)[:, :15], lambda x: of(x)[:, :15])
    assert set(part(few).views) == {"whole", "row"}, "what is wrong at one of few places shows in the whole"


def test_where_all_that_is_expected_is_zero_the_error_is_its_own_size(inputs: list[torch.Tensor]) -> None:
    check = checked(inputs, lambda x: torch.full_like(x, 3.0) + x * 1e-9, torch.zeros_like)
    assert part(check).views["row"].error == pytest.approx(3.0 * inputs[0].shape[-1] ** 0.5)


def test_one_output_of_two_is_said(inputs: list[torch.Tensor]) -> None:
    assert checked(inputs, lambda x: x, lambda x: [x, x]).problem == "input 1: gives 1 output, eager gives 2"


@pytest.mark.parametrize(("small", "of"), [(3, 30), (4, 200), (9, 200)])
def test_a_few_values_that_are_smaller_are_so_by_chance(small: int, of: int) -> None:
    sizes = torch.cat([torch.full((small,), 1e-6), torch.ones(of - small)])[None]
    assert "small" not in part(checked([sizes, 2 * sizes], lambda x: x, lambda x: x)).views


def test_a_part_is_named_where_there_are_several_and_its_shape_said(inputs: list[torch.Tensor]) -> None:
    assert checked(inputs, lambda x: x[:1], lambda x: x).problem == "input 1: shape [1, 5], eager's is [2, 5]"
    named = checked(inputs, lambda x: {"a": x[:1]}, lambda x: {"a": x})
    assert named.problem == "input 1: a: shape [1, 5], eager's is [2, 5]"


def test_which_value_is_the_largest_is_told_of_rows_only(inputs: list[torch.Tensor]) -> None:
    check = checked(inputs, lambda x: [x, x[:, :1], x[0]], lambda x: [x, x[:, :1], x[0]])
    assert [part(check, name).top1_agreement for name in ("[0]", "[1]", "[2]")] == [1.0, None, None]


def test_texts_are_as_many_as_eagers(inputs: list[torch.Tensor]) -> None:
    def texts(count: int) -> numpy.ndarray:
        return numpy.array(["a"] * count)

    assert checked(inputs, lambda x: texts(3), lambda x: texts(2)).problem == "input 1: 3 texts, eager gives 2"
    assert part(checked(inputs, lambda x: texts(0), lambda x: texts(0))).views == {}


def test_answers_are_equal_to_the_last_bit_or_not() -> None:
    one: outputs.Parts = {"a": torch.ones(2), "b": ("x",)}
    assert comparison.equal(one, {"a": torch.ones(2), "b": ("x",)})
    others: list[outputs.Parts] = [{**one, "b": ("y",)}, {**one, "a": torch.zeros(2)}, {"a": torch.ones(2)}]
    assert not any(comparison.equal(one, other) for other in others)


def test_the_cosine_with_nothing_is_one_of_nothing_alone(inputs: list[torch.Tensor]) -> None:
    assert part(checked(inputs, torch.zeros_like, torch.zeros_like)).cosine == 1.0
    assert part(checked(inputs, lambda x: torch.zeros_like(x) + x, torch.zeros_like)).cosine == 0.0


def test_figures_are_raised_to_the_worst_and_lowered_to_the_least() -> None:
    figures: comparison.Figures = {"a": {"whole": 1.0, "row": 1.0}}
    comparison.raise_to(figures, {"a": {"whole": 2.0, "row": 0.5}, "b": {"whole": 0.1}})
    assert figures == {"a": {"whole": 2.0, "row": 1.0}, "b": {"whole": 0.1}}
    comparison.lower_to(figures, {"a": {"whole": 0.5, "row": 3.0}, "c": {"whole": 4.0}})
    assert figures == {"a": {"whole": 0.5, "row": 1.0}, "b": {"whole": 0.1}, "c": {"whole": 4.0}}


def test_nonsense_is_zeros_and_rows_in_another_order() -> None:
    row, one = torch.tensor([[1.0, float("-inf"), 3.0]]), torch.tensor(2.0)
    torch.testing.assert_close(comparison.zeros(row), torch.tensor([[0.0, float("-inf"), 0.0]]))
    torch.testing.assert_close(comparison.reversed_rows(row), torch.tensor([[3.0, float("-inf"), 1.0]]))
    torch.testing.assert_close(comparison.reversed_rows(one), one)
    assert comparison.zeros(("a",)) == comparison.reversed_rows(("a",)) == ("a",)


def test_integers_without_a_value_have_no_share_that_differs(inputs: list[torch.Tensor]) -> None:
    def of(x: torch.Tensor) -> list[torch.Tensor]:
        return [x, torch.zeros(0, dtype=torch.int64)]

    assert part(checked(inputs, of, of), "[1]").views == {}


def test_leaves_do_not_hide_each_other(inputs: list[torch.Tensor]) -> None:
    def of(x: torch.Tensor) -> Boxes:
        return Boxes(1e5 * x, x.softmax(-1))

    check = checked(inputs, lambda x: Boxes(1e5 * x, x.softmax(-1).flip(-1)), of)
    assert check.parts[0].name == "scores"  # the furthest off comes first
    assert part(check, "scores").views["whole"].error > 0.1
    assert part(check, "boxes").views["whole"].error == 0


def test_integers_booleans_and_texts_are_exact(inputs: list[torch.Tensor]) -> None:
    def of(x: torch.Tensor) -> dict[str, Any]:
        return {"ids": (x * 9).long(), "keep": x > 0, "names": ["a", "b"]}

    def wrong(x: torch.Tensor) -> dict[str, Any]:
        return {"ids": (x * 9).long() + 1, "keep": x > 0, "names": ["a", "c"]}

    check = checked(inputs, wrong, of)
    assert part(check, "ids").views["differing"].error == 1.0
    assert part(check, "keep").views["differing"].error == 0.0
    assert part(check, "names[1]").views["differing"].error == 1.0


def test_an_argmax_that_flips_with_its_scores_is_no_error_of_its_own() -> None:
    tied = [torch.tensor([[1.0, 1.0 + 1e-6, 0.0]]), torch.tensor([[3.0, 1.0, 0.0]])]

    def of(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x.argmax(-1)

    def rounded(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = x.bfloat16().float()
        return y, y.argmax(-1)

    assert part(checked(tied, rounded, of), "[1]").views["differing"].error == 0
    off_by_one = checked(tied, lambda x: (x, x.argmax(-1) + 1), of)
    assert part(off_by_one, "[1]").views["differing"].error == 1.0


def test_an_integer_that_is_no_place_of_any_score_is_no_tie() -> None:
    def of(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x.argmax(-1)

    last = [torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[0.0, 1.0, 3.0]])]  # the next id is beyond all
    assert part(checked(last, lambda x: (x, x.argmax(-1) + 1), of), "[1]").views["differing"].error == 1.0
    one_class = [torch.ones(2, 1), torch.ones(2, 1) * 2]  # zeros are the place of the only score
    assert part(checked(one_class, lambda x: (x, x.argmax(-1) + 7), of), "[1]").views["differing"].error == 1.0


def test_what_is_all_but_zero_counts_as_a_share_of_what_is_typical() -> None:
    values = [torch.full((1, 1), v) for v in (1.0, -2.0, 1e-6, 1.5)]
    check = checked(values, lambda x: x + 1e-3, lambda x: x)
    error = part(check).views["whole"].error  # of 1e-6 it would be 1000
    assert error < 0.01


def test_of_very_many_parts_those_that_are_furthest_off_are_told() -> None:
    def of(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {**{f"keys{number}": x for number in range(150)}, "ids": (x * 9).long()}

    def off(x: torch.Tensor) -> dict[str, torch.Tensor]:
        ids = (x * 9).long()
        ids[0, 0] += 1
        return {**{f"keys{number}": x * 1.1 for number in range(150)}, "ids": ids}

    reference = Reference(of, [torch.randn(2, 50) for _ in range(3)])
    reference.losses["int8"] = {name: {"whole": 0.05, "row": 0.05} for name in reference.outputs[0]}
    check = reference.check(off, same, "int8")
    assert len(check.parts) == 100
    assert check.parts[0].name == "ids"


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    "odd",
    [
        torch.ones(3).as_subclass(type("Mine", (torch.Tensor,), {})),
        torch.ones(3, dtype=torch.int64).as_subclass(type("Mine", (torch.Tensor,), {})),
        numpy.ones((2, 3))[..., ::-1],
        numpy.str_("text"),
        {1: torch.ones(1), "1": torch.ones(1)},
    ],
)
def test_what_is_read_is_plain_and_complete(odd: Any, tmp_path: Any) -> None:
    parts = outputs.read(odd)
    assert len(parts) == (2 if isinstance(odd, dict) else 1)
    torch.save(parts, tmp_path / "kept.pt")
    kept = torch.load(tmp_path / "kept.pt", weights_only=True)
    assert list(kept) == list(parts)
    if isinstance(odd, torch.Tensor) and odd.dtype == torch.int64:
        assert outputs.kind_of(parts["output"]) == "integer"


def test_a_figure_that_is_no_number_is_as_far_off_as_can_be() -> None:
    huge = [torch.full((1, 4), 1e308, dtype=torch.float64), torch.full((1, 4), 9e307, dtype=torch.float64)]
    check = checked(huge, lambda x: -x, lambda x: x)
    assert part(check).views["whole"].error > 1


def test_what_is_not_finite_must_stand_at_the_same_places(inputs: list[torch.Tensor]) -> None:
    def of(x: torch.Tensor) -> torch.Tensor:
        return model(x).masked_fill(x < 0, float("-inf"))

    check = checked(inputs, lambda x: of(x) * 1.01, of)
    assert check.problem is None
    assert part(check).views["whole"].error == pytest.approx(0.01, rel=1e-4)
    assert "not finite" in str(checked(inputs, lambda x: -of(x), of).problem)
    assert "not finite" in str(checked(inputs, lambda x: of(x).nan_to_num(), of).problem)


def test_an_empty_output_has_no_figures(inputs: list[torch.Tensor]) -> None:
    check = checked(inputs, lambda x: x[:, :0], lambda x: x[:, :0])
    assert (part(check).elements, part(check).cosine, dict(part(check).views)) == (0, None, {})


def test_ragged_outputs_are_compared_input_by_input(inputs: list[torch.Tensor]) -> None:
    def of(x: torch.Tensor) -> torch.Tensor:
        return x[0][x[0] > 0]

    check = checked(inputs, of, of)
    assert part(check).elements == sum(int((x[0] > 0).sum()) for x in inputs)
    assert "shape" in str(checked(inputs, lambda x: of(x)[:-1], of).problem)


@pytest.mark.parametrize(
    "whole",
    [lambda x: x.sum(), lambda x: x.sum(0), lambda x: (model(x), x.sum()), lambda x: (x.sum(0), model(x))],
)
def test_an_output_without_a_batch_is_compared_as_one(inputs: list[torch.Tensor], whole: Callable[..., Any]) -> None:
    def off(x: torch.Tensor) -> Any:
        right = whole(x)
        return tuple(one * 1.01 for one in right) if isinstance(right, tuple) else right * 1.01

    for one in checked(inputs, off, whole).parts:
        assert one.views["whole"].error == pytest.approx(0.01, rel=1e-3)


def test_one_answer_that_serves_two_inputs_is_seen(inputs: list[torch.Tensor]) -> None:
    lies = {1: model(inputs[2])}
    answers = iter([lies.get(n, model(x)) for n, x in enumerate(inputs)])
    assert "same output" in str(checked(inputs, lambda _: next(answers)).problem)


def test_a_model_whose_answers_rounding_makes_one_is_not_blamed_on_its_conversion(inputs: list[torch.Tensor]) -> None:
    def collapsed(x: torch.Tensor) -> torch.Tensor:
        return torch.ones(2, 5) + 1e-6 * x

    reference = Reference(collapsed, inputs)
    reference.losses["bf16"] = {"output": {"whole": 4e-3}}
    assert reference.check(lambda x: collapsed(x).bfloat16(), same, "bf16").problem is None
    assert "same output" in str(reference.check(lambda x: torch.ones(2, 5), same, "fp32").problem)


def test_a_part_that_never_changes_is_left_alone(inputs: list[torch.Tensor]) -> None:
    constant = torch.ones(2, 3)

    def of(x: torch.Tensor) -> Any:
        return model(x), constant

    assert checked(inputs, of, of).problem is None
    assert "same output" in str(checked(inputs, lambda x: (torch.zeros_like(x), constant), of).problem)


def test_a_model_that_changes_its_own_input_may_be_converted_so(inputs: list[torch.Tensor]) -> None:
    def careless(x: torch.Tensor) -> torch.Tensor:
        return model(x.mul_(2))

    reference = Reference(careless, inputs)
    assert reference.changes_input
    assert reference.check(careless, same, "fp32").problem is None


def test_a_model_that_changes_some_of_its_inputs_is_known_by_them(inputs: list[torch.Tensor]) -> None:
    first = inputs[0].clone()
    assert Reference(lambda x: model(x.mul_(2) if torch.equal(x, first) else x), inputs).changes_input


def test_noise_is_known_and_whether_the_conversion_has_it_too(inputs: list[torch.Tensor]) -> None:
    generator = torch.Generator().manual_seed(1)

    def noisy(x: torch.Tensor) -> torch.Tensor:
        return model(x) + 1e-3 * torch.randn(x.shape, generator=generator)

    reference = Reference(noisy, inputs)
    assert 1e-5 < reference.largest_noise < 1e-1
    assert reference.check(noisy, same, "fp32").repeats is False
    assert reference.check(model, same, "fp32").repeats is True
    assert checked(inputs, model).repeats is None  # nobody asks where the model repeats itself


def test_a_form_that_changes_by_itself_is_undecidable_and_no_problem(inputs: list[torch.Tensor]) -> None:
    sizes = iter(range(1, 100))
    reference = Reference(lambda x: x[:, : 1 + next(sizes) % 5], inputs)
    check = reference.check(lambda x: x, same, "fp32")
    assert check.problem is None
    assert "shape" in str(check.undecidable)


def test_scales_are_told_apart_by_a_gap() -> None:
    assert comparison._small(torch.randn(10_000, generator=torch.Generator().manual_seed(0))) is None
    masked = torch.cat([torch.full((40,), -1e9), torch.randn(60, generator=torch.Generator().manual_seed(0))])
    small = comparison._small(masked)
    assert small is not None
    assert int(small.sum()) == 60
