"""Reads what a model returns: each of its parts by its path, whatever they are nested in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any, Literal

import numpy
import torch

Kind = Literal["float", "integer", "boolean", "string"]

Part = torch.Tensor | tuple[str, ...]
"""One leaf of an output, on the CPU and copied: fp64, int64 or bool; or texts, each as it is."""

Parts = dict[str, Part]
"""An output by the paths of its leaves, in order: `logits`, `[0].boxes`; `output` where it is a single leaf."""

DEEPEST, MOST_PARTS = 20, 2000
"""Of an object whose attributes are looked through. A nest of tensors is neither that deep nor that wide."""


class UnreadableOutput(TypeError):
    """An output of which no tensors can be read."""


def read(output: Any) -> Parts:
    """Every tensor, array, number and text in a model's output.

    Mappings, sequences, named tuples, dataclasses and objects that hold tensors (caches, say) are read as nests; None
    is left out. Copied because some engines hand out the same buffer at every call. Raises UnreadableOutput for
    anything else: an object that can turn into a tensor may not have done its work yet.
    """
    parts: Parts = {}
    for path, leaf in _leaves(output):
        name = path or "output"
        while name in parts:  # such as of the keys 1 and "1"
            name += "'"
        parts[name] = _part(path, leaf)
    return parts


def kind_of(part: Part) -> Kind:
    if isinstance(part, tuple):
        return "string"
    return "boolean" if part.dtype == torch.bool else "float" if part.dtype.is_floating_point else "integer"


def touch(output: Any, places: Sequence[Any] = ()) -> None:
    """Have all values of an output, as whoever uses it would; a copy, and no more. Raises as `read` does.

    `places` on the CPU take the copies, those that are of the kind and shape: new memory for each costs more than they
    do, and now more, now less.
    """
    rest = iter(places)
    for _, leaf in _leaves(output):
        place = next(rest, None)
        if isinstance(leaf, torch.Tensor):
            values = plain(leaf)
            if isinstance(place, torch.Tensor) and (place.shape, place.dtype) == (values.shape, values.dtype):
                place.copy_(values)
            else:
                values.to("cpu", copy=True)
        elif isinstance(leaf, numpy.ndarray):
            if isinstance(place, numpy.ndarray) and (place.shape, place.dtype) == (leaf.shape, leaf.dtype):
                numpy.copyto(place, leaf)
            else:
                leaf.copy()


def ready(output: Any) -> list[Any]:
    """The values of an output as plain tensors and arrays that are there already. Raises as `read` does."""
    return [_copied(leaf) for _, leaf in _leaves(output)]


def _copied(leaf: Any) -> Any:
    if isinstance(leaf, numpy.ndarray):
        return leaf.copy()
    return plain(leaf).clone() if isinstance(leaf, torch.Tensor) else leaf


def places_for(values: Sequence[Any]) -> list[Any]:
    """Room on the CPU for the values that `ready` gave."""
    return [value.to("cpu", copy=True) if isinstance(value, torch.Tensor) else _copied(value) for value in values]


def tensors(output: Any) -> list[torch.Tensor]:
    """The tensors in an output; none of one that cannot be read."""
    with suppress(UnreadableOutput):
        return [leaf for _, leaf in _leaves(output) if isinstance(leaf, torch.Tensor)]
    return []


def devices_of(output: Any, model: torch.nn.Module) -> str:
    """The device types that the output and the model's parameters live on; arrays live on the CPU."""
    leaves = [*tensors(output), *model.parameters()]
    return "+".join(sorted({leaf.device.type for leaf in leaves})) or "cpu"


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """A dense tensor with the values of one of any class. Raises UnreadableOutput where there are none."""
    if tensor.device.type == "meta":
        raise UnreadableOutput("the output is on the meta device, where tensors hold no values")
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized or type(tensor).dequantize is not torch.Tensor.dequantize:
        tensor = tensor.dequantize()  # a subclass may keep its values in another form
    if type(tensor) is not torch.Tensor:
        tensor = tensor.to(copy=True) if tensor.dtype.is_floating_point else tensor
        tensor = tensor.as_subclass(torch.Tensor)
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _part(name: str, leaf: Any) -> Part:
    if isinstance(leaf, str | bytes):
        return (str.__str__(leaf) if isinstance(leaf, str) else repr(leaf),)
    if isinstance(leaf, numpy.ndarray) and leaf.dtype.kind in "OSU":
        if not all(isinstance(item, str | bytes) for item in leaf.flat):
            raise UnreadableOutput(f"the output{_at(name)} is an array of objects")
        return tuple(map(str, leaf.flat))
    try:
        tensor = torch.as_tensor(leaf.copy() if isinstance(leaf, numpy.ndarray) else leaf)  # it may be a reversed view
    except TypeError as error:
        raise UnreadableOutput(
            f"the output{_at(name)} holds {leaf.dtype} values, which torch has no type for"
        ) from error
    tensor = plain(tensor)
    if tensor.device.type != "cpu":
        tensor = tensor.to("cpu")  # as it is: not every device has float64
    if tensor.dtype == torch.bool:
        return tensor.to("cpu", copy=True)
    return tensor.to("cpu", torch.float64 if tensor.dtype.is_floating_point else torch.int64, copy=True)


def _leaves(output: Any, name: str = "", within: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    if output is None:
        return
    if isinstance(output, torch.Tensor | numpy.ndarray | numpy.generic | int | float | complex | str | bytes):
        yield name, output
        return
    children = _children(output, name)
    if children is None or id(output) in within or len(within) > DEEPEST:
        kind = type(output).__name__
        hint = "return tensors, or sequences, mappings or dataclasses of them"
        raise UnreadableOutput(f"the output{_at(name)} holds a {kind}, of which no tensors can be read: {hint}")
    for path, child in children:
        yield from _leaves(child, path, (*within, id(output)))


def _children(nest: Any, name: str) -> list[tuple[str, Any]] | None:
    """What a nest holds, with its paths; None of what is no nest."""
    dotted: Callable[[Any], str] = lambda key: f"{name}.{key}" if name else str(key)  # noqa: E731
    if isinstance(nest, Mapping):
        return [(dotted(key), child) for key, child in nest.items()]
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return [(dotted(key), child) for key, child in zip(nest._fields, nest, strict=True)]
    if isinstance(nest, list | tuple | set | frozenset):
        return [(f"{name}[{number}]", child) for number, child in enumerate(nest)]
    if is_dataclass(nest) and not isinstance(nest, type):
        return [(dotted(part.name), getattr(nest, part.name)) for part in fields(nest)]
    if any(hasattr(nest, way) for way in ("__array__", "__dlpack__", "__torch_function__", "__next__")):
        return None
    held = [(key, child) for key, child in getattr(nest, "__dict__", {}).items() if _holds_tensors(child)]
    return [(dotted(key), child) for key, child in held[:MOST_PARTS]] or None


def _holds_tensors(value: Any, depth: int = 0) -> bool:
    if isinstance(value, torch.Tensor | numpy.ndarray):
        return True
    if depth > DEEPEST or isinstance(value, torch.nn.Module | type) or callable(value):
        return False
    if isinstance(value, Mapping):
        return any(_holds_tensors(child, depth + 1) for child in value.values())
    if isinstance(value, list | tuple | set):
        return any(_holds_tensors(child, depth + 1) for child in value)
    return any(_holds_tensors(child, depth + 1) for child in getattr(value, "__dict__", {}).values())


def _at(name: str) -> str:
    return f" at {name}" if name else ""
