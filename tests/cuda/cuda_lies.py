"""Conversions that lie in ways that only a GPU has, and honest ones that look like them: of a model and an input.

They are registered as conversions of one's own, so a lie goes the way of any cell.
"""

import copy
from collections import deque
from collections.abc import Callable
from typing import Any

import torch

Forward = Callable[[torch.Tensor], Any]

LONG = 40_000_000
"""Cycles of a GPU for which it waits: some 20 ms, far longer than an output takes to be read."""


def _stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def on_a_side_stream(model: Any, data: torch.Tensor) -> Forward:
    """Works on a stream that nobody waits for: the output is there before its values are."""
    side, kept = _stream(), deque[Any](maxlen=64)
    shape = model(data)

    def forward(x: torch.Tensor) -> Any:
        output = torch.zeros_like(shape)
        kept.append((x, output))  # its memory must not be anybody else's while it is still written to
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            torch.cuda._sleep(LONG)  # type: ignore[no-untyped-call]
            output.copy_(model(x))
        return output

    return forward


def lazily(model: Any, data: torch.Tensor) -> Forward:
    """Does its work when the output is read."""

    class Late(torch.Tensor):
        work: Callable[[], torch.Tensor]

        def detach(self) -> torch.Tensor:
            return self.work()

    shape = model(data)

    def forward(x: torch.Tensor) -> Any:
        late = torch.empty_like(shape).as_subclass(Late)
        late.work = lambda: model(x)
        return late

    return forward


def on_the_cpu(model: Any, data: torch.Tensor) -> Forward:
    """Computes on the processor, and brings the output back to the device."""
    host = copy.deepcopy(model).cpu()
    return lambda x: host(x.cpu()).to(x.device)


def from_memory(model: Any, data: torch.Tensor) -> Forward:
    """Remembers each answer by the values of the input."""
    answers: dict[bytes, Any] = {}

    def forward(x: torch.Tensor) -> Any:
        key = x.cpu().numpy().tobytes()
        if key not in answers:
            answers[key] = model(x)
        return answers[key]

    return forward


def in_tf32(model: Any, data: torch.Tensor) -> Forward:
    """Allows TF32 during the call only, so that nobody sees it afterwards."""

    def forward(x: torch.Tensor) -> Any:
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            return model(x)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False

    return forward


def _captured(model: Any, data: torch.Tensor) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, Any]:
    """A CUDA graph of the model, the input that it reads and the output that it writes."""
    static = data.clone()
    with torch.no_grad():
        side = _stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # a graph must not be recorded of a first call
            for _ in range(3):
                model(static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = model(static)
    return graph, static, output


def by_a_stale_graph(model: Any, data: torch.Tensor) -> Forward:
    """Replays a graph that reads the input it was recorded with."""
    graph, static, output = _captured(model, data)

    def forward(x: torch.Tensor, kept: torch.Tensor = static) -> Any:
        graph.replay()
        return output

    return forward


def by_an_empty_graph(model: Any, data: torch.Tensor) -> Forward:
    """Replays a graph of next to nothing, and then computes without one."""
    graph, _, _ = _captured(lambda x: x[:1] + 1, data)

    def forward(x: torch.Tensor) -> Any:
        graph.replay()
        return model(x)

    return forward


def honest_graph(model: Any, data: torch.Tensor) -> Forward:
    """Gives the graph its input; the output is one buffer, which the next call overwrites."""
    graph, static, output = _captured(model, data)

    def forward(x: torch.Tensor) -> Any:
        static.copy_(x)
        graph.replay()
        return output

    return forward


def honest_stream(model: Any, data: torch.Tensor) -> Forward:
    """Works on a side stream, and has the current one wait for it."""
    side = _stream()

    def forward(x: torch.Tensor) -> Any:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            output = model(x)
        torch.cuda.current_stream().wait_stream(side)
        return output

    return forward


LIES = {
    "SIDE_STREAM": ("on_a_side_stream", "eager"),
    "LAZY": ("lazily", "eager"),
    "ON_THE_CPU": ("on_the_cpu", "eager"),
    "CACHED": ("from_memory", "eager"),
    "TF32": ("in_tf32", "eager"),
    "STALE_GRAPH": ("by_a_stale_graph", "cudagraphs"),
    "EMPTY_GRAPH": ("by_an_empty_graph", "cudagraphs"),
}
"""By the names that they are registered by: the function, and the engine that its label names."""

HONEST = {"GRAPH": ("honest_graph", "cudagraphs"), "STREAM": ("honest_stream", "eager")}
"""As above."""

WITHOUT_A_GPU = ("LAZY", "CACHED")
"""Those that are lies anywhere."""
