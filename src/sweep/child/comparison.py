"""How far one output is from another: each part by itself, and within it each way of cutting it up by itself.

A part of floats is compared in views, for an error that is small beside the whole may be all of a row:

    whole    all values of a sample
    row      the values along the last dimension: a token, a box, a pixel
    column   the values at one place of the last dimension, or one channel, over everything else: a class, a coordinate
    place    the values at one place of a sample, over all inputs, where one output has too few for columns
    small    those that are a thousand times smaller than the rest, such as logits beside a mask of -1e9
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from sweep.child.outputs import Part, Parts, kind_of

GAP = 1e3
"""Values are told apart as of two scales where between the next in size of them there is that factor."""

COUNTS_AS = {"whole": 0.1, "row": 0.03, "column": 0.03, "place": 0.3, "small": 0.0}
"""The share of a typical one as which a sample, row, column or place counts at least: nothing is near what is all but
zero, and of a place there are few values."""

FEWEST_SMALL, LEAST_SMALL = 4, 0.05
"""How many values, and which share of them, are smaller than the others at least: single ones are so by chance."""

MOST_COLUMNS = 4096

FEWEST_SAMPLES, FEWEST_PLACES = 3, 16
"""How many values of a place, and how many places, there must be: what is wrong at one of fewer shows in the whole."""

Figures = dict[str, dict[str, float]]
"""By part and view; the share that differs, by the view `differing`, of parts that are no floats."""


def form_problem(expected: Parts, actual: Parts) -> str | None:
    """What is wrong with the form of an output beside the model's own, or None."""
    if len(expected) != len(actual):
        return f"gives {len(actual)} {_outputs(len(actual))}, eager gives {len(expected)}"
    for (name, r), y in zip(expected.items(), actual.values(), strict=True):
        where = "" if name == "output" else f"{name}: "
        if "string" in {kind_of(r), kind_of(y)} and kind_of(r) != kind_of(y):
            return f"{where}gives {kind_of(y)}s, eager gives {kind_of(r)}s"
        if isinstance(r, torch.Tensor) and isinstance(y, torch.Tensor):
            if r.shape != y.shape:
                return f"{where}shape {list(y.shape)}, eager's is {list(r.shape)}"
            if kind_of(r) == "float" and (count := _misplaced(r, y)):
                return f"{where}{count} of {y.numel()} values are not finite where eager's are, or otherwise"
        elif len(r) != len(y):
            return f"{where}{len(y)} texts, eager gives {len(r)}"
    return None


def _outputs(count: int) -> str:
    return "output" if count == 1 else "outputs"


def equal(a: Parts, b: Parts) -> bool:
    """Whether two outputs are the same to the last bit."""
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor) else x == y
        for x, y in zip(a.values(), b.values(), strict=True)
    )


def repetition_problem(expected: Sequence[Parts], actual: Sequence[Parts], losses: Figures, batch: int) -> str | None:
    """Whether inputs give one answer to the last bit, although eager's differ by more than rounding takes away.

    All answers have the form of eager's.
    """
    for (r, y), (other_r, other_y) in combinations(zip(expected, actual, strict=True), 2):
        if not equal(y, other_y):
            continue
        if any(
            views.get(view, 0.0) > losses.get(name, {}).get(view, 0.0)
            for name, views in figures([r], [other_r], batch).items()
            for view in ("whole", "differing")
        ):
            return "gives the same output for inputs to which eager gives different ones"
    return None


def _misplaced(r: torch.Tensor, y: torch.Tensor) -> int:
    y = y.double()
    unlike = torch.isnan(r) != torch.isnan(y)
    infinite = torch.isinf(r) | torch.isinf(y)
    return int((unlike | (infinite & (r != y) & ~torch.isnan(r))).sum())


