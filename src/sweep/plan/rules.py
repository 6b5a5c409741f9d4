"""Rules over the fields of a cell: which are left out, which run under other options, which in another environment."""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from pydantic import ValidationError

from sweep import reading
from sweep.cell import OPTIONS, PARTS, PLAIN, Mode, Request, Tolerance
from sweep.errors import BadRequest
from sweep.plan import environments
from sweep.plan.environments import ForConversions
from sweep.plan.names import did_you_mean, near
from sweep.reading import flat

_WHOLE = ("model", "data", "conversion", "device", *PLAIN, "engine", "precision", "dtype")
_PARTS: dict[str, type | None] = {"model": None, "data": None, **PARTS}
_BY_RULE = sorted((name for name, option in OPTIONS.items() if option.by_rule), key=lambda name: (name in PLAIN, name))
_COMPARISON = re.compile(r"(<=|>=|<|>)\s*(-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)", re.IGNORECASE)

Condition = Mapping[str, Any]
"""Patterns by field; a cell meets a condition where each of these fields matches its pattern."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """Options to `set`, by their dotted names, for the cells that meet the condition `when`."""

    when: Condition
    set: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The rules of a grid: which of its cells are left out, which get other options, which run in `environments`.

    Where `include` holds conditions, cells that meet none of them are left out; so are cells that meet one in
    `exclude`. All `rules` that a cell meets are applied, and a later one overrides an earlier one. Raises ValueError
    for a field or an option that no cell has.
    """

    include: tuple[Condition, ...] = ()
    exclude: tuple[Condition, ...] = ()
    rules: tuple[Override, ...] = ()
    environments: Mapping[str, ForConversions] = field(default_factory=dict)

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
        problems += environments.wrong_names(self.environments)
        if problems:
            raise ValueError("; ".join(problems))

    def conditions(self) -> Iterator[tuple[str, Condition]]:
        """Every condition, after its place in the configuration, such as `exclude[0]`."""
        for name, conditions in (("include", self.include), ("exclude", self.exclude)):
            for number, condition in enumerate(conditions):
                yield f"{name}[{number}]", condition
        for number, override in enumerate(self.rules):
            yield f"rules[{number}]", override.when

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude or self.rules)


EVERY_CELL = Grid()


class RuleMatcher:
    """Applies the rules of a grid to the cells of a request; answers are remembered, as many cells get the same."""

    def __init__(self, grid: Grid, request: Request) -> None:
        self._grid, self._request = grid, request
        self._fields = _fields_of(request) if grid else {}
        self._changed: dict[tuple[int, ...], Request] = {(): request}

    def rules_met(self, conversion: str, mode: Mode | None) -> tuple[int, ...]:
        """The numbers of the rules that the cell of a conversion meets."""
        if not self._grid.rules:
            return ()
        known = self._fields | _fields_of_mode(conversion, mode)
        return tuple(number for number, override in enumerate(self._grid.rules) if _meets(known, override.when))

    def with_rules(self, met: tuple[int, ...]) -> Request:
        """The request with the options that these rules set. Raises BadRequest for a value an option cannot have."""
        if met not in self._changed:
            self._changed[met] = _with_options_set(
                self._request, {number: self._grid.rules[number].set for number in met}
            )
        return self._changed[met]

    def exclusion(self, conversion: str, mode: Mode | None) -> str | None:
        """Which rule leaves out the cell of a conversion, in words; None if no rule does."""
        include, exclude = self._grid.include, self._grid.exclude
        known = self._fields | _fields_of_mode(conversion, mode) if include or exclude else {}
        if include and not any(_meets(known, condition) for condition in include):
            return "it meets no rule of include"
        for number, condition in enumerate(exclude):
            if _meets(known, condition):
                return f"exclude[{number}] leaves it out: {condition_text(condition)}"
        return None


def condition_text(condition: Condition) -> str:
    """A condition as text: `model=vit, batch_size>8`."""
    patterns = (str(value) if _COMPARISON.fullmatch(str(value)) else f"={value}" for value in condition.values())
    return ", ".join(map("".join, zip(condition, patterns, strict=True)))


