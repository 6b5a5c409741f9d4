"""Rules over the fields of a cell: which cells are left out, and which run under other options."""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pydantic import ValidationError

from sweep import reading
from sweep.cell import OPTIONS, PARTS, Mode, Request, Tolerance
from sweep.errors import BadRequest
from sweep.plan.names import did_you_mean, near
from sweep.reading import flat

_PLAIN = tuple(name for name, option in OPTIONS.items() if option.plain)
_WHOLE = ("model", "conversion", "device", *_PLAIN, "engine", "precision", "dtype")
_PARTS: dict[str, type | None] = {"model": None, **PARTS}
_BY_RULE = sorted((name for name, option in OPTIONS.items() if option.by_rule), key=lambda name: (name in _PLAIN, name))
_COMPARED = re.compile(r"(<=|>=|<|>)\s*(-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)", re.IGNORECASE)

Condition = Mapping[str, Any]
"""Patterns by field; a cell meets it that meets each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """Options, by their dotted names, for the cells that meet a condition."""

    when: Condition
    set: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """What becomes of a grid's cells before they run.

    Where `include` holds conditions, cells that meet none of them are left out; so are cells that meet one in
    `exclude`. Of the `rules`, all that a cell meets hold for it, later ones over earlier. Raises ValueError for a
    field or an option that no cell has.
    """

    include: tuple[Condition, ...] = ()
    exclude: tuple[Condition, ...] = ()
    rules: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        problems = [
            problem
            for where, condition in self.conditions()
            for name in condition
            if (problem := _unknown_field(where, name))
        ]
        problems += [
            f"rules[{number}].set: {name} cannot be set by a rule: {', '.join(_BY_RULE[:-1])} and {_BY_RULE[-1]} can"
            for number, override in enumerate(self.rules)
            for name in override.set
            if not _may_be_set(name)
        ]
        problems += [f"{where}: a rule without a field means every cell" for where, c in self.conditions() if not c]
        if problems:
            raise ValueError("; ".join(problems))

    def conditions(self) -> Iterator[tuple[str, Condition]]:
        """Every condition, with where it stands."""
        for name, conditions in (("include", self.include), ("exclude", self.exclude)):
            for number, condition in enumerate(conditions):
                yield f"{name}[{number}]", condition
        for number, override in enumerate(self.rules):
            yield f"rules[{number}]", override.when

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude or self.rules)


EVERY_CELL = Grid()


class RuleMatcher:
    """What the rules of a grid make of a request's cells; answers are remembered, for those are much alike."""

    def __init__(self, grid: Grid, request: Request) -> None:
        self._grid, self._request = grid, request
        self._fields = _fields_of(request) if grid else {}
        self._changed: dict[tuple[int, ...], Request] = {(): request}

    def rules_met(self, conversion: str, mode: Mode | None) -> tuple[int, ...]:
        """The numbers of the rules that hold for one of its conversions."""
        if not self._grid.rules:
            return ()
        known = self._fields | _fields_of_mode(conversion, mode)
        return tuple(number for number, override in enumerate(self._grid.rules) if _meets(known, override.when))

    def changed(self, met: tuple[int, ...]) -> Request:
        """The request with what these rules set. Raises BadRequest where one sets an option to what it cannot be."""
        if met not in self._changed:
            self._changed[met] = _changed(self._request, {number: self._grid.rules[number].set for number in met})
        return self._changed[met]

    def exclusion(self, conversion: str, mode: Mode | None) -> str | None:
        """Which rule leaves out one of its conversions, if one does."""
        include, exclude = self._grid.include, self._grid.exclude
        known = self._fields | _fields_of_mode(conversion, mode) if include or exclude else {}
        if include and not any(_meets(known, condition) for condition in include):
            return "it meets no rule of include"
        for number, condition in enumerate(exclude):
            if _meets(known, condition):
                return f"exclude[{number}] leaves it out: {worded(condition)}"
        return None


def worded(condition: Condition) -> str:
    """`model=vit, batch_size>8`."""
    compared = (str(value) if _COMPARED.fullmatch(str(value)) else f"={value}" for value in condition.values())
    return ", ".join(map("".join, zip(condition, compared, strict=True)))


def refuse_unknown(grid: Grid, asked: Iterable[Request], modes: Mapping[str, Mode]) -> None:
    """Raise BadRequest for conversions in rules that exist nowhere: such a rule would be passed over in silence."""
    named = {name for request in asked if isinstance(request.conversions, tuple) for name in request.conversions}
    problems = []
    for where, condition in grid.conditions():
        for pattern in _each(condition.get("conversion", ())):
            name = str(pattern).removeprefix("!")
            if not set("*?[") & set(name) and name not in modes and name not in named:
                hint = did_you_mean(near(name, list(modes)))
                problems.append(f"{where}: unknown conversion {name!r}{hint}")
    if problems:
        raise BadRequest(*problems)


