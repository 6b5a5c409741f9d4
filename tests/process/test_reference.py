"""What honest conversions lose on a model, what nonsense would, and what is odd about the model itself."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.nn import functional

from sweep.child import examine, rounding
from sweep.child.reference import Reference

FLOAT32 = torch.float32


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def inputs_of(*shape: int, count: int = 8) -> list[torch.Tensor]:
    return [torch.randn(2, *shape) for _ in range(count)]


def referenced(model: torch.nn.Module, inputs: list[torch.Tensor]) -> Reference:
    reference = Reference(model, inputs)
    reference.find_losses(model.eval(), inputs[-1])
    return reference


class Attention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.of = torch.nn.MultiheadAttention(32, 4, batch_first=True)
        self.norm = torch.nn.LayerNorm(32)

    def forward(self, x: torch.Tensor) -> Any:
        return self.norm(x + self.of(x, x, x, need_weights=False)[0])


def cnn() -> torch.nn.Module:
    layers = [torch.nn.Conv2d(3, 16, 3), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(8 * 12 * 12, 10)).eval()


def mlp() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 10)).eval()


MODELS: list[tuple[Callable[[], torch.nn.Module], tuple[int, ...]]] = [
    (cnn, (3, 16, 16)),
    (mlp, (64,)),
    (Attention, (16, 32)),
    (lambda: torch.nn.LSTM(16, 32, batch_first=True), (10, 16)),
]


@pytest.mark.parametrize(("build", "shape"), MODELS)
@pytest.mark.parametrize(("name", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_what_half_precision_loses_is_what_torch_itself_loses(
    build: Callable[[], torch.nn.Module], shape: tuple[int, ...], name: str, dtype: torch.dtype
) -> None:
    model, inputs = build().eval(), inputs_of(*shape)
    reference = referenced(model, inputs)
    loss = reference.worst_loss(name)
    assert loss is not None
    model.to(dtype)
    parts = reference.check(model, lambda x: x.to(dtype), name).parts
    error = max(part.views["whole"].error for part in parts)
    assert loss / 4 < error < 4 * loss  # what conf/tolerance allows


@pytest.mark.parametrize(("build", "shape"), MODELS[:2])
@pytest.mark.parametrize(("name", "kind"), [("int8", "qint8"), ("fp8_e4m3", "qfloat8_e4m3fn"), ("int4", "qint4")])
def test_what_narrow_weights_lose_is_what_quanto_loses(
    build: Callable[[], torch.nn.Module], shape: tuple[int, ...], name: str, kind: str
) -> None:
    from optimum import quanto

    model, inputs = build(), inputs_of(*shape)
    reference = referenced(model, inputs)
    loss = reference.worst_loss(name)
    assert loss is not None
    quanto.quantize(model, weights=getattr(quanto, kind))
    quanto.freeze(model)
    error = reference.check(model, lambda x: x, name).parts[0].views["whole"].error
    assert loss / 3 < error < 3 * loss


@pytest.mark.parametrize(("build", "shape"), MODELS)
def test_nothing_that_is_computed_changes_the_model(
    build: Callable[[], torch.nn.Module], shape: tuple[int, ...]
) -> None:
    model, inputs = build().eval(), inputs_of(*shape)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    reference = referenced(model, inputs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert set(reference.losses) == {"fp32", *rounding.CLASSES}
    assert max(part.views["whole"].error for part in reference.check(model, lambda x: x, "fp32").parts) == 0


def test_coarser_formats_lose_more() -> None:
    reference = referenced(cnn(), inputs_of(3, 16, 16))
    order = ["fp32", "fp16", "bf16", "int8", "fp8_e4m3", "int4", "int2"]
    losses = [reference.worst_loss(name) for name in order]
    assert losses == sorted(losses)  # type: ignore[type-var]


def referenced_by(model: torch.nn.Module, inputs: list[torch.Tensor], example: torch.Tensor) -> float | None:
    reference = Reference(model, inputs)
    reference.find_losses(model, example)
    return reference.worst_loss("int8_static")


def test_static_ranges_that_one_input_gave_clip_others() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8)).eval()
    inputs = [10 * x for x in inputs_of(8)]
    narrow, fitting = (referenced_by(model, inputs, example) for example in (inputs[0] / 10, inputs[0]))
    assert narrow is not None
    assert fitting is not None
    assert narrow > 3 * fitting


def test_nonsense_is_far_off_in_every_view() -> None:
    reference = referenced(cnn(), inputs_of(3, 16, 16))
    assert min(reference.nonsense["output"].values()) > 0.5


def test_an_output_that_no_weights_change_has_no_other_models_answer() -> None:
    class WithAnchors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)
            self.anchors = torch.arange(6.0)

        def forward(self, x: torch.Tensor) -> Any:
            return self.layer(x), self.anchors

    reference = referenced(WithAnchors(), inputs_of(4))
    assert reference.constant == ["[1]"]
    assert set(reference.nonsense) == {"[0]"}


def test_a_forward_that_was_put_there_by_hand_has_no_losses() -> None:
    """A copy of it goes on using the model itself, and would lose nothing."""
    model = mlp()
    original = model.forward
    model.forward = lambda x: original(x) + 0
    reference = referenced(model, inputs_of(64))
    assert reference.losses == {}


def test_a_model_of_half_precision_has_the_losses_of_its_weights() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(50, 64), torch.nn.Linear(64, 64)).bfloat16().eval()
    reference = Reference(model, [torch.randint(50, (2, 9)) for _ in range(4)])
    reference.find_losses(model, torch.randint(50, (2, 9)))
    loss = reference.worst_loss("int8")
    assert loss is not None
    assert loss > 1e-3
    assert not list(examine.of_its_rounding(reference, model))


def test_a_model_that_would_not_fit_twice_is_not_copied() -> None:
    reference = Reference(mlp(), inputs_of(64))
    reference.find_losses(mlp(), inputs_of(64)[0], most_memory=1.0)
    assert reference.losses == {}
    assert reference.nonsense  # zeros take no copy


def test_an_answer_that_changes_with_use_is_said() -> None:
    calls = [0]

    def drifts(x: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return x.cumsum(-1) * (1 if calls[0] < 100 else 1.1)

    reference = Reference(drifts, inputs_of(8))
    assert not list(examine.of_its_answers(reference, drifts))
    calls[0] = 100
    before = reference.largest_noise
    reference.answer_again(drifts)
    (found,) = examine.of_many_calls(reference, before)
    assert found.kind == "state"


def test_a_model_that_cannot_be_copied_has_no_losses() -> None:
    class Alone(torch.nn.Linear):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("there can be only one")

    model = Alone(4, 4)
    assert referenced(model, inputs_of(4)).losses == {}


def test_a_model_that_does_not_run_in_fp64_is_compared_with_one_whose_weights_are_the_next_numbers() -> None:
    class Only32(torch.nn.Sequential):
        def forward(self, x: torch.Tensor) -> Any:
            if x.dtype is not torch.float32:
                raise RuntimeError("fp32 only")
            return super().forward(x)  # type: ignore[no-untyped-call]

    layers = [torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 8)]
    only32, free = Only32(*layers), torch.nn.Sequential(*layers)
    inputs = inputs_of(64)
    here, there = (referenced(model, inputs).worst_loss("fp32") for model in (only32, free))
    assert here is not None
    assert there is not None
    assert there / 5 < here < there * 5


def test_a_choice_that_rounding_decides_over_leaves_nothing_to_say() -> None:
    class Keeps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(64, 400)

        def forward(self, x: torch.Tensor) -> Any:
            y = self.layer(x[0])
            return y[y.abs() > 0.5]

    reference = referenced(Keeps(), inputs_of(64))
    assert reference.worst_loss("bf16") == float("inf")
    check = reference.check(lambda x: torch.ones(3), lambda x: x, "bf16")
    assert check.problem is None
    assert "shape" in str(check.undecidable)


class Kept(torch.nn.Module):
    """What a model must not be: each kind, one at a time."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.layer, self.calls = kind, torch.nn.Linear(16, 16), 0
        self.mean = torch.nn.Buffer(torch.zeros(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer({"constant": x * 0, "insensitive": x * 1e-6}.get(self.kind, x))
        match self.kind:
            case "random":
                y = functional.dropout(y, 0.5)
            case "state":
                self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
                y = y - self.mean
            case "input":
                x.sub_(0.5)
            case "rounding":  # the mean of what was just normalised: 0, but for rounding
                y = functional.normalize(functional.layer_norm(x, (16,)).mean(1, keepdim=True), dim=1) * y
        return y


@pytest.mark.parametrize("kind", ["random", "state", "input", "constant", "insensitive", "rounding"])
def test_what_is_odd_about_a_model_is_said_of_it(kind: str) -> None:
    model = Kept(kind).eval()
    reference = Reference(model, inputs_of(16))
    found = list(examine.of_its_answers(reference, model))
    reference.find_losses(model, torch.randn(2, 16))
    found += examine.of_its_rounding(reference, model)
    assert [one.kind for one in found] == [kind]


def test_additions_in_another_order_are_no_dropout() -> None:
    layer = torch.nn.Linear(16, 16)
    reference = Reference(lambda x: layer(x) * (1 + 1e-6 * torch.rand(1)), inputs_of(16))
    (found,) = examine.of_its_answers(reference, layer)
    assert found.kind == "noise"


def test_nothing_is_said_of_a_model_that_is_as_it_should_be() -> None:
    model = cnn()
    reference = referenced(model, inputs_of(3, 16, 16))
    assert [*examine.of_the_model(model), *examine.of_its_answers(reference, model)] == []
    assert list(examine.of_its_rounding(reference, model)) == []


def test_what_calls_change_in_the_process_is_put_back_and_said() -> None:
    surroundings = examine.Surroundings()
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    torch.set_default_dtype(torch.float64)
    try:
        found = list(surroundings.restored())
        assert [one.kind for one in found] == ["threads", "dtype"]
        assert torch.get_num_threads() == threads
        assert not list(surroundings.restored())
    finally:
        torch.set_default_dtype(FLOAT32)


def test_calls_that_leave_something_behind_are_said() -> None:
    (found,) = examine.of_its_memory(2e6, 2000)
    assert found.text == "keeps something of every call: 1.0 KB each"
    assert not list(examine.of_its_memory(4e5, 10))  # an allocator's pool, say
    assert not list(examine.of_its_memory(6e5, 100_000))


def test_hooks_of_a_model_and_its_float64_weights_are_said() -> None:
    model = torch.nn.Linear(2, 2).double()
    model.register_forward_pre_hook(lambda module, given: given)
    assert [one.kind for one in examine.of_the_model(model)] == ["hooks", "dtype"]


def test_a_float64_model_is_compared_with_itself_in_fp32() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3)).double().eval()
    inputs = [x.double() for x in inputs_of(16)]
    reference = referenced(model, inputs)
    fp32, bf16 = reference.worst_loss("fp32"), reference.worst_loss("bf16")
    assert fp32 is not None
    assert bf16 is not None
    assert 1e-9 < fp32 < 1e-5 < bf16
