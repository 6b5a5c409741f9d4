"""A model behind a module that takes one value, as alma calls every model: a tensor, or a tuple of all its tensors.

Its forward is written out for each model, for it is traced, scripted and exported like any other:

    def forward(self, data: Tuple[Tensor, Tensor]):
        output = self.model(data[0], mask=data[1], use_cache=False)
        return part(output, 'logits')
"""

import keyword
import linecache
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import torch

from sweep import inputs
from sweep.inputs import Description, Made

_numbers = count(1)

Way = Callable[[str, str], str]
"""Writes out how to take a part by its name."""

LOOKING: Way = "part({}, {!r})".format
BY_KEY: Way = "{}[{!r}]".format
BY_ATTRIBUTE: Way = "{}.{}".format
"""TorchScript knows what it has, and cannot look."""


class Facade(torch.nn.Module):
    """A model that is called with one value. `several` is whether that is a tuple of tensors, `takes_parts` whether
    parts of its output are taken by name, `written` what writes the class with a forward that takes them in a way."""

    several = False
    takes_parts = False

    def __init__(self, model: torch.nn.Module, written: Callable[[Way], type["Facade"]]) -> None:
        super().__init__()
        self.model, self._written = model, written

    def scriptable(self) -> list["Facade"]:
        """The same with each way that TorchScript may take."""
        return [self._written(way)(self.model, self._written).eval() for way in (BY_KEY, BY_ATTRIBUTE)]


def around(
    model: torch.nn.Module, described: Description, parts: Sequence[str], locate: Callable[[str], Any]
) -> Facade:
    """The facade of a model that is called as described, of whose output these parts count, or all.

    `locate` finds what is at a dotted path.
    """
    number = sum(isinstance(leaf, inputs.TensorSpec) for leaf in inputs.leaves(described))

    def written(way: Way) -> type[Facade]:
        return _written(described, parts, locate, way, number)

    return written(LOOKING)(model, written).eval()


def part(output: Any, key: str) -> Any:
    """What an output holds under a name: a mapping's value, or an object's attribute."""
    return output[key] if isinstance(output, Mapping) else getattr(output, key)


def _written(
    described: Description, parts: Sequence[str], locate: Callable[[str], Any], way: Way, number: int
) -> type[Facade]:
    known: dict[str, Any] = {"part": part, "Tensor": torch.Tensor, "Tuple": tuple}
    writer = _Writer(known, locate, several=number > 1)
    annotation = f": Tuple[{', '.join(['Tensor'] * number)}]" if number > 1 else ""
    taken = ", ".join(_taken("output", inputs.steps(path), way) for path in parts) or "output"
    lines = [
        f"def forward(self, data{annotation}):",
        f"    output = self.model({writer.arguments(described.args, described.kwargs)})",
        f"    return {taken}",
    ]
    source, name = "\n".join(lines) + "\n", f"<facade {next(_numbers)}>"
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name  # TorchScript reads it
    exec(compile(source, name, "exec"), known)  # noqa: S102
    return type(
        "Facade",
        (Facade,),
        {
            "forward": known["forward"],
            "several": number > 1,
            "takes_parts": any(isinstance(step, str) for path in parts for step in inputs.steps(path)),
            "__module__": __name__,
        },
    )


def _taken(output: str, steps: Sequence[str | int], way: Way) -> str:
    for step in steps:
        output = way(output, step) if isinstance(step, str) else f"{output}[{step}]"
    return output


class _Writer:
    """Writes what a model is called with as Python; what that needs besides goes into `known`."""

    def __init__(self, known: dict[str, Any], locate: Callable[[str], Any], *, several: bool) -> None:
        self._known, self._locate, self._several = known, locate, several
        self._tensors = count()

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        written = [self._node(node) for node in args]
        if all(key.isidentifier() and not keyword.iskeyword(key) for key in kwargs):
            written += [f"{key}={self._node(node)}" for key, node in kwargs.items()]
        else:
            written.append(f"**{self._node(kwargs)}")
        return ", ".join(written)

    def _node(self, node: Any) -> str:  # noqa: PLR0911
        match node:
            case inputs.TensorSpec():
                number = next(self._tensors)
                return f"data[{number}]" if self._several else "data"
            case Made():
                name = f"target{len(self._known)}"
                self._known[name] = self._locate(node.target)
                return f"{name}({self.arguments(node.args, node.kwargs)})"
            case Mapping():
                return "{" + ", ".join(f"{key!r}: {self._node(child)}" for key, child in node.items()) + "}"
            case tuple():
                return "(" + "".join(f"{self._node(child)}, " for child in node) + ")"
            case list():
                return "[" + ", ".join(map(self._node, node)) + "]"
            case float() if not math.isfinite(node):
                return f"float({str(node)!r})"
        return repr(node)