def unmet(grid: Grid, asked: Iterable[tuple[Request, Sequence[str]]], modes: Mapping[str, Mode]) -> list[str]:
    """Where a condition stands that no cell meets, in words; `asked` is each request with its conversions."""
    left = dict(grid.conditions())
    for request, conversions in asked if left else ():
        known = _fields_of(request)
        for name in conversions:
            fields = known | _fields_of_mode(name, modes.get(name))
            left = {where: condition for where, condition in left.items() if not _meets(fields, condition)}
    return [f"{where} ({worded(condition)}) meets no cell" for where, condition in left.items()]


def _fields_of(asked: Request) -> dict[str, Any]:
    """What can be asked of every cell of a request, and of options inside options by their dotted names."""
    whole = {name: getattr(asked, name) for name in _PLAIN}
    parts = {"model": asked.model.config, **{name: asdict(getattr(asked, name)) for name in _PARTS if name != "model"}}
    inside = {f"{part}.{name}": value for part, node in parts.items() for name, value in flat(node)}
    return {**whole, **inside, "model": asked.model.name, "device": asked.device.name}


def _fields_of_mode(conversion: str, mode: Mode | None) -> dict[str, Any]:
    about = {name: getattr(mode, name) for name in ("engine", "precision", "dtype")} if mode else {}
    return {"conversion": conversion, **about}


def _meets(known: Mapping[str, Any], condition: Condition) -> bool:
    return all(name in known and _fits(known[name], pattern) for name, pattern in condition.items())


def _fits(value: Any, pattern: Any) -> bool:
    """Whether a value is one of a list, is the number or the word, compares so (`>8`), or has that form (`*QUANT*`)."""
    if isinstance(pattern, list | tuple):
        return any(_fits(value, one) for one in pattern)
    if not isinstance(pattern, str):
        return bool(value == pattern)
    if pattern.startswith("!"):
        return not _fits(value, pattern[1:])
    if compared := _COMPARED.fullmatch(pattern):
        return isinstance(value, int | float) and _compares(float(value), compared[1], float(compared[2]))
    return fnmatch.fnmatchcase(str(value), pattern)


def _compares(value: float, how: str, bound: float) -> bool:
    match how:
        case "<":
            return value < bound
        case "<=":
            return value <= bound
        case ">":
            return value > bound
        case _:
            return value >= bound


def _each(patterns: Any) -> Sequence[Any]:
    return patterns if isinstance(patterns, list | tuple) else [patterns]


def _unknown_field(where: str, name: str) -> str | None:
    part, _, inner = name.partition(".")
    noun = _PARTS.get(part)
    names = [field.name for field in fields(noun)] if noun else []
    if name in _WHOLE or (inner and part in _PARTS and (noun is None or inner.partition(".")[0] in names)):
        return None
    every = [*_WHOLE, *(f"{part}.{inner}" for inner in names)]
    return f"{where}: no cell has a field {name!r}{did_you_mean(near(name, every))}"


def _may_be_set(name: str) -> bool:
    part, _, inner = name.partition(".")
    if part == "tolerance":
        return inner.count(".") == 1 and inner.partition(".")[2] in {field.name for field in fields(Tolerance)}
    if part not in _BY_RULE:
        return False
    noun = _PARTS.get(part)
    return name in _PLAIN if noun is None else inner in {field.name for field in fields(noun)}


def _changed(request: Request, by_rule: Mapping[int, Mapping[str, Any]]) -> Request:
    """The request with what rules set; that shows in `overrides`, but for limits and what has a column."""
    plain = asdict(request)
    overrides = dict(request.overrides)
    where = ", ".join(f"rules[{number}].set" for number in by_rule)
    for name, value in [item for changes in by_rule.values() for item in changes.items()]:
        *path, last = name.split(".")
        if path[:1] == ["tolerance"] and path[1] not in request.tolerance:
            hint = did_you_mean(near(path[1], list(request.tolerance)))
            raise BadRequest(f"{where}: there is no tolerance class {path[1]!r}{hint}")
        node = plain
        for part in path:
            node = node[part]
        node[last] = value
        if path and path[0] != "limits":
            overrides[name] = str(value)
    plain["overrides"] = overrides
    try:
        changed: Request = reading.of(Request).validate_python(plain)
    except ValidationError as error:
        problems = [problem["msg"].removeprefix("Value error, ") for problem in error.errors()]
        raise BadRequest(*(f"{where}: {problem}" for problem in problems)) from error
    return replace(changed, model=request.model, device=request.device)  # cells share what is the same in them
