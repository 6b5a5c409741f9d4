"""What an honest conversion loses on a model: the model itself with its numbers rounded as a label says.

Nothing of an engine is used: weights, and where the label says so what operators are given or give, are rounded to the
grid of a format, and torch computes in fp32 with them.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from sweep.child import data
from sweep.child.data import Data
from sweep.child.variants import Forward, copied

Rounding = Callable[[torch.Tensor], torch.Tensor]

COMPUTING = ("conv", "addmm", "mm", "bmm", "baddbmm", "linear", "matmul", "scaled_dot_product", "lstm", "gru", "rnn")
"""Operators that get their activations rounded by engines that quantise; parts of their names."""

GROUP = 128
"""Weights that share a scale, of formats below 8 bits, where a row of them is divided by it without rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Honest:
    """How a class of labels rounds: all that is computed to `dtype`; or `weights`, and `activations` to 8 bits."""

    dtype: torch.dtype | None = None
    weights: Rounding | None = None
    activations: bool = False


def per_channel(bits: int) -> Rounding:
    """Symmetric, a scale for each output channel."""
    most = 2 ** (bits - 1) - 1

    def rounded(weight: torch.Tensor) -> torch.Tensor:
        rows = weight.reshape(weight.shape[0], -1)
        scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-30) / most
        narrow: torch.Tensor = (rows / scale).round().clamp(-most - 1, most) * scale
        return narrow.reshape(weight.shape)

    return rounded


def in_groups(bits: int) -> Rounding:
    """With a scale and a shift for each group of weights of an output channel."""

    def rounded(weight: torch.Tensor) -> torch.Tensor:
        rows = weight.reshape(weight.shape[0], -1)
        groups = rows.reshape(-1, GROUP if rows.shape[1] % GROUP == 0 else rows.shape[1])
        least, most = groups.amin(1, keepdim=True).clamp(max=0), groups.amax(1, keepdim=True).clamp(min=0)
        scale = (most - least).clamp(min=1e-30) / (2**bits - 1)
        shift = (least / scale).round()
        kept = ((groups / scale).round() - shift).clamp(0, 2**bits - 1)
        narrow: torch.Tensor = (kept + shift) * scale
        return narrow.reshape(weight.shape)

    return rounded


def float8(dtype: torch.dtype) -> Rounding:
    """With a scale for each output channel."""
    most = torch.finfo(dtype).max

    def rounded(weight: torch.Tensor) -> torch.Tensor:
        rows = weight.reshape(weight.shape[0], -1)
        scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-30) / most
        return ((rows / scale).to(dtype).float() * scale).reshape(weight.shape)

    return rounded


CLASSES: dict[str, Honest] = {
    "fp16": Honest(dtype=torch.float16),
    "bf16": Honest(dtype=torch.bfloat16),
    "int8": Honest(weights=per_channel(8)),
    "int8_static": Honest(weights=per_channel(8), activations=True),
    "fp8_e4m3": Honest(weights=float8(torch.float8_e4m3fn)),
    "fp8_e5m2": Honest(weights=float8(torch.float8_e5m2)),
    "int4": Honest(weights=in_groups(4)),
    "int2": Honest(weights=in_groups(2)),
    "int4_static": Honest(weights=in_groups(4), activations=True),
    "int2_static": Honest(weights=in_groups(2), activations=True),
}
"""By the names that `verdict.output.loss_class` gives labels; fp32 is compared with fp64 instead."""


def ways(model: torch.nn.Module, example: Data, honest: Honest) -> Iterator[AbstractContextManager[Forward]]:
    """The model, as an honest conversion computes it, in the ways to have that, the best first.

    Half precision is torch's own; where the model does not run so, what every operator gives is rounded to it. Their
    contexts raise what the model raises, or a copy of it.
    """
    if honest.dtype is None:
        yield _with_narrow_weights(model, example, honest)
        return
    yield _cast(model, honest.dtype)
    yield _rounding_all(model, honest.dtype)


