"""The weights that a model computes with, and which of them are in the narrow format that a label names."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

import torch

Weights = Iterable[tuple[torch.Tensor, bool]]
"""Pairs that say of each whether it is narrow."""


def share_of_weights(weights: Weights) -> dict[str, Any]:
    """The share of weights that are narrow, of pairs that say of each whether it is; biases and scales are none."""
    sizes = [(tensor.numel(), narrow) for tensor, narrow in weights if tensor.dim() > 1]
    total = sum(size for size, _ in sizes)
    return {"share": sum(size for size, narrow in sizes if narrow) / total if total else None, "share_of": "weights"}


def of_model(model: torch.nn.Module, narrow: Callable[[torch.Tensor], bool]) -> Iterator[tuple[torch.Tensor, bool]]:
    """The parameters of a model, without tables that are only looked up."""
    looked_up = _looked_up(model)
    for tensor in model.parameters():
        if narrow(tensor) or id(tensor) not in looked_up:
            yield tensor, narrow(tensor)


def _looked_up(model: torch.nn.Module) -> set[int]:
    """Tables of embeddings, which nothing is computed with, by their ids; not those that another layer shares."""
    tables: set[int] = set()
    others: set[int] = set()
    for module in model.modules():
        held = {id(parameter) for parameter in module.parameters(recurse=False)}
        (tables if isinstance(module, torch.nn.Embedding | torch.nn.EmbeddingBag) else others).update(held)
    return tables - others


def of_graph(module: torch.fx.GraphModule) -> list[tuple[torch.Tensor, bool]]:
    """The weights that its nodes read, each once; and of each whether it is in int8, or rounded to it where it is read.

    A graph may still hold those that were replaced, which nothing reads. Tables of other integers are none.
    """
    readers: dict[str, list[str]] = defaultdict(list)
    for node in module.graph.nodes:
        if node.op == "get_attr":
            readers[str(node.target)] += [str(user.target) for user in node.users]
    looked_up = {name for name, by in readers.items() if all("embedding" in reader for reader in by)}
    found = {name: attrgetter(name)(module) for name, by in readers.items() if by and name not in looked_up}
    return [
        (tensor, tensor.dtype is torch.int8 or all("quantize_per" in by for by in readers[name]))
        for name, tensor in found.items()
        if isinstance(tensor, torch.Tensor) and (tensor.dtype is torch.int8 or tensor.is_floating_point())
    ]


def of_modules(module: torch.nn.Module) -> Iterator[tuple[torch.Tensor, bool]]:
    """The weights of its modules; and of each whether it is packed as integers, or rounded to them at every call."""
    looked_up = _looked_up(module)
    for part in module.modules():
        packed = getattr(part, "weight", None)
        if callable(packed):
            yield packed(), True
        for name, parameter in part.named_parameters(recurse=False):
            if id(parameter) in looked_up and not hasattr(part, "weight_fake_quant"):
                continue
            yield parameter, name == "weight" and hasattr(part, "weight_fake_quant")
