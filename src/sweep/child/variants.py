"""Other forms of a model: in fp64, with its weights shaken or shuffled; and their answers, where they have any."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from typing import Any, TypeVar

import torch

from sweep import machine
from sweep.child import data, outputs
from sweep.child import device as devices
from sweep.child.data import Data
from sweep.child.outputs import Parts
from sweep.reaper import resident

Forward = Callable[[Any], Any]
"""Of the input as one value, `data.Data`."""

T = TypeVar("T")

COPIES = 4
"""For so many copies of a model there must be memory: one in fp64 takes two, and a call needs some."""

SLOW_SECONDS = 0.3
"""Of a form of the model whose answer takes so long there is one only: torch's fp16 on a CPU, say."""


def copied(model: torch.nn.Module) -> torch.nn.Module:
    """A model to change. Raises what it raises when it is copied; TypeError for one whose forward was put there by
    hand, for in a copy that goes on using the model itself.
    """
    if any("forward" in vars(module) for module in model.modules()):
        raise TypeError("its forward is no method of its class")
    return copy.deepcopy(model)


def perturbed(model: torch.nn.Module) -> torch.nn.Module:
    """A copy whose weights are the next numbers of their format, up or down by chance."""
    other = copied(model)
    generator = torch.Generator().manual_seed(1)
    for parameter in other.parameters():
        if parameter.dtype.is_floating_point:
            up = torch.randint(0, 2, parameter.shape, generator=generator).to(parameter.device).bool()
            towards = torch.where(up, torch.inf, -torch.inf).to(parameter.dtype)
            parameter.data = torch.nextafter(parameter.data, towards)
    return other


def shuffled(model: torch.nn.Module) -> torch.nn.Module | None:
    """A copy whose weights are in another order: another model's answers. None if it has none to put in order."""
    other, changed = copied(model), False
    generator = torch.Generator().manual_seed(1)
    for parameter in other.parameters():
        flat = parameter.data.reshape(-1)
        if flat.numel() > 1 and bool((flat != flat[0]).any()):
            order = torch.randperm(flat.numel(), generator=generator).to(flat.device)
            parameter.data = flat[order].reshape(parameter.shape)
            changed = True
    return other if changed else None


def has_room_for_another(model: torch.nn.Module, most: float | None = None) -> bool:
    """Whether there is memory for some copies of the model more; `most` is how many bytes this process may hold."""
    size = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    device = devices.of(next((p.device.type for p in model.parameters() if p.device.type != "meta"), "cpu"))
    left = device.free()
    free = machine.available_memory() if left is None else left
    if most is not None:
        free = min(free, most - resident())
    return COPIES * size < free


def precise(model: torch.nn.Module) -> Forward | None:
    """The model in fp64; one that is of fp64 itself in fp32. None where there is no room, or it cannot be made."""
    kinds = {p.dtype for p in model.parameters()}
    dtype = torch.float32 if torch.float64 in kinds else torch.float64
    other = attempt(lambda: copied(model).to(dtype))
    if other is None:
        return None
    made: torch.nn.Module = other
    return lambda x: made(data.floats_to(x, dtype))


def answers(forward: AbstractContextManager[Forward], inputs: Sequence[Data]) -> list[Parts] | None:
    """The answers of another form of the model to the first inputs, to one only if it is much slower; None where it
    cannot be made, or fails.
    """

    def answer() -> list[Parts]:
        found: list[Parts] = []
        with forward as call:
            began = perf_counter()
            for x in inputs:
                found.append(outputs.read(call(data.clone(x))))
                if perf_counter() - began > SLOW_SECONDS * max(1, len(found) - 1):
                    break
        return found

    with _random_numbers_as_before(inputs):
        return attempt(answer)


def attempt(work: Callable[[], T]) -> T | None:
    """What it gives; None if it raises, for models may do anything when they are changed."""
    try:
        return work()
    except Exception:
        return None


@contextmanager
def _random_numbers_as_before(inputs: Sequence[Data]) -> Iterator[None]:
    """On the CPU, and on the device that the inputs are on."""
    device = devices.of(data.tensors(inputs[0])[0].device.type)
    state = device.random_state()
    try:
        yield
    finally:
        device.restore(state)
