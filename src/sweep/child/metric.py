"""The user's own measure of outputs against what is right: of the unconverted model, and of a conversion."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from sweep.child import data, outputs
from sweep.child.batches import BadData
from sweep.child.data import Data
from sweep.child.feed import Feed
from sweep.child.instantiate import instantiate, locate
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
        "nonsense": _of_nonsense(feed.metric, found, targets),
        "names": list(found[0]) if isinstance(found[0], dict) else None,
    }


def check(feed: Feed, eager: Mapping[str, Any], forward: Forward, cast: Callable[[Data], Data]) -> MetricCheck | None:
    """What the metric says of a conversion beside what `of_eager` found; None where there is none."""
    if not eager or feed.given is None:
        return None
    found = _answers(feed, forward, cast)
    if names := eager["names"]:  # engines return lists
        found = [dict(zip(names, one.values(), strict=True)) if isinstance(one, dict) else one for one in found]
    return MetricCheck(
        eager=eager["eager"],
        nonsense=eager["nonsense"],
        converted=value(feed.metric, found, feed.given.targets),
        samples=sum(len(data.tensors(one)[0]) for one in feed.given.inputs),
    )


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


def _of_nonsense(metric: str | Mapping[str, Any], found: Sequence[Any], targets: Sequence[Any]) -> float | None:
    """What it says of the answers in another order, of batches and of rows; None where there is no other order."""
    if len(found) == 1 and not (isinstance(found[0], torch.Tensor) and found[0].dim() and len(found[0]) > 1):
        return None
    mixed = torch.Generator().manual_seed(0)
    others = [_rows_mixed(found[number], mixed) for number in torch.randperm(len(found), generator=mixed).tolist()]
    try:
        return value(metric, others, targets)
    except BadData:
        return None


def _rows_mixed(answer: Any, mixed: torch.Generator) -> Any:
    is_one = isinstance(answer, torch.Tensor) and answer.dim()
    return answer[torch.randperm(len(answer), generator=mixed)] if is_one else answer
