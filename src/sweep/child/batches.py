"""The user's own data: read in a cell's process, cut to its batch size, and put where its model takes inputs."""

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.utils.data import Dataset, IterableDataset, default_collate

from sweep import inputs
from sweep.cell import Cell
from sweep.child.data import Data, each, tensors
from sweep.child.instantiate import instantiate
from sweep.inputs import Description, Made, TensorSpec
from sweep.reading import one_line


class BadData(ValueError):
    """Data that cannot be read, or that the model cannot be called with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What a model is called with, as it was yielded, on the CPU; and what is right, None where that was not given."""

    inputs: Any
    targets: Any = None


def read(cell: Cell) -> list[Batch]:
    """The first batches of a cell's data, `data.samples` samples at most; nothing where it has none.

    It is made and iterated with seeded generators, in the folder that the sweep was started in. Raises BadData.
    """
    wanted = cell.data
    if wanted is None:
        return []
    random.seed(cell.seed)
    numpy.random.seed(cell.seed % 2**32)  # the generators that others' code takes from
    torch.manual_seed(cell.seed)
    if wanted.rebatch and _takes_a_list(cell.model.config):
        raise BadData("its model is called with a list of samples: have it yield such lists, with data.rebatch=false")
    folder = next((path for path in cell.python_path if Path(path).is_dir()), ".")
    most = max(1, wanted.samples // cell.batch_size)
    try:
        with contextlib.chdir(folder):
            source = instantiate(wanted.arguments)
            yielded = _of_samples(source, cell, most) if _holds_samples(source) else iter(_checked(source))
            pairs = (_split(item, wanted.targets) for item in yielded)
            cut = pairs if _holds_samples(source) or not wanted.rebatch else _rebatched(pairs, cell.batch_size)
            batches = list(islice(cut, most))
    except BadData:
        raise
    except Exception as error:
        raise BadData(f"{type(error).__name__}: {one_line(str(error)) or 'no message'}") from error
    if not batches:
        raise BadData(f"it yields no batch of {cell.batch_size} samples")
    return batches


def _takes_a_list(config: Mapping[str, Any]) -> bool:
    """Whether a model is called with as many tensors as a batch has samples: nothing that can be cut or joined."""
    if inputs.is_computed(config) or not inputs.are_described(config):
        return False
    return len({len(list(inputs.leaves(inputs.describe(config, batch)))) for batch in (2, 3)}) > 1


def _checked(source: Any) -> Iterable[Any]:
    if isinstance(source, str | bytes | torch.Tensor | Mapping) or not isinstance(source, Iterable):
        raise BadData(f"it is a {type(source).__name__}, and must be a Dataset, or yield batches")
    return source


def _holds_samples(source: Any) -> bool:
    """A Dataset of torch, or what is like one."""
    by_number = hasattr(source, "__len__") and hasattr(source, "__getitem__")
    return isinstance(source, Dataset) or (
        by_number and not isinstance(source, list | tuple | str | bytes | Mapping | torch.Tensor)
    )


def _of_samples(source: Any, cell: Cell, most: int) -> Iterator[Any]:
    """Batches of a data set's samples: of so many, chosen by the seed, where it has a length."""
    if isinstance(source, IterableDataset):
        chosen: Iterator[Any] = iter(source)
    else:
        generator = torch.Generator().manual_seed(cell.seed)
        order = torch.randperm(len(source), generator=generator)[: most * cell.batch_size]
        chosen = (source[int(number)] for number in order)  # the first are the same however many there are
    while len(samples := list(islice(chosen, cell.batch_size))) == cell.batch_size:
        yield _joined(samples)


def _split(item: Any, targets: str | None) -> Batch:
    """A pair is of inputs and targets; of a mapping the key `targets` is."""
    if targets is not None:
        if not isinstance(item, Mapping) or targets not in item:
            raise BadData(f"it yields no mapping that holds {targets!r}, which data.targets names")
        return Batch(
            inputs=_plain({key: value for key, value in item.items() if key != targets}), targets=_plain(item[targets])
        )
    if isinstance(item, list | tuple) and len(item) == 2:
        return Batch(inputs=_plain(item[0]), targets=_plain(item[1]))
    return Batch(inputs=_plain(item))


def _plain(node: Any) -> Any:
    """With arrays as tensors, and mappings of any class as dicts."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(map(_plain, node)) if type(node) in {list, tuple} else [_plain(value) for value in node]
    if isinstance(node, torch.Tensor):
        return node.detach().cpu()
    return torch.from_numpy(node) if isinstance(node, numpy.ndarray) and node.dtype.kind in "biufc" else node


def _rebatched(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """The same samples in batches of this size; one that has it is left as it is."""
    waiting: list[tuple[Any, Any]] = []
    for batch in batches:
        long = _length(batch)
        if long == size and not waiting:
            yield batch
            continue
        waiting += [(_sample(batch.inputs, n, long), _sample(batch.targets, n, long)) for n in range(long)]
        while len(waiting) >= size:
            yield _split(_joined(waiting[:size]), None)
            del waiting[:size]


def _length(batch: Batch) -> int:
    lengths = {leaf.shape[0] if leaf.dim() else 0 for leaf in _leaves(batch.inputs)}
    if isinstance(batch.targets, list | tuple) or (isinstance(batch.targets, torch.Tensor) and batch.targets.dim()):
        lengths.add(len(batch.targets))
    if len(lengths) != 1 or 0 in lengths:
        raise BadData(
            "its tensors are not all of one length, so they cannot be cut into samples: data.rebatch=false takes each "
            "batch as it is"
        )
    return lengths.pop()


def _leaves(node: Any) -> list[torch.Tensor]:
    return [leaf for leaf in inputs.leaves(node) if isinstance(leaf, torch.Tensor)]


def _sample(node: Any, number: int, long: int) -> Any:
    match node:
        case torch.Tensor():
            return node[number] if node.dim() and node.shape[0] == long else node
        case dict():
            return {key: _sample(value, number, long) for key, value in node.items()}
        case list() | tuple() if node and not _leaves(node) and len(node) == long:
            return node[number]
        case list() | tuple():
            return type(node)(_sample(value, number, long) for value in node)
    return node


def _joined(samples: Sequence[Any]) -> Any:
    """A batch of samples, as a DataLoader makes it."""
    if isinstance(samples[0], tuple) and len(samples[0]) == 2 and samples[0][1] is None:
        return _joined([inputs_ for inputs_, _ in samples]), None
    try:
        return default_collate(list(samples))
    except (RuntimeError, TypeError) as error:
        raise BadData(f"its samples cannot be joined to a batch ({one_line(str(error))}): pad them") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Data as a model is called with it: each batch as one value, on the CPU, and what is right of each.

    `left_out` are batches of other shapes than the first, which a conversion for fixed shapes could not take.
    """

    called_with: Description
    inputs: tuple[Data, ...]
    targets: tuple[Any, ...]
    left_out: int

    @property
    def samples(self) -> int | None:
        """How many samples a batch holds that is taken as it is: as there are targets, or images in a list, or rows.

        None where that cannot be told. Tensors in a list of targets may be parts of each, so they are not counted.
        """
        target, args = self.targets[0], self.called_with.args
        if isinstance(target, torch.Tensor) and target.dim():
            return len(target)
        if isinstance(target, list | tuple) and not all(isinstance(part, torch.Tensor) for part in target):
            return len(target)
        if len(args) == 1 and isinstance(args[0], list) and not self.called_with.kwargs:
            return len(args[0])
        lengths = {x.shape[0] if x.dim() else 0 for x in tensors(self.inputs[0])}
        return lengths.pop() or None if len(lengths) == 1 else None

    @property
    def digest(self) -> str:
        """The same for the same inputs and targets, whichever process read them."""
        held = [*self.inputs, *self.targets]
        found = hashlib.blake2b(digest_size=16)
        found.update(repr([_changed(one, lambda x: (x.dtype, tuple(x.shape))) for one in held]).encode())
        for leaf in _leaves(held):
            found.update(leaf.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()


def given(batches: Sequence[Batch], described: Description | None, model: torch.nn.Module) -> Given:
    """Batches as the model is called with them, which the description says if there is one. Raises BadData."""
    wide = any(parameter.dtype == torch.float64 for parameter in model.parameters())
    made = [_fitted(_ordered_as(batches[0].inputs, batch.inputs), described) for batch in batches]
    forms = [_changed(one, _spec) for one in made]
    called_with, values = forms[0], [tuple(_leaves(one)) for one in made]
    if not values[0]:
        raise BadData("its batches hold no tensor")
    alike = [number for number, form in enumerate(forms) if form == called_with]
    data = [values[number] if len(values[number]) > 1 else values[number][0] for number in alike]
    return Given(
        called_with=called_with,
        inputs=tuple(one if wide else each(one, _narrowed) for one in data),
        targets=tuple(batches[number].targets for number in alike),
        left_out=len(batches) - len(alike),
    )


def _narrowed(x: torch.Tensor) -> torch.Tensor:
    """NumPy's floats are of fp64, which no model in fp32 takes."""
    return x.float() if x.dtype == torch.float64 else x


def _spec(x: torch.Tensor) -> TensorSpec:
    return TensorSpec(shape=tuple(x.shape), dtype=str(x.dtype).removeprefix("torch."))


def _ordered_as(first: Any, batch: Any) -> Any:
    """With the keys of mappings in the order that the first batch has them in."""
    if not isinstance(first, dict) or not isinstance(batch, dict) or first.keys() != batch.keys():
        return batch
    return {key: _ordered_as(value, batch[key]) for key, value in first.items()}


def _as_described(x: Any, spec: Any) -> Any:
    """Floats of the type that is described."""
    are_floats = isinstance(x, torch.Tensor) and x.is_floating_point() and isinstance(spec, TensorSpec)
    return x.to(getattr(torch, spec.dtype)) if are_floats and spec.dtype in inputs.FLOATS else x


def _fitted(batch: Any, described: Description | None) -> Description:
    """What the model is called with: what a batch holds by name or in order, and what is described besides."""
    if isinstance(batch, dict):
        known = dict(described.kwargs) if described else {}
        missing = [name for name, node in known.items() if name not in batch and _holds_spec(node)]
        if missing:
            raise BadData(
                f"it yields no {', '.join(missing)}, which the model is called with: it has {', '.join(batch)}"
            )
        if described and described.args and known:
            raise BadData("it yields inputs by name, and the model is called with some by position: yield a list")
        return Description(kwargs={**known, **{name: _as_described(x, known.get(name)) for name, x in batch.items()}})
    if described is None:
        return Description(args=tuple(batch) if isinstance(batch, list | tuple) else (batch,), kwargs={})
    values = _leaves([batch])
    wanted = sum(isinstance(leaf, TensorSpec) for leaf in inputs.leaves(described))
    if len(values) != wanted:
        raise BadData(f"its batches hold {len(values)} tensors, and the model is called with {wanted}")
    rest = iter(values)
    fitted: Description = _changed(described, lambda spec: _as_described(next(rest), spec), TensorSpec)
    return fitted


def _holds_spec(node: Any) -> bool:
    return any(isinstance(leaf, TensorSpec) for leaf in inputs.leaves(node))


def _changed(node: Any, change: Callable[[Any], Any], kind: type = torch.Tensor) -> Any:
    """A nest with its leaves of one kind changed, in the order of `inputs.leaves`."""
    match node:
        case Description() | Made():
            args = tuple(_changed(child, change, kind) for child in node.args)
            kwargs = {key: _changed(child, change, kind) for key, child in node.kwargs.items()}
            return (
                Made(target=node.target, args=args, kwargs=kwargs)
                if isinstance(node, Made)
                else Description(args=args, kwargs=kwargs)
            )
        case dict():
            return {key: _changed(child, change, kind) for key, child in node.items()}
        case list() | tuple():
            return type(node)(_changed(child, change, kind) for child in node)
    return change(node) if isinstance(node, kind) else node
