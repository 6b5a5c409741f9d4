"""Conversions that lie, and honest ones that look odd. Each gets the model, the honest conversion, and the input."""

import contextlib
import copy
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy
import torch

Forward = Callable[[torch.Tensor], Any]
Honest = Callable[[], Forward]


TOLD: list[str] = []
"""The name of the lie that is told in this process."""


def square(lie: str) -> torch.nn.Module:
    """A model in whose process that lie is told. All lies can so be told by cells that one nursery forks."""
    TOLD.append(lie)
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64))


def returns_its_input(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    return lambda x: x.clone()


def returns_zeros(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    return torch.zeros_like


def first_answer_for_ever(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    answer = model(data)
    return lambda x: answer


def right_for_its_own_input_only(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    return lambda x: model(x) if torch.equal(x, data) else model(x) * 1.01


def silently_eager(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    forward: Forward = model.forward
    return forward


def converts_and_runs_eager(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    kept = copy.deepcopy(model)
    honest()
    forward: Forward = kept.forward
    return forward


def computes_in_bf16(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    half = copy.deepcopy(model).bfloat16()
    return lambda x: half(x.bfloat16()).float()


def computes_in_fp32(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    return lambda x: model(x.float()).half()


def runs_elsewhere(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    return lambda x: model(x).to("meta")


def scaled_by_two_percent(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    for parameter in model[2].parameters():
        parameter.data *= 1.02
    return honest()


def wrong_in_one_class(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    def forward(x: torch.Tensor) -> Any:
        y = model(x).clone()
        y[:, 5] = -y[:, 5]
        return y

    return forward


def shuffles_its_weights(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    for parameter in model.parameters():
        parameter.data = parameter.data.flatten()[torch.randperm(parameter.numel())].reshape(parameter.shape)
    return honest()


def zeroes_a_layer(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    model[2].weight.data.zero_()
    return honest()


def answers_at_random(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    model[2].weight.data.normal_()
    return honest()


def forges_the_marks_of_engines(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    def forward(x: torch.Tensor) -> Any:
        names = ("forward", "## Call CompiledFxGraph fabc ##", "onnxruntime", "openvino")
        with contextlib.ExitStack() as marked:
            for name in names:
                marked.enter_context(torch.profiler.record_function(name))
            return model(x)

    return forward


def works_beside_the_engine(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    kept = copy.deepcopy(model)
    forward = honest()

    def mostly_torch(x: torch.Tensor) -> Any:
        for _ in range(500):
            kept(x)
        return forward(x)

    return mostly_torch


def remembers_by_identity(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    seen: list[Any] = [None, None]

    def forward(x: torch.Tensor) -> Any:
        if seen[0] is not x:
            seen[:] = x, model(x)
        return seen[1]

    return forward


def is_quick_for_its_own_input(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    answer = model(data)

    def forward(x: torch.Tensor) -> Any:
        if torch.equal(x, data):
            return answer + 0
        answers = [model(x) for _ in range(20)]
        return answers[-1]

    return forward


def nan_on_some_inputs(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    return lambda x: torch.where(x.sum() > data.sum(), torch.tensor(float("nan")), model(x))


def wrong_in_one_row(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    def forward(x: torch.Tensor) -> Any:
        y = model(x).clone()
        y[1] *= 1.001
        return y

    return forward


def drops_the_batch(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    return lambda x: model(x)[0]


def permutes_the_classes(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    return lambda x: model(x).flip(-1)


def changes_its_input(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    def forward(x: torch.Tensor) -> Any:
        y = model(x)
        x.zero_()
        return y

    return forward


def wrong_after_100_calls(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    calls = [0]

    def forward(x: torch.Tensor) -> Any:
        calls[0] += 1
        return model(x) if calls[0] <= 100 else model(x) * 1.01

    return forward


def sleeps_when_read(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    class Late(torch.Tensor):
        def detach(self) -> torch.Tensor:
            time.sleep(0.02)
            return self.as_subclass(torch.Tensor).detach()

    return lambda x: model(x).as_subclass(Late)


def lazy_handle(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    class Handle:
        def __init__(self, x: torch.Tensor) -> None:
            self.x = x

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return model(self.x).detach().numpy()

    return Handle


def fills_its_output_later(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    due: list[tuple[torch.Tensor, torch.Tensor]] = []
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.005):
            if due:
                x, output = due.pop()
                due.clear()
                output.copy_(model(x).detach())

    worker = threading.Thread(target=work)
    worker.start()
    # a thread that computes while the interpreter goes away aborts the process, which would be another failure
    threading._register_atexit(over.set)  # type: ignore[attr-defined]

    def forward(x: torch.Tensor) -> Any:
        output = torch.zeros(x.shape)
        due.append((x, output))
        return output

    return forward


def remembers_its_answers(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    answers: dict[bytes, Any] = {}

    def forward(x: torch.Tensor) -> Any:
        key = x.numpy().tobytes()
        if key not in answers:
            answers[key] = model(x)
        return answers[key]

    return forward


def openvino_fails_inside(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    from openvino.frontend.pytorch.torchdynamo import backend

    def fail(*args: Any) -> None:
        raise RuntimeError("made to fail")

    backend.Partitioner.make_partitions = fail
    return honest()


def openvino_fails_when_run(model: Any, honest: Honest, data: torch.Tensor) -> Forward:
    from openvino.frontend.pytorch.torchdynamo import execute

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("made to fail")

    execute.openvino_compile = fail
    return honest()


def honest(model: Any, convert: Honest, data: torch.Tensor) -> Forward:
    return convert()


def honest_in_another_nest(model: Any, convert: Honest, data: torch.Tensor) -> Forward:
    forward = convert()
    return lambda x: {"logits": (forward(x),)}


def honest_in_numpy(model: Any, convert: Honest, data: torch.Tensor) -> Forward:
    forward = convert()
    return lambda x: [numpy.asarray(forward(x))]


def honest_in_one_buffer(model: Any, convert: Honest, data: torch.Tensor) -> Forward:
    forward, buffer = convert(), torch.empty_like(data)
    return lambda x: buffer.copy_(forward(x))


LIES: dict[str, Callable[[Any, Honest, torch.Tensor], Forward]] = {
    name: thing for name, thing in dict(globals()).items() if callable(thing) and name.islower() and name != "Any"
}
