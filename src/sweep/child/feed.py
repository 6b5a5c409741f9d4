"""The inputs of a cell's model: random ones, as its config describes them, or the user's own data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from sweep import inputs
from sweep.cell import Cell
from sweep.child import batches, convert
from sweep.child.batches import Batch
from sweep.child.data import Data, each, tensors, unseen
from sweep.inputs import Description, TensorSpec

FEWEST = 4
"""Inputs of data that there are at least: where it has fewer, others are made of its rows."""


class Feed:
    """Gives inputs, each as one value on the device. `called_with` is the form they have, `given` what there is of
    data, None where inputs are random."""

    def __init__(self, cell: Cell, model: torch.nn.Module, device: torch.device, read: Sequence[Batch]) -> None:
        """`read` is what was read of the cell's data. Raises BadDescription, BadData, and what the model's config names
        to describe its inputs raises."""
        self._cell, self._model, self._device = cell, model, device
        described = convert.described(cell, model)
        self.given = batches.given(read, described, model) if read else None
        called_with = self.given.called_with if self.given else described
        assert called_with is not None, "without data its config describes it"
        self.called_with = called_with

    @property
    def digest(self) -> str:
        """Of the data; empty where inputs are random, which the seed makes the same anywhere."""
        return self.given.digest if self.given else ""

    def first(self) -> list[Data]:
        """One input to convert and time with, then `measure.verify_inputs` others, or as many as there are."""
        count = 1 + self._cell.measure.verify_inputs
        if self.given is None:
            return list(islice(convert.random_inputs(self.called_with, self._device, self._cell.seed), count))
        found = list(map(self.moved, self.given.inputs[:count]))
        if len(found) < FEWEST:  # what is compared must be another input than what is converted with
            found += list(islice(self.new(), FEWEST - len(found)))
        return found

    def new(self) -> Iterator[Data]:
        """Inputs of the same kind, without end, that nobody has seen."""
        seed = (self._cell.seed + 0x5EED_5EED) % 2**32  # torch takes no more of a seed than 32 bits
        if self.given is None:
            return convert.random_inputs(self.called_with, self._device, seed)
        return map(self.moved, unseen(self.given.inputs, seed, 1 + self._cell.measure.verify_inputs))

    def of_sizes(self, sizes: Mapping[str, int], count: int) -> tuple[list[Data], int]:
        """So many random inputs with other sizes, or of its data with another batch; and how many samples each has.

        Raises BadDescription; ValueError where they hold another number of tensors than the model is converted for.
        """
        if self.given is not None and set(sizes) == {"batch"}:
            return self._rebatched(sizes["batch"], count), sizes["batch"]
        described = self._described(sizes)
        made = list(islice(convert.random_inputs(described, self._device, self._cell.seed + 1), count))
        wanted = len(_specs(self.called_with))
        if len(tensors(made[0])) != wanted:
            raise ValueError(f"{len(tensors(made[0]))} tensors, and it is converted for {wanted}")
        return made, sizes.get("batch", self._cell.batch_size)

    def _rebatched(self, size: int, count: int) -> list[Data]:
        """Of its data, from the first sample on; repeated where there are too few. Raises ValueError for what has no
        batch."""
        assert self.given is not None
        batch = self._cell.batch_size
        columns = list(zip(*map(tensors, self.given.inputs), strict=True))
        if any(column[0].shape[:1] != (batch,) for column in columns):
            raise ValueError("its data has no batch")
        joined = [torch.cat(column) for column in columns]
        rows = torch.arange(size * count) % len(joined[0])
        made = [tuple(column[part] for column in joined) for part in rows.reshape(count, size)]
        return [self.moved(one if len(one) > 1 else one[0]) for one in made]

    def varying(self) -> list[frozenset[int]]:
        """Of each of its tensors the dimensions that follow the batch or a named size; of data the first, if that is as
        long as a batch."""
        specs = _specs(self.called_with)
        if self.given is not None:
            described = convert.described(self._cell, self._model)
            if described is None or len(_specs(described)) != len(specs):
                return [frozenset([0] if spec.shape[:1] == (self._cell.batch_size,) else []) for spec in specs]
            specs = _specs(described)
        found: list[set[int]] = [set() for _ in specs]
        for name, size in self._sizes().items():
            others = _specs(self._described({name: size + 1}))
            for dims, spec, other in zip(found, specs, others, strict=True):
                dims |= {n for n, pair in enumerate(zip(spec.shape, other.shape, strict=True)) if len(set(pair)) > 1}
        return list(map(frozenset, found))

    def without_ones(self) -> Data:
        """An input of which no size that varies is 1."""
        if self.given is not None:
            return each(self.first()[0], lambda x: x.repeat(2, *[1] * (x.dim() - 1)) if x.shape[:1] == (1,) else x)
        larger = {name: 2 for name, size in self._sizes().items() if size == 1}
        return self.of_sizes(larger, 1)[0][0] if larger else self.first()[0]

    def _sizes(self) -> dict[str, int]:
        """The batch, and the named sizes that are no arguments of the model."""
        config = self._cell.model.config
        named = inputs.sizes(config) if inputs.is_computed(config) else convert.sizes_alone(config)
        return {"batch": self._cell.batch_size, **{name: int(config[name]) for name in named}}

    def _described(self, sizes: Mapping[str, int]) -> Description:
        described = convert.described(self._cell, self._model, sizes)
        assert described is not None, "sizes are of what a config describes"
        return described

    def calibration(self, cast: Callable[[Data], Data]) -> list[Data]:
        """The first batches of its data, cast, as many as static quantisation is to be fitted to."""
        if self.given is None or self._cell.data is None:
            return []
        return [cast(self.moved(data)) for data in self.given.inputs[: self._cell.data.calibration]]

    def moved(self, data: Data) -> Data:
        return each(data, lambda x: x.to(self._device))

    @property
    def calls_of_metric(self) -> int:
        return len(self.given.inputs) if self.given and self.metric is not None else 0

    @property
    def samples(self) -> int:
        """How many samples an input holds: the batch size, or as many as a batch of data has that is taken as it is."""
        as_it_is = self.given is not None and self._cell.data is not None and not self._cell.data.rebatch
        return (self.given.samples if as_it_is and self.given else None) or self._cell.batch_size

    def nearest(self, of_nonsense: Sequence[float]) -> float | None:
        """The best of what the metric says of nonsense; None of nothing."""
        assert self._cell.data is not None
        best = max if self._cell.data.higher_is_better else min
        return best(of_nonsense, default=None)

    @property
    def metric(self) -> Any:
        """The user's measure, where there is one and something that it can be taken of."""
        return self._cell.data.metric if self._cell.data and self.given else None


def _specs(described: Description) -> list[TensorSpec]:
    return [leaf for leaf in inputs.leaves(described) if isinstance(leaf, TensorSpec)]
