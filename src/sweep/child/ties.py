"""Integers that are the places of the largest scores: one that flips where two scores tie is no error of its own."""

from collections.abc import Sequence

import torch

from sweep.child.outputs import Part, Parts, kind_of


def without_ties(expected: Sequence[Parts], actual: Sequence[Parts], name: str) -> float:
    """The share by which a part of integers differs from the expected one, ties left out.

    Where the expected ones are the places of the largest values of another part, and the actual ones are so in the
    actual one, they say nothing that this other part, which is judged by itself, does not say.
    """
    number = list(expected[0]).index(name)
    scores = _scores_of(expected, name)
    wrong = total = 0
    for r_parts, y_parts in zip(expected, actual, strict=True):
        r, y = r_parts[name], list(y_parts.values())[number]
        assert isinstance(r, torch.Tensor)
        assert isinstance(y, torch.Tensor)
        differs = r != y
        if scores is not None:
            values = list(y_parts.values())[scores]
            assert isinstance(values, torch.Tensor)
            count = values.shape[-1]
            chosen = values.gather(-1, y.long().clamp(0, count - 1)[..., None])[..., 0]
            differs &= (y < 0) | (y >= count) | (chosen < values.amax(-1))
        wrong, total = wrong + int(differs.sum()), total + r.numel()
    return wrong / total if total else 0.0


def _scores_of(expected: Sequence[Parts], name: str) -> int | None:
    """The number of the part whose largest values the integers of another one are the places of, for every input."""
    for number, other in enumerate(expected[0]):
        if other != name and all(_is_argmax(parts[name], parts[other]) for parts in expected):
            return number
    return None


def _is_argmax(integers: Part, scores: Part) -> bool:
    if isinstance(integers, tuple) or isinstance(scores, tuple) or kind_of(scores) != "float" or scores.dim() < 1:
        return False
    if scores.shape[-1] < 2:
        return False
    if scores.shape[:-1] != integers.shape or not integers.numel() or kind_of(integers) != "integer":
        return False
    return bool((scores.argmax(-1) == integers).all())
