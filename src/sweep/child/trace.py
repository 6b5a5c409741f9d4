"""One call of a conversion under torch's profiler: which operators ran, how, and in what precision."""

import math
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from sweep.child import device as devices
from sweep.child.kernels import LAUNCH, USER_SCOPE, OnDevice, Span, attributed, driver_calls, kernels

_COMPUTE = ("conv", "linear", "addmm", "aten::mm", "bmm", "matmul", "attention", "rnn", "lstm", "gru", "einsum")
"""Parts of the names of the operators that do a network's work; the rest moves, reshapes or adjusts."""

_PASSIVE = {
    *("aten::alias", "aten::clone", "aten::contiguous", "aten::copy_", "aten::detach", "aten::empty", "aten::equal"),
    *("aten::empty_like", "aten::empty_strided", "aten::item", "aten::lift_fresh", "aten::resolve_conj"),
    *("aten::resolve_neg", "aten::select", "aten::to", "aten::_to_copy", "aten::view", "aten::t", "aten::numpy_T"),
}
"""Operators that only pass a tensor on, look at it or copy it: a call that runs no others has not run the model."""

_PRECISIONS = {"float": "fp32", "c10::Half": "fp16", "c10::BFloat16": "bf16", "double": "fp64"}


_TORCHSCRIPT_FUNCTION = 2
"""The scope that the profiler gives what TorchScript's interpreter runs."""

MOST_OUTSIDE = 3
"""Operators that are named of those that ran outside an engine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """What one call did. `names` counts every event of the CPU, `outside` the operators that no other event contains.

    `precisions` are those of the tensors that computing operators were given, `calls` how often each function in
    `counted` was called and came back without an exception, `called` the objects whose methods they are. `inside` are
    the seconds within these and within what TorchScript and Inductor ran, by engine; `by_torch` those of torch's
    operators outside of all of them, by name; on a device of kernels. `on_device` is what ran there; None on a CPU, and
    where the profiler sees nothing, and then nothing is known of `inside` and `by_torch`.
    """

    names: Counter[str]
    outside: Counter[str]
    precisions: frozenset[str]
    calls: Counter[str] = field(default_factory=Counter)
    called: tuple[Any, ...] = ()
    inside: Mapping[str, float] = field(default_factory=dict)
    by_torch: Mapping[str, float] = field(default_factory=dict)
    scripted: int = 0
    on_device: OnDevice | None = None

    def count(self, *parts: str) -> int:
        """How many events have one of these in their name."""
        return sum(n for name, n in self.names.items() if any(part in name for part in parts))

    @property
    def compiled_regions(self) -> int:
        """Regions that TorchDynamo compiled, with whichever backend, and that ran."""
        return self.count("Torch-Compiled Region")

    @property
    def inductor_graphs(self) -> int:
        return self.calls[INDUCTOR]

    @property
    def operators(self) -> int:
        """Operators of torch that computed, inside a compiled region or not."""
        return sum(n for name, n in self.names.items() if _computes(name))

    @property
    def graph_launches(self) -> int:
        """How many CUDA graphs were launched."""
        return self.count("cudaGraphLaunch", "cuGraphLaunch", "hipGraphLaunch")

    @property
    def operators_outside(self) -> int:
        return sum(n for name, n in self.outside.items() if name.startswith("aten::") and _computes(name))

    @property
    def what_ran(self) -> str:
        """The engine that these events are the mark of; `nothing` where torch did no more than pass tensors on."""
        if self.inductor_graphs:
            return INDUCTOR
        if self.compiled_regions:
            return "dynamo"
        if self.scripted:
            return TORCHSCRIPT
        return self.what_torch_ran

    @property
    def what_torch_ran(self) -> str:
        """`eager` where torch's own operators ran, whoever called them; else `nothing`."""
        working = any(name.startswith(("aten::", "quantized::")) and name not in _PASSIVE for name in self.names)
        return "eager" if working else "nothing"

    def share(self, *engines: str) -> float | None:
        """The share of the time in which something was computed that was spent inside these; None of no time."""
        inside = math.fsum(self.inside.get(engine, 0.0) for engine in engines)
        total = inside + math.fsum(self.by_torch.values())
        return inside / total if total else None

    @property
    def most_outside(self) -> tuple[str, ...]:
        """The operators of torch that took the most time outside of all engines."""
        ordered = sorted(self.by_torch, key=lambda name: -self.by_torch[name])
        return tuple(name.removeprefix("aten::") for name in ordered[:MOST_OUTSIDE])


INDUCTOR, TORCHSCRIPT, TENSORRT = "inductor", "torchscript", "tensorrt"

OPERATOR_OF_TENSORRT = "tensorrt::execute_engine"
"""torch-tensorrt's operator that runs an engine, by either of its runtimes."""


def _computes(name: str) -> bool:
    return any(part in name for part in _COMPUTE)


Counted = Mapping[str, Sequence[tuple[Any, str]]]
"""By a name of their own, functions as (owner, attribute): whoever calls them, their calls are counted and timed."""