def figures(expected: Sequence[Parts], actual: Sequence[Parts], batch: int) -> Figures:
    """The worst of each view and part over all inputs, of outputs of one form. Names are those of `expected`."""
    pooled: dict[str, dict[str, list[_Cut]]] = {}
    floats: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    found: Figures = {}
    for r_parts, y_parts in zip(expected, actual, strict=True):
        for (name, r), y in zip(r_parts.items(), y_parts.values(), strict=True):
            worst, cuts = found.setdefault(name, {}), pooled.setdefault(name, {})
            if isinstance(r, torch.Tensor) and isinstance(y, torch.Tensor) and r.dtype.is_floating_point:
                floats.setdefault(name, []).append((r, y))
                for view, cut in _cuts(r, y, batch):
                    cuts.setdefault(view, []).append(cut)
            elif (share := _differing(r, y)) is not None:
                worst["differing"] = max(worst.get("differing", 0.0), share)
    for name, by_view in pooled.items():
        if "column" not in by_view and (at_places := _at_places(floats.get(name, []), batch)):
            by_view["place"] = [at_places]
        found[name] |= {view: _worst(cuts, COUNTS_AS[view]) for view, cuts in by_view.items()}
    return found


_Cut = tuple[torch.Tensor, torch.Tensor]
"""Of each sample, row or column of one input, or each place of all: the norm of what is expected, and of its error."""


def _differing(r: Part, y: Part) -> float | None:
    """The share of values that are not the expected ones; None of no values."""
    if isinstance(r, tuple) or isinstance(y, tuple):
        return sum(a != b for a, b in zip(r, y, strict=True)) / len(r) if len(r) else None
    return float((r != y).double().mean()) if r.numel() else None


def _cuts(r: torch.Tensor, y: torch.Tensor, batch: int) -> Iterator[tuple[str, _Cut]]:
    if not r.numel():
        return
    r, y = _finite(r), _finite(y.double())
    yield "whole", _cut(_samples(r, batch), _samples(y, batch))
    if r.dim() > 1 and r.shape[-1] > 1:
        yield "row", _cut(r.reshape(-1, r.shape[-1]), y.reshape(-1, y.shape[-1]))
    for dim in _column_dims(r):
        yield "column", _cut(_at_each(r, dim), _at_each(y, dim))
    if (small := _small(r)) is not None:
        yield "small", _cut(r[small][None], y[small][None])


def _at_places(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], batch: int) -> _Cut | None:
    """The values at each place of a sample; None where there are too few, or the inputs give different shapes."""
    if len({r.shape for r, _ in pairs}) != 1:
        return None
    samples, places = _samples(pairs[0][0], batch).shape
    if samples * len(pairs) < FEWEST_SAMPLES or not FEWEST_PLACES <= places <= MOST_COLUMNS:
        return None
    r, y = (torch.cat([_samples(_finite(t.double()), batch) for t in side]) for side in zip(*pairs, strict=True))
    return _cut(r.T, y.T)


def _cut(r: torch.Tensor, y: torch.Tensor) -> _Cut:
    return r.norm(dim=1), (y - r).norm(dim=1)


def _worst(cuts: Sequence[_Cut], counts_as: float) -> float:
    """The largest |y - r| / |r|, of all inputs; |y - r| itself where all that is expected is zero.

    One that is all but zero counts as a share of a typical one.
    """
    scale, error = torch.cat([one[0] for one in cuts]), torch.cat([one[1] for one in cuts])
    typical = float(scale.square().mean().sqrt())
    if typical == 0:
        return _finite_figure(error.max())
    return _finite_figure((error / scale.clamp(min=max(counts_as * typical, 1e-300))).max())


def _finite_figure(value: torch.Tensor) -> float:
    """A figure as JSON can hold it: what is no number is as far off as can be."""
    return float(torch.nan_to_num(value, nan=1e30, posinf=1e30))


def _finite(t: torch.Tensor) -> torch.Tensor:
    """Without the values that are not finite; they stand at the same places in both, `form_problem` says so."""
    return t if bool(torch.isfinite(t).all()) else torch.where(torch.isfinite(t), t, 0.0)


