"""A model's input as one value: a tensor, or a tuple of all the tensors that it is called with."""

from collections.abc import Callable, Iterator, Sequence

import torch

from sweep.inputs import TensorSpec

Data = torch.Tensor | tuple[torch.Tensor, ...]


def tensors(data: Data) -> tuple[torch.Tensor, ...]:
    return data if isinstance(data, tuple) else (data,)


def each(data: Data, change: Callable[[torch.Tensor], torch.Tensor]) -> Data:
    """The same input with each tensor changed."""
    return tuple(map(change, data)) if isinstance(data, tuple) else change(data)


def clone(data: Data) -> Data:
    return each(data, torch.Tensor.clone)


def same(a: Data, b: Data) -> bool:
    """Whether two inputs of one form are equal to the last bit."""
    return all(map(_same, tensors(a), tensors(b)))


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) if a.is_floating_point() else torch.equal(a, b)


def floats_to(data: Data, dtype: torch.dtype) -> Data:
    """With what is of floats in this type; integers (token ids) stay as they are."""
    return each(data, lambda x: _to(x, dtype))


def cast(data: Data, dtype: torch.dtype) -> Data:
    """As `floats_to`, but fp64 stays where fp32 is wanted."""
    return each(data, lambda x: x if x.dtype == torch.float64 and dtype == torch.float32 else _to(x, dtype))


def _to(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return x.to(dtype) if x.is_floating_point() else x


def in_fp32(data: Data) -> Data:
    """With what is of fp64 in fp32."""
    return each(data, lambda x: x.float() if x.dtype == torch.float64 else x)


def filled(spec: TensorSpec, generator: torch.Generator) -> torch.Tensor:
    """A tensor on the CPU with the next numbers of a generator, as `inputs.FILLS` says."""
    shape, dtype = spec.shape, getattr(torch, spec.dtype)
    match spec.fill:
        case "normal":
            made = torch.randn(shape, generator=generator, dtype=dtype if dtype.is_complex else torch.float32)
        case "uniform":
            made = torch.rand(shape, generator=generator) * (spec.high - spec.low) + spec.low
        case "integers":
            made = torch.randint(int(spec.low), int(spec.high), shape, generator=generator)
        case "mask":
            lengths = torch.randint(1, shape[-1] + 1, (*shape[:-1], 1), generator=generator)
            made = torch.arange(shape[-1]) < lengths
        case "arange":
            made = torch.arange(shape[-1]).expand(shape).contiguous()
        case _:
            made = torch.full(shape, float(spec.fill == "ones"))
    return made.to(dtype)


UNLIKE = 1e-3
"""By what share floats of an input that nobody has seen differ from those of one that is there."""


def unseen(batches: Sequence[Data], seed: int, seen: int = 0) -> Iterator[Data]:
    """Inputs like these, without end: first those after `seen` ones, and rows in combinations that none of them has;
    floats are off by a thousandth besides. Of few integers that are no rows of a batch, some come again.
    """
    generator = torch.Generator().manual_seed(seed)
    columns = list(zip(*map(tensors, batches), strict=True))
    long = {x.shape[0] if x.dim() else 0 for x in columns[0]} if columns else set()
    have_rows = all(x.shape[:1] == columns[0][0].shape[:1] for column in columns for x in column) and long != {0}

    def changed(x: torch.Tensor) -> torch.Tensor:
        if not x.is_floating_point():
            return x.clone()
        return x * (1 + UNLIKE * torch.randn(x.shape, generator=generator).to(x))

    yield from (each(batch, changed) for batch in batches[seen:])
    pools = [torch.cat(column) for column in columns] if have_rows else []
    while True:
        for batch in batches:
            if not pools:
                yield each(batch, changed)
                continue
            rows = torch.randint(len(pools[0]), (len(tensors(batch)[0]),), generator=generator)
            mixed = tuple(changed(pool[rows]) for pool in pools)
            yield mixed if len(mixed) > 1 else mixed[0]
