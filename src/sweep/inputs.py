"""What a model is called with, as its config describes it: tensors in any nest, constants, and sizes by name.

    input: {shape: [3, 224, 224]}                       one tensor, the batch in front of its shape
    inputs: [A, B]                                      what is given by position
    inputs: {ids: A, mask: B, _args_: [C]}              what is given by name, and by position

    A:  {shape: [batch, seq], dtype: int64, high: vocabulary}    a tensor: FILLS says how it is filled
        {like: ids, fill: ones}                         one of the shape of another
        [A, B]   {tuple: [A, B]}   {key: A}             a list, a tuple, a mapping
        {times: batch, of: A}                           a list of so many
        {_target_: package.Cache, layers: [A]}          an object that is made of them, at every call
        true, 0.5, text, null                           constants

A size is a number, `batch`, the name of a number in the model's config, or a sum of those: `past+seq`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FILLS = ("normal", "uniform", "integers", "mask", "zeros", "ones", "arange")
"""Standard normal; uniform in [low, high), or integers there; ones up to a random length in each row, then zeros; all
zeros or ones; the numbers from 0 in each row. A row is what lies along the last dimension."""

FLOATS = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8", "bool")

KEYS = {"shape", "like", "dtype", "fill", "low", "high"}
"""What a tensor's description may hold."""

_PATH = re.compile(r"(?:\[(\d+)\]|(?:^|\.)([^.\[\]]+))")


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """One tensor: its shape, the batch in it, its type as torch names it, and how it is filled; see FILLS."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    fill: str = "normal"
    low: float = 0
    high: float = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """An object that is made of tensors at every call: a cache, say. `target` is what is called with the rest."""

    target: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What a model is called with. Its leaves are TensorSpecs and constants, in lists, tuples, mappings and Mades."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any]


class BadDescription(ValueError):
    """A config that does not say what its model is called with; `problems` are all that were found, in words."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def describe(config: Mapping[str, Any], batch: int = 1) -> Description:
    """What the model of this config is called with, at this batch size. Raises BadDescription."""
    if _has(config, "inputs") and _has(config, "input"):
        raise BadDescription(["has input and inputs: one of them describes what it is called with"])
    reader = _Reader(config, batch)
    described = reader.description()
    if not reader.problems and not any(isinstance(leaf, TensorSpec) for leaf in leaves(described)):
        reader.problems.append("inputs holds no tensor")
    if reader.problems:
        raise BadDescription(reader.problems)
    return described


def _has(config: Mapping[str, Any], key: str) -> bool:
    return config.get(key) is not None


def leaves(node: Any) -> Iterator[Any]:
    """The tensors and constants of a description, in order."""
    if isinstance(node, Description | Made):
        yield from leaves([*node.args, node.kwargs])
    elif isinstance(node, Mapping):
        yield from leaves(list(node.values()))
    elif isinstance(node, list | tuple):
        for child in node:
            yield from leaves(child)
    else:
        yield node


def is_computed(config: Mapping[str, Any]) -> bool:
    """Whether a function of the model, and not the config, says what it is called with."""
    return isinstance(config.get("inputs"), Mapping) and "_target_" in config["inputs"]


def sizes(config: Mapping[str, Any]) -> set[str]:
    """The keys of a config that its inputs take as sizes, or that the function has as arguments that says them."""
    if is_computed(config):
        return {str(key) for key in config["inputs"] if key in config} - {"_target_"}
    reader = _Reader(config, 1)
    reader.description()
    return reader.names


def shapes(config: Mapping[str, Any]) -> list[Mapping[str, int]]:
    """The further sizes that are asked for, each as those that differ."""
    return list(config.get("shapes") or ())