def trace(call: Callable[[], Any], device: torch.device, counted: Counted | None = None) -> tuple[Trace, Any]:
    """Call once under the profiler; returns what ran and what the call returned.

    Functions in `counted` are put back afterwards. Their marks cannot be forged: no code knows their names beforehand.
    """
    from torch._inductor.output_code import CompiledFxGraph

    runs_on = devices.of(device.type)
    activities = {ProfilerActivity.CPU, runs_on.activity or ProfilerActivity.CPU}
    calls: Counter[str] = Counter()
    called: dict[int, Any] = {}
    every = {**(counted or {}), INDUCTOR: [(CompiledFxGraph, "__call__")]}
    marks = {f"{name} {secrets.token_hex(8)}": name for name in every}
    with _counting(every, marks, calls, called), profile(activities=activities, record_shapes=True) as profiled:
        output = call()
        runs_on.wait()  # its kernels are part of the call; and this is a call of the driver's that must be seen
    events = list(profiled.events() or [])
    kineto: Any = profiled.profiler
    precisions = {
        _PRECISIONS[dtype]
        for event in kineto.kineto_results.events()
        if _computes(event.name())
        for dtype in event.dtypes()
        if dtype in _PRECISIONS
    }
    real = [event for event in events if event.device_type.name == "CPU" and not _is_forged(event)]
    spans = _spans(events, marks)
    on_device = _on_device(events, spans) if runs_on.activity else None
    inside, by_torch = _times(spans) if runs_on.kind == "cpu" else ({}, {})
    if on_device:
        inside, by_torch = on_device.inside, on_device.outside
    traced = Trace(
        names=Counter(event.name for event in real),
        outside=Counter(event.name for event in real if event.cpu_parent is None),
        precisions=frozenset(precisions),
        calls=calls,
        called=tuple(called.values()),
        inside=inside,
        by_torch=by_torch,
        scripted=sum(event.scope == _TORCHSCRIPT_FUNCTION for event in events),
        on_device=on_device,
    )
    return traced, output


def _on_device(events: Sequence[Any], spans: Sequence[Span]) -> OnDevice | None:
    """What ran on the device; None where the profiler sees nothing of it."""
    ran = kernels(events)
    if not ran and not driver_calls(events):
        return None
    passing = _outermost_named(events, lambda name: name in _PASSIVE)
    computing = _outermost_named(events, lambda name: name.startswith("aten::") and _computes(name))
    return attributed(ran, spans, computing, passing)


def _is_forged(event: Any) -> bool:
    """Whether a user's `record_function` has a name that torch and drivers give what they run themselves."""
    if event.scope != USER_SCOPE:
        return False
    return event.name.startswith(("aten::", "quantized::", "tensorrt::", "cuda")) or bool(LAUNCH.fullmatch(event.name))


def _times(spans: Sequence[Span]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of the CPU inside each engine, and of torch's computing operators outside of all."""
    inside: dict[str, float] = defaultdict(float)
    by_torch: dict[str, float] = defaultdict(float)
    for span in spans:
        (inside if span.engine else by_torch)[span.engine or span.name] += (span.end - span.begin) / 1e6
    return dict(inside), dict(by_torch)


def _spans(events: Sequence[Any], marks: Mapping[str, str]) -> list[Span]:
    """The outermost events that are an engine's, or operators of torch that compute, each with all it calls."""

    def kind(event: Any) -> str | None:
        if event.name.startswith(OPERATOR_OF_TENSORRT):
            return TENSORRT
        return marks.get(event.name) or (TORCHSCRIPT if event.scope == _TORCHSCRIPT_FUNCTION else None)

    def computes(event: Any) -> bool:
        return event.name.startswith(("aten::", "quantized::")) and event.name not in _PASSIVE

    def counts(event: Any) -> bool:
        return bool(kind(event)) or computes(event)

    return [_span(event, kind(event)) for event in _outermost(events, counts)]


def _outermost_named(events: Sequence[Any], counts: Callable[[str], bool]) -> list[Span]:
    """The outermost events with such names, whatever runs them."""
    return [_span(event) for event in _outermost(events, lambda event: counts(event.name))]


def _outermost(events: Sequence[Any], counts: Callable[[Any], bool]) -> Iterator[Any]:
    """The events of the CPU that count and that are within no other that does."""

    def does(event: Any) -> bool:
        return event.device_type.name == "CPU" and counts(event) and not _is_forged(event)

    for event in filter(does, events):
        above, parent = False, event.cpu_parent
        while parent is not None and not above:
            above, parent = does(parent), parent.cpu_parent
        if not above:
            yield event


def _span(event: Any, engine: str | None = None) -> Span:
    return Span(name=event.name, begin=event.time_range.start, end=event.time_range.end, engine=engine)


@contextmanager
def _counting(
    counted: Counted, marks: Mapping[str, str], calls: Counter[str], called: dict[int, Any]
) -> Iterator[None]:
    running: list[str] = []
    mark_of = {name: mark for mark, name in marks.items()}
    originals = [
        (owner, attribute, vars(owner).get(attribute), getattr(owner, attribute), name)
        for name, places in counted.items()
        for owner, attribute in places
    ]

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call_and_count(*args: Any, **kwargs: Any) -> Any:
            if name in running:  # one of its functions calls another
                return original(*args, **kwargs)
            running.append(name)
            try:
                with record_function(mark_of[name]):
                    output = original(*args, **kwargs)
            finally:
                running.remove(name)
            calls[name] += 1
            called.update({id(one): one for one in args[:1]})
            return output

        return call_and_count

    for owner, attribute, _, original, name in originals:
        setattr(owner, attribute, counting(name, original))
    try:
        yield
    finally:
        for owner, attribute, own, _, _ in originals:
            if own is None:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, own)
