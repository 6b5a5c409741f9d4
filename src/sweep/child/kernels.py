"""What ran on a device in one traced call: kernels, what launched each, and whose they are. Pure: from events.

A device's events have no parents. But a kernel has the number of the call of the driver's that launched it, which is an
event of the CPU with a time: whatever of torch or of an engine was going on then is what the kernel belongs to. All
kernels of a CUDA graph have the number of the call that launched the graph.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

USER_SCOPE = 7
"""The scope that the profiler gives a user's `record_function`."""

LAUNCH = re.compile(r"(cuda|cu|hip|ur|ze)[A-Z]\w*")
"""Calls of the drivers of CUDA, HIP and Level Zero."""

KNOWN = ("cuda", "xpu")
"""The kinds of devices whose drivers these are: there a profiler that sees no such call is blind."""

GRAPH_LAUNCH = re.compile(r"(cuda|cu|hip)GraphLaunch")

_NO_KERNEL = re.compile(r"Mem(cpy|set)\b|.* Sync$")
"""Copies and waits, which compute nothing."""

_OF_ENGINES = {
    "inductor": re.compile(r"triton_(poi|red|per|tem|for|mm|spl|unk)_"),
    "tensorrt": re.compile(r"trt[A-Z_]|.*nvinfer1|__myl|myelin"),
    "onnxruntime": re.compile(r".*onnxruntime::"),
    "eager": re.compile(r".*\bat::(native|cuda)::"),
}
"""Kernels that one engine alone has, by their names: those that Inductor has Triton make, and those in namespaces of
libraries. Kernels of cuBLAS, cuDNN and CUTLASS are anybody's."""

_TF32 = re.compile(
    r"tf32|tfloat32|s1688(gemm|fprop|dgrad|wgrad)(?!_(bf16|fp16|f16))|nvjet_(sm\d+_)?s[a-z]{2}_", re.IGNORECASE
)
"""Parts of the names of kernels that compute fp32 in TF32. CUTLASS says it of itself, or names the instruction that
takes TF32 (16x8x8, "s1688") without another format; cuBLAS names formats of both sides ("tf32f32"), or its newer
kernels, all of which are for tensor cores, by a letter for each format ("nvjet_sss": single precision)."""

NOBODYS = "kernels of no operator"


def engine_of(name: str) -> str | None:
    """The engine that alone has kernels of this name; None of one that anybody may run."""
    return next((engine for engine, pattern in _OF_ENGINES.items() if pattern.match(name)), None)


def computes_in_tf32(names: Iterable[str]) -> bool:
    """Whether one of these kernels computes fp32 in TF32."""
    return any(_TF32.search(name) for name in names)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One run of a kernel: `launched` is when, in microseconds of the trace, by a call of this name (`by`); None where
    that call was not seen."""

    name: str
    seconds: float
    launched: float | None = None
    by: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """From when to when, in microseconds, something went on: an engine, or an operator of torch (`engine` is None)."""

    name: str
    begin: float
    end: float
    engine: str | None = None

    def holds(self, moment: float) -> bool:
        return self.begin <= moment <= self.end


@dataclass(frozen=True, kw_only=True, slots=True)
class OnDevice:
    """What ran on the device: `kernels` by name; seconds of all, of those that graphs launched, and by what was going
    on when they were launched: `inside` by engine, `outside` by operator. `on_cpu` are seconds of operators that
    computed, and launched nothing. Where no launch was seen, nobody can tell what was inside: both are empty.
    """

    kernels: Counter[str]
    seconds: float = 0.0
    in_graphs: float = 0.0
    on_cpu: float = 0.0
    inside: dict[str, float] = field(default_factory=dict)
    outside: dict[str, float] = field(default_factory=dict)

    @property
    def mostly_on_cpu(self) -> bool:
        """Whether torch's operators computed on the CPU for longer than all kernels ran, or there were none."""
        return not self.seconds or self.on_cpu > self.seconds

    @property
    def share_of_graphs(self) -> float | None:
        """Of the time of all kernels that of those in graphs; None where there are none."""
        return self.in_graphs / self.seconds if self.seconds else None


def driver_calls(events: Sequence[Any]) -> dict[int, Any]:
    """The calls of a driver's among a profiler's events, by their numbers; none where it does not see them."""
    return {
        event.id: event
        for event in events
        if event.device_type.name == "CPU" and LAUNCH.fullmatch(event.name) and event.scope != USER_SCOPE
    }


def kernels(events: Sequence[Any]) -> list[Kernel]:
    """The kernels among a profiler's events, each with its launch."""
    launches = driver_calls(events)
    found = []
    for event in events:
        if event.device_type.name == "CPU" or event.is_user_annotation or _NO_KERNEL.match(event.name):
            continue
        launch = launches.get(event.id)
        seconds = (event.time_range.end - event.time_range.start) / 1e6
        moment = launch.time_range.start if launch else None
        found.append(Kernel(name=event.name, seconds=seconds, launched=moment, by=launch.name if launch else ""))
    return found


def attributed(
    kernels: Sequence[Kernel], spans: Sequence[Span], computing: Sequence[Span], passing: Sequence[Span] = ()
) -> OnDevice:
    """What these kernels were run for. `spans` are the outermost ones of engines and of operators, `computing` those of
    operators that do a network's work, `passing` those that only pass tensors on: kernels of theirs are left out.

    A kernel whose launch was not seen is that of the engine that alone has such, if any was going on.
    """
    kernels = [kernel for kernel in kernels if _holding(kernel, spans) or not _holding(kernel, passing)]
    engines = {span.engine for span in spans if span.engine}
    inside: dict[str, float] = defaultdict(float)
    outside: dict[str, float] = defaultdict(float)
    moments = [kernel.launched for kernel in kernels if kernel.launched is not None]
    for kernel in kernels if moments else ():
        holding = _holding(kernel, spans)
        alone = engine_of(kernel.name)
        if span := next((span for span in holding if span.engine), None):
            inside[str(span.engine)] += kernel.seconds
        elif kernel.launched is None and alone in engines:
            inside[str(alone)] += kernel.seconds
        else:
            outside[holding[0].name if holding else NOBODYS] += kernel.seconds
    idle = [span for span in computing if not any(map(span.holds, moments))] if moments or not kernels else []
    for span in idle:
        if not span.engine and span in spans:
            outside[span.name] += (span.end - span.begin) / 1e6
    return OnDevice(
        kernels=Counter(kernel.name for kernel in kernels),
        seconds=math.fsum(kernel.seconds for kernel in kernels),
        in_graphs=math.fsum(kernel.seconds for kernel in kernels if GRAPH_LAUNCH.match(kernel.by)),
        on_cpu=math.fsum((span.end - span.begin) / 1e6 for span in idle),
        inside=dict(inside),
        outside=dict(outside),
    )


def _holding(kernel: Kernel, spans: Sequence[Span]) -> list[Span]:
    """Those of them that were going on when it was launched."""
    return [span for span in spans if kernel.launched is not None and span.holds(kernel.launched)]