def outputs(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The paths of the parts of its output that count; none where all do."""
    paths = config.get("output")
    return () if paths is None else (paths,) if isinstance(paths, str) else tuple(map(str, paths))


def steps(path: str) -> list[str | int]:
    """The keys and places that lead to a part, as `past[0].key` has them. Raises ValueError for what is no path."""
    found = list(_PATH.finditer(path))
    if "".join(match.group() for match in found) != path or not path:
        raise ValueError(f"{path!r} is no path: such as logits, [0] or past[0].key")
    return [int(match[1]) if match[1] else match[2] for match in found]


def are_described(config: Mapping[str, Any]) -> bool:
    """Whether a config says what its model is called with."""
    return _has(config, "inputs") or _has(config, "input")


def problems(config: Mapping[str, Any], *, needed: bool = True) -> list[str]:
    """All that is wrong with what a config says of inputs, which may be `needed`, and of outputs, in words."""
    found: list[str] = []
    if not is_computed(config) and (needed or are_described(config) or config.get("shapes")):
        try:
            describe(config)
        except BadDescription as error:
            found += error.problems
    found += _shape_problems(config)
    wanted = config.get("output")
    if wanted is not None and (not isinstance(wanted, str | list) or not wanted):
        return [*found, "output must be a path, such as logits, or a list of them"]
    for path in outputs(config):
        try:
            steps(path)
        except ValueError as error:
            found.append(f"output: {error}")
    return found


def _shape_problems(config: Mapping[str, Any]) -> list[str]:
    further, known = config.get("shapes"), {*sizes(config), "batch"}
    if further is None:
        return []
    if not isinstance(further, list) or not all(isinstance(one, Mapping) and one for one in further):
        return ["shapes must be a list of sizes, such as [{seq: 64}, {batch: 4, seq: 256}]"]
    return [
        f"shapes: {name}={size}: "
        + ("a size is a whole number above 0" if name in known else f"the sizes are {', '.join(sorted(known))}")
        for one in further
        for name, size in one.items()
        if name not in known or type(size) is not int or size < 1
    ]


class _Reader:
    """Reads a config's inputs, and collects what is wrong with them and the names that are taken as sizes."""

    def __init__(self, config: Mapping[str, Any], batch: int) -> None:
        self._config, self._batch = config, batch
        self.problems: list[str] = []
        self.names: set[str] = set()

    def description(self) -> Description:
        return self._inputs() if _has(self._config, "inputs") else self._input()

    def _input(self) -> Description:
        node = self._config.get("input")
        shape = node.get("shape") if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping) or not isinstance(shape, list):
            self.problems.append("needs input.shape, the sizes of one sample without its batch, such as [3, 224, 224]")
            return Description(kwargs={})
        return Description(args=(self._tensor({**node, "shape": ["batch", *shape]}, "input"),), kwargs={})

    def _inputs(self) -> Description:
        node = self._config["inputs"]
        if isinstance(node, Mapping):
            args, kwargs = self._call(node, "")
            return Description(args=args, kwargs=kwargs)
        if isinstance(node, list):
            return Description(args=tuple(self._node(child, f"[{n}]") for n, child in enumerate(node)), kwargs={})
        self.problems.append("inputs must be a list, of what is given by position, or a mapping, by name")
        return Description(kwargs={})

    def _call(self, node: Mapping[str, Any], path: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional = node.get("_args_") or []
        args = tuple(self._node(child, f"{path}[{n}]") for n, child in enumerate(positional))
        named = {str(key): child for key, child in node.items() if key not in {"_args_", "_target_"}}
        return args, {key: self._node(child, f"{path}.{key}".lstrip(".")) for key, child in named.items()}

    def _node(self, node: Any, path: str) -> Any:  # noqa: PLR0911
        if isinstance(node, list):
            return [self._node(child, f"{path}[{number}]") for number, child in enumerate(node)]
        if not isinstance(node, Mapping):
            return node
        if node.keys() & {"shape", "like"}:
            return self._tensor(node, path)
        if "_target_" in node:
            args, kwargs = self._call(node, path)
            return Made(target=str(node["_target_"]), args=args, kwargs=kwargs)
        if set(node) == {"tuple"}:
            return tuple(self._node(child, f"{path}[{number}]") for number, child in enumerate(node["tuple"]))
        if set(node) == {"times", "of"}:
            count = self._size(node["times"], path)
            return [self._node(node["of"], f"{path}[{number}]") for number in range(count)]
        return {str(key): self._node(child, f"{path}.{key}") for key, child in node.items()}

    def _tensor(self, node: Mapping[str, Any], path: str) -> TensorSpec:
        shape = self._shape(node, path, ())
        dtype = str(node.get("dtype") or ("int64" if node.get("fill") in {"integers", "mask", "arange"} else "float32"))
        fill = str(node.get("fill") or ("normal" if dtype in FLOATS else "integers"))
        low = self._number(node.get("low", 0), path)
        high = self._number(node.get("high", 2 if fill == "integers" else 1), path)
        wrong = [
            (dtype not in (*FLOATS, *INTEGERS), f"dtype {dtype}: one of {', '.join((*FLOATS, *INTEGERS))}"),
            (fill not in FILLS, f"fill {fill}: one of {', '.join(FILLS)}"),
            (dtype in INTEGERS and fill in {"normal", "uniform"}, f"{dtype} cannot be filled with {fill} numbers"),
            (
                bool(node.keys() & {"low", "high"}) and fill not in {"uniform", "integers"},
                f"low and high are for fill: integers and uniform, not {fill}",
            ),
            (not shape and fill in {"mask", "arange"}, f"fill {fill} needs a shape of one dimension at least"),
            (fill in {"uniform", "integers"} and not low < high, f"low ({low:g}) must be less than high ({high:g})"),
        ]
        self.problems += [f"{path}: {text}" for is_wrong, text in wrong if is_wrong]
        return TensorSpec(shape=shape, dtype=dtype, fill=fill, low=low, high=high)

    def _shape(self, node: Mapping[str, Any], path: str, within: tuple[str, ...]) -> tuple[int, ...]:
        if "like" in node:
            other = str(node["like"])
            found = None if other in within or "shape" in node else self._at(other)
            if isinstance(found, Mapping) and found.keys() & {"shape", "like"}:
                return self._shape(found, other, (*within, other))
            self.problems.append(f"{path}: like {other} names no other tensor, such as ids, [0] or past[0].key")
            return ()
        if not isinstance(node["shape"], list):
            self.problems.append(f"{path}: shape must be a list of sizes, such as [batch, seq]")
            return ()
        return tuple(self._size(size, f"{path}.shape") for size in node["shape"])

    def _at(self, path: str) -> Any:
        """What the inputs hold at a path; None where there is nothing."""
        node = self._config.get("inputs")
        try:
            for step in steps(path):
                if isinstance(step, int) and isinstance(node, Mapping):
                    node = [node["of"]] * (step + 1) if "of" in node else node.get("tuple") or node["_args_"]
                node = node[step]  # type: ignore[index]
        except (ValueError, KeyError, IndexError, TypeError):
            return None
        return node

    def _size(self, size: Any, path: str) -> int:
        before, value = len(self.problems), self._number(size, path)
        if type(value) is int and value > 0:
            return value
        if len(self.problems) == before:
            self.problems.append(f"{path}: size {size} must be a whole number above 0")
        return 1

    def _number(self, value: Any, path: str) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        return sum(self._named(name.strip(), path) for name in str(value).split("+"))

    def _named(self, name: str, path: str) -> Any:
        if name.isdigit():
            return int(name)
        if name == "batch":
            return self._batch
        found = self._config.get(name)
        if type(found) in {int, float}:
            self.names.add(name)
            return found
        self.problems.append(f"{path}: there is no size {name!r}: give it beside inputs, such as {name}: 128")
        return 1
