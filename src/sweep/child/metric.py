"""The user's own measure of outputs against what is right: of the unconverted model, and of a conversion."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch

from sweep.child import data, outputs
from sweep.child.batches import BadData
from sweep.child.data import Data
from sweep.child.feed import Feed
from sweep.child.instantiate import instantiate, locate
from sweep.child.outputs import UnreadableOutput
from sweep.child.variants import Forward
from sweep.evidence import MetricCheck
from sweep.reading import one_line


def of_eager(feed: Feed, forward: Forward) -> dict[str, Any]:
    """What `check` needs of the unconverted model; nothing where there is no metric. Raises BadData."""
    if feed.metric is None or feed.given is None:
        return {}
    found, targets = _answers(feed, forward, data.clone), feed.given.targets
    return {
        "eager": value(feed.metric, found, targets),
        "nonsense": feed.nearest(_of_nonsense(feed.metric, found, targets)),
        "names": list(found[0]) if isinstance(found[0], dict) else None,
    }


def check(feed: Feed, eager: Mapping[str, Any], forward: Forward, cast: Callable[[Data], Data]) -> MetricCheck | None:
    """What the metric says of a conversion beside what `of_eager` found; None where there is none."""
    if not eager or feed.given is None:
        return None
    samples = len(feed.given.inputs) * feed.samples
    try:
        found = _answers(feed, forward, cast)
        if names := eager["names"]:  # engines return lists
            found = [dict(zip(names, one.values(), strict=True)) if isinstance(one, dict) else one for one in found]
        converted = value(feed.metric, found, feed.given.targets)
    except (BadData, ValueError, UnreadableOutput) as error:  # what its outputs are is for the verdict to say
        return MetricCheck(eager=eager["eager"], nonsense=None, converted=None, samples=samples, failure=str(error))
    return MetricCheck(eager=eager["eager"], nonsense=eager["nonsense"], converted=converted, samples=samples)


def _answers(feed: Feed, forward: Forward, cast: Callable[[Data], Data]) -> list[Any]:
    """Outputs on the CPU, floats in fp32: a tensor where a model returns one, else the parts by their paths."""
    assert feed.given is not None
    found = []
    for one in feed.given.inputs:
        parts = {
            name: part.float() if isinstance(part, torch.Tensor) and part.is_floating_point() else part
            for name, part in outputs.read(forward(data.clone(cast(feed.moved(one))))).items()
        }
        found.append(next(iter(parts.values())) if len(parts) == 1 else parts)
    return found


def value(metric: str | Mapping[str, Any], found: Sequence[Any], targets: Sequence[Any]) -> float:
    """What a metric says of all answers and what is right of each batch.

    It is a function of both, with all batches joined; or has `update`, for each batch, and `compute`, as torchmetrics
    has them. Raises BadData for whatever it raises, and where it gives no finite number.
    """
    try:
        measure = locate(metric) if isinstance(metric, str) else instantiate(metric)
        measure = measure() if isinstance(measure, type) else measure
        if hasattr(measure, "update") and hasattr(measure, "compute"):
            for answer, target in zip(found, targets, strict=True):
                measure.update(answer, target)
            number = float(measure.compute())
        else:
            number = float(measure(_joined(found), _joined(targets)))
    except Exception as error:
        raise BadData(f"its metric: {type(error).__name__}: {one_line(str(error)) or 'no message'}") from error
    if not math.isfinite(number):
        raise BadData(f"its metric gives {number}")
    return number


def _joined(batches: Sequence[Any]) -> Any:
    """All batches as one: tensors along their first dimension, mappings by key, lists one after the other; what cannot
    be joined stays a list of batches."""
    first = batches[0]
    if isinstance(first, dict):
        return {key: _joined([batch[key] for batch in batches]) for key in first}
    if isinstance(first, torch.Tensor):
        alike = first.dim() and all(batch.shape[1:] == first.shape[1:] for batch in batches)
        return torch.cat(list(batches)) if alike else list(batches)
    if isinstance(first, list | tuple):
        return [one for batch in batches for one in batch]
    return list(batches)


def _of_nonsense(metric: Any, found: Sequence[Any], targets: Sequence[Any]) -> list[float]:
    """What it says of answers that are none: those of other inputs, and the mean of all for each."""
    mixed = torch.Generator().manual_seed(0)
    order = torch.randperm(len(found), generator=mixed).tolist()
    if order == sorted(order):
        order = [*order[1:], *order[:1]]
    others = [_each_tensor(found[number], lambda x: x[torch.randperm(len(x), generator=mixed)]) for number in order]
    means = _means(found)
    values = []
    for nonsense in filter(None, (others if len(found) > 1 or _rows(found[0]) > 1 else None, means)):
        with suppress(BadData):
            values.append(value(metric, nonsense, targets))
    return values


def _means(found: Sequence[Any]) -> list[Any] | None:
    """For each answer the mean of all rows; None where they cannot be joined."""
    whole = _joined(found)
    parts = whole if isinstance(whole, dict) else {"": whole}
    if not all(isinstance(part, torch.Tensor) and part.is_floating_point() for part in parts.values()):
        return None
    mean = {name: part.mean(0, keepdim=True) for name, part in parts.items()}

    def of(answer: Any) -> Any:
        if isinstance(answer, dict):
            return {name: mean[name].expand_as(part) for name, part in answer.items()}
        return mean[""].expand_as(answer)

    return list(map(of, found))


def _rows(answer: Any) -> int:
    tensors = [x for x in (answer.values() if isinstance(answer, dict) else [answer]) if isinstance(x, torch.Tensor)]
    return min((len(x) if x.dim() else 1 for x in tensors), default=1)


def _each_tensor(answer: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(answer, dict):
        return {name: _each_tensor(part, change) for name, part in answer.items()}
    return change(answer) if isinstance(answer, torch.Tensor) and answer.dim() else answer