def _samples(t: torch.Tensor, batch: int) -> torch.Tensor:
    return t.reshape(batch, -1) if t.dim() and t.shape[0] == batch else t.reshape(1, -1)


def _at_each(t: torch.Tensor, dim: int) -> torch.Tensor:
    return t.movedim(dim, 0).reshape(t.shape[dim], -1)


def _column_dims(r: torch.Tensor) -> list[int]:
    """The dimensions each of whose places is a column: the last one, and that of channels."""
    dims = {r.dim() - 1} | ({1} if r.dim() > 2 else set())
    return [d for d in sorted(dims) if r.dim() > 1 and 1 < r.shape[d] <= MOST_COLUMNS and r.numel() >= 8 * r.shape[d]]


def _small(r: torch.Tensor) -> torch.Tensor | None:
    """The places of values that are far smaller than the others, but not zero; None where all are of one scale."""
    sizes = r.abs().flatten()
    sizes = sizes[sizes > 0]
    if sizes.numel() > 2**20:  # enough of them to find where the scales part
        sizes = sizes[:: math.ceil(sizes.numel() / 2**20)]
    ordered = sizes.sort().values
    start = max(FEWEST_SMALL, math.ceil(LEAST_SMALL * ordered.numel()))
    ratios = ordered[start:] / ordered[start - 1 : -1]
    if not ratios.numel() or float(ratios.max()) < GAP:
        return None
    place = start + int(ratios.argmax())
    limit = math.sqrt(float(ordered[place - 1]) * float(ordered[place]))
    return (r.abs() < limit) & (r != 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Overall:
    """Over all inputs, of one part: the least cosine and the largest difference of any sample, of floats; and the
    share of rows whose largest value is at the same place, where there are rows.
    """

    cosine: float | None
    max_abs: float | None
    top1_agreement: float | None
    elements: int


def overall(expected: Sequence[Part], actual: Sequence[Part], batch: int) -> Overall:
    """Of one part, for all inputs."""
    cosines, largest, agree, elements = [], [], [], 0
    for r, y in zip(expected, actual, strict=True):
        elements += len(r) if isinstance(r, tuple) else r.numel()
        if isinstance(r, tuple) or not isinstance(y, torch.Tensor) or not r.numel() or kind_of(r) != "float":
            continue
        if r.dim() > 1 and r.shape[-1] > 1:
            agree.append((r.argmax(-1) == y.argmax(-1)).flatten())
        a, b = _samples(_finite(r), batch), _samples(_finite(y.double()), batch)
        scale = a.norm(dim=1) * b.norm(dim=1)
        cosines.append(torch.where(scale > 0, (a * b).sum(1) / scale, (a == b).all(1).double()).clamp(-1, 1).min())
        largest.append(torch.nan_to_num((b - a).abs().max(), nan=1e30, posinf=1e30))
    return Overall(
        cosine=float(torch.stack(cosines).min()) if cosines else None,
        max_abs=float(torch.stack(largest).max()) if largest else None,
        top1_agreement=float(torch.cat(agree).double().mean()) if agree else None,
        elements=elements,
    )


def zeros(part: Part) -> Part:
    return part if isinstance(part, tuple) else torch.where(torch.isfinite(part), torch.zeros_like(part), part)


def reversed_rows(part: Part) -> Part:
    """Each row in another order; without rows, all that is finite."""
    if isinstance(part, tuple) or part.dim() < 1:
        return part
    return part.flip(-1)


def raise_to(figures: Figures, others: Figures) -> None:
    for name, views in others.items():
        own = figures.setdefault(name, {})
        for view, value in views.items():
            own[view] = max(own.get(view, 0.0), value)


def lower_to(figures: Figures, others: Figures) -> None:
    for name, views in others.items():
        own = figures.setdefault(name, {})
        for view, value in views.items():
            own[view] = min(own.get(view, float("inf")), value)
