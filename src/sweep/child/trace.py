"""One call of a conversion under torch's profiler: which operators ran, how, and in what precision."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

_COMPUTE = ("conv", "linear", "addmm", "aten::mm", "bmm", "matmul", "attention", "rnn", "lstm", "gru", "einsum")
"""Parts of the names of the operators that do a network's work; the rest moves, reshapes or adjusts."""

_PASSIVE = {
    *("aten::alias", "aten::clone", "aten::contiguous", "aten::copy_", "aten::detach", "aten::empty", "aten::equal"),
    *("aten::empty_like", "aten::empty_strided", "aten::item", "aten::lift_fresh", "aten::resolve_conj"),
    *("aten::resolve_neg", "aten::select", "aten::to", "aten::_to_copy", "aten::view"),
}
"""Operators that only pass a tensor on, look at it or copy it: a call that runs no others has not run the model."""

_PRECISIONS = {"float": "fp32", "c10::Half": "fp16", "c10::BFloat16": "bf16", "double": "fp64"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """What one call did. `names` counts every event, `outside` the operators that no other event contains.

    `precisions` are those of the tensors that computing operators were given, `calls` how often each
    function in `counted` was called and came back without an exception.
    """

    names: Counter[str]
    outside: Counter[str]
    precisions: frozenset[str]
    calls: Counter[str] = field(default_factory=Counter)

    def count(self, *parts: str) -> int:
        """How many events have one of these in their name."""
        return sum(n for name, n in self.names.items() if any(part in name for part in parts))

    @property
    def compiled_regions(self) -> int:
        """Regions that TorchDynamo compiled, with whichever backend, and that ran."""
        return self.count("Torch-Compiled Region")

    @property
    def inductor_graphs(self) -> int:
        return self.count("CompiledFxGraph")

    @property
    def scripted(self) -> int:
        """Calls of TorchScript's interpreter, which records each under the name of the method that it runs."""
        return self.names["forward"]

    @property
    def operators(self) -> int:
        """Operators of torch that computed, inside a compiled region or not."""
        return sum(n for name, n in self.names.items() if _computes(name))

    @property
    def operators_outside(self) -> int:
        return sum(n for name, n in self.outside.items() if name.startswith("aten::") and _computes(name))

    @property
    def what_ran(self) -> str:
        """The engine that these events are the mark of; `nothing` where torch did no more than pass tensors on."""
        if self.inductor_graphs:
            return "inductor"
        if self.compiled_regions:
            return "dynamo"
        if self.scripted:
            return "torchscript"
        working = any(name.startswith(("aten::", "quantized::")) and name not in _PASSIVE for name in self.names)
        return "eager" if working else "nothing"


def _computes(name: str) -> bool:
    return any(part in name for part in _COMPUTE)


def trace(
    call: Callable[[], Any], device: torch.device, counted: dict[str, tuple[Any, str]] | None = None
) -> tuple[Trace, Any]:
    """Call once under the profiler; returns what ran and what the call returned.

    `counted` names functions, as (owner, attribute), whose calls are counted; they are put back afterwards.
    """
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    calls: Counter[str] = Counter()
    with _counting(counted or {}, calls), profile(activities=activities, record_shapes=True) as profiled:
        output = call()
    events = list(profiled.events() or [])
    kineto: Any = profiled.profiler
    precisions = {
        _PRECISIONS[dtype]
        for event in kineto.kineto_results.events()
        if _computes(event.name())
        for dtype in event.dtypes()
        if dtype in _PRECISIONS
    }
    traced = Trace(
        names=Counter(event.name for event in events),
        outside=Counter(event.name for event in events if event.cpu_parent is None),
        precisions=frozenset(precisions),
        calls=calls,
    )
    return traced, output


@contextmanager
def _counting(counted: dict[str, tuple[Any, str]], calls: Counter[str]) -> Iterator[None]:
    originals = {name: getattr(owner, attribute) for name, (owner, attribute) in counted.items()}

    def counting(name: str) -> Callable[..., Any]:
        def call_and_count(*args: Any, **kwargs: Any) -> Any:
            output = originals[name](*args, **kwargs)
            calls[name] += 1
            return output

        return call_and_count

    for name, (owner, attribute) in counted.items():
        setattr(owner, attribute, counting(name))
    try:
        yield
    finally:
        for name, (owner, attribute) in counted.items():
            setattr(owner, attribute, originals[name])