def refuse_unknown_conversions(grid: Grid, requests: Iterable[Request], modes: Mapping[str, Mode]) -> None:
    """Raise BadRequest for conversions in rules that do not exist, which would silently do nothing, and for those that
    are in several environments.
    """
    named = {name for request in requests if isinstance(request.conversions, tuple) for name in request.conversions}
    problems = environments.problems(grid.environments, sorted(named), modes)
    for where, condition in grid.conditions():
        for pattern in _as_list(condition.get("conversion", ())):
            name = str(pattern).removeprefix("!")
            if not set("*?[") & set(name) and name not in modes and name not in named:
                hint = did_you_mean(near(name, list(modes)))
                problems.append(f"{where}: unknown conversion {name!r}{hint}")
    if problems:
        raise BadRequest(*problems)


def unused_conditions(
    grid: Grid, requests: Iterable[tuple[Request, Sequence[str]]], modes: Mapping[str, Mode]
) -> list[str]:
    """The conditions that no cell meets, and environments that none runs in, in words.

    `requests` has each request with its conversions.
    """
    requests, unused = list(requests), dict(grid.conditions())
    asked = dict.fromkeys(name for _, conversions in requests for name in conversions)
    for request, conversions in requests if unused else ():
        known = _fields_of(request)
        for name in conversions:
            fields = known | _fields_of_mode(name, modes.get(name))
            unused = {where: condition for where, condition in unused.items() if not _meets(fields, condition)}
    return [
        *(f"{where} ({condition_text(condition)}) meets no cell" for where, condition in unused.items()),
        *environments.unused(grid.environments, asked, modes),
    ]


def _fields_of(request: Request) -> dict[str, Any]:
    """The fields that all cells of a request have in common, options inside options by their dotted names."""
    whole = {name: getattr(request, name) for name in PLAIN}
    data = asdict(request.data) if request.data else {}
    parts: dict[str, Mapping[str, Any]] = {"model": request.model.config, "data": data | data.get("arguments", {})}
    parts |= {name: asdict(getattr(request, name)) for name in PARTS}
    inside = {f"{part}.{name}": value for part, node in parts.items() for name, value in flat(node)}
    named = {"model": request.model.name, "data": data.get("name"), "device": request.device.name}
    return {**whole, **inside, **named}


def _fields_of_mode(conversion: str, mode: Mode | None) -> dict[str, Any]:
    about = {name: getattr(mode, name) for name in ("engine", "precision", "dtype")} if mode else {}
    return {"conversion": conversion, **about}


def _meets(known: Mapping[str, Any], condition: Condition) -> bool:
    return all(name in known and _matches(known[name], pattern) for name, pattern in condition.items())


def _matches(value: Any, pattern: Any) -> bool:
    """Whether a value matches a pattern: a list of patterns, a value, `!` and a pattern, `>8`, or `*QUANT*`."""
    if isinstance(pattern, list | tuple):
        return any(_matches(value, item) for item in pattern)
    if not isinstance(pattern, str):
        return bool(value == pattern)
    if pattern.startswith("!"):
        return not _matches(value, pattern[1:])
    if comparison := _COMPARISON.fullmatch(pattern):
        return isinstance(value, int | float) and _compares(float(value), comparison[1], float(comparison[2]))
    return fnmatch.fnmatchcase(str(value), pattern)


def _compares(value: float, operator: str, bound: float) -> bool:
    match operator:
        case "<":
            return value < bound
        case "<=":
            return value <= bound
        case ">":
            return value > bound
        case _:
            return value >= bound


def _as_list(patterns: Any) -> Sequence[Any]:
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
    return name in PLAIN if noun is None else inner in {field.name for field in fields(noun)}


def _with_options_set(request: Request, by_rule: Mapping[int, Mapping[str, Any]]) -> Request:
    """The request with the options that rules set; `overrides` has them too, but for those with a column."""
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
        if path:
            overrides[name] = str(value)
    plain["overrides"] = overrides
    try:
        changed: Request = reading.of(Request).validate_python(plain)
    except ValidationError as error:
        problems = [problem["msg"].removeprefix("Value error, ") for problem in error.errors()]
        raise BadRequest(*(f"{where}: {problem}" for problem in problems)) from error
    return replace(changed, model=request.model, device=request.device)  # so that cells share these objects
