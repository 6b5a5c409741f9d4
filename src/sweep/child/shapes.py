"""Inputs of other sizes: the unconverted model's answers to them, and how what was converted takes them."""

import statistics
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

from sweep.child.data import Data, clone
from sweep.child.feed import Feed
from sweep.child.measure import Timer
from sweep.child.reference import Reference
from sweep.evidence import ShapeCheck
from sweep.reading import one_line

INPUTS, CALLS = 3, 7
"""On how many inputs of each size outputs are compared, and how many calls are timed."""


class Unconverted(Protocol):
    """What is needed of `benchmark.Baseline`."""

    forward: Callable[[Any], Any]
    timer: Timer
    reference: Reference
    shapes: list[dict[str, Any]]
    feed: Feed


class Converted(Protocol):
    """What is needed of `benchmark.Conversion`."""

    forward: Callable[[Any], Any]
    loss_class: str

    def cast(self, x: Data) -> Data: ...


def of_eager(baseline: Unconverted, sizes: Mapping[str, int]) -> dict[str, Any]:
    """What `check` needs of the unconverted model, as `torch.save` can write it."""
    found: dict[str, Any] = {"sizes": dict(sizes), "failure": None}
    try:
        inputs, batch = baseline.feed.of_sizes(sizes, INPUTS)
        found["reference"] = Reference(baseline.forward, inputs, batch).kept()
        found["seconds"] = _seconds(baseline, baseline.forward, inputs[0])
    except Exception as error:
        found["failure"] = _in_words(error)
    return found


def check(
    baseline: Unconverted, conversion: Converted, number: int, alone: Callable[[], AbstractContextManager[None]]
) -> ShapeCheck:
    """How it takes the inputs of one of the baseline's further sizes; `alone` is entered for what is timed.

    What rounding loses is taken to be what it loses at the size that the conversion was made with.
    """
    forward = conversion.forward
    kept = baseline.shapes[number]
    if kept["failure"]:
        return ShapeCheck(sizes=kept["sizes"], eager_failure=kept["failure"])
    compiled = _graphs()
    try:
        inputs, _ = baseline.feed.of_sizes(kept["sizes"], INPUTS)
        reference = Reference.recalled(kept["reference"], inputs)
        reference.losses, reference.nonsense = baseline.reference.losses, baseline.reference.nonsense
        data = conversion.cast(inputs[0])
        first = baseline.timer.seconds_of(partial(forward, clone(data)))
        output = reference.check(forward, conversion.cast, conversion.loss_class)
        with alone():
            seconds = _seconds(baseline, forward, data)
    except Exception as error:
        return ShapeCheck(sizes=kept["sizes"], failure=_in_words(error))
    return ShapeCheck(
        sizes=kept["sizes"],
        output=output,
        first_seconds=first,
        seconds=seconds,
        eager_seconds=kept["seconds"],
        recompiled=_graphs() - compiled if compiled else None,
    )


def _seconds(baseline: Unconverted, forward: Callable[[Any], Any], data: Data) -> float:
    calls = [baseline.timer.seconds_of(partial(forward, clone(data))) for _ in range(CALLS)]
    return statistics.median(calls)


def _graphs() -> int:
    """How many graphs TorchDynamo has compiled in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters["stats"]["unique_graphs"]) if dynamo else 0


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(str(error))}"