@contextmanager
def _cast(model: torch.nn.Module, dtype: torch.dtype) -> Iterator[Forward]:
    other = copied(model).to(dtype)
    yield lambda x: other(data.floats_to(x, dtype))


@contextmanager
def _rounding_all(model: torch.nn.Module, dtype: torch.dtype) -> Iterator[Forward]:
    other = copied(model).float()
    for tensor in (*other.parameters(), *other.buffers()):
        if tensor.dtype == torch.float32:
            tensor.data = tensor.to(dtype).float()
    with _Outputs(dtype):
        yield lambda x: other(_to_and_back(x, dtype))


@contextmanager
def _with_narrow_weights(model: torch.nn.Module, example: Data, honest: Honest) -> Iterator[Forward]:
    other = copied(model)
    if any(parameter.dtype == torch.float64 for parameter in other.parameters()):
        other, example = other.float(), data.in_fp32(example)
    assert honest.weights is not None
    for weight in quantized(other):
        if weight.numel():
            weight.data = honest.weights(weight.data.float()).to(weight.dtype)
    if not honest.activations:
        yield lambda x: other(data.in_fp32(x))
        return
    ranges = _Ranges({parameter.untyped_storage().data_ptr() for parameter in other.parameters()})
    with ranges:
        other(data.clone(example))

    def forward(x: Data) -> Any:
        with ranges.applied():
            return other(data.in_fp32(x))

    yield forward


def quantized(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The weights that engines quantise: of linear layers and convolutions; all matrices where there are none."""
    kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    of_layers = [module.weight for module in model.modules() if isinstance(module, kinds)]
    return [weight for weight in of_layers if isinstance(weight, torch.nn.Parameter)] or [
        p for p in model.parameters() if p.dim() > 1
    ]


def _to_and_back(x: Data, dtype: torch.dtype) -> Data:
    return data.floats_to(data.floats_to(x, dtype), torch.float32)


class _Outputs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Rounds what every operator gives."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._dtype = dtype

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if not _is_view(func):
            for leaf in _pytree.tree_leaves(output):
                if isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float32:
                    with suppress(RuntimeError):  # of an expanded tensor several elements are one: it stays
                        leaf.copy_(leaf.to(self._dtype))
        return output


class _Ranges(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Finds the ranges of what computing operators are given, call by call; then rounds it to 8 bits within these."""

    def __init__(self, weights: set[int]) -> None:
        """`weights` are where the storages of the model's weights begin."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights = weights
        self._ranges: list[tuple[str, float, float]] | None = None
        self._found: list[tuple[str, float, float]] = []

    def applied(self) -> AbstractContextManager[Any]:
        """From now on round; once for each call of the model."""
        self._ranges = self._found if self._ranges is None else self._ranges
        self._found = []
        return self if self._ranges else nullcontext()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if any(part in name for part in COMPUTING):
            args = [self._seen(name, a) if self._is_activation(a) else a for a in args]
        return func(*args, **(kwargs or {}))

    def _is_activation(self, value: Any) -> bool:
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32 or value.dim() < 2:
            return False
        return value.untyped_storage().data_ptr() not in self._weights

    def _seen(self, name: str, activation: torch.Tensor) -> torch.Tensor:
        least, most = (float(value) for value in activation.aminmax())
        if not math.isfinite(least) or not math.isfinite(most):
            least = most = 0.0
        self._found.append((name, min(least, 0.0), max(most, 0.0)))
        if self._ranges is None:
            return activation
        place = len(self._found) - 1
        if place < len(self._ranges) and self._ranges[place][0] == name:  # else it went another way with this input
            _, least, most = self._ranges[place]
        scale = (most - least) / 255
        if not scale > 0:
            return activation
        zero = round(-least / scale)
        return (((activation / scale).round() + zero).clamp(0, 255) - zero) * scale


def _is_view(func: Any) -> bool:
    return bool(getattr(func, "is_view", False))
