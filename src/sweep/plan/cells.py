"""Turns requests into cells with stable ids; a cell that is requested twice is kept twice, and marked."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, replace
from functools import cache
from typing import Any

from sweep.cell import OPTIONS, Cell, Device, Mode, Model, Request, Rule
from sweep.options import Option
from sweep.plan import environments, registry, rules
from sweep.plan.rules import EVERY_CELL, Grid
from sweep.runtime_environment import Environment
from sweep.user_data import UserData


def expand(requests: Iterable[Request], modes: Mapping[str, Mode], grid: Grid = EVERY_CELL) -> list[Cell]:
    """Every cell that the requests ask for, in their order; no two have the same id.

    Cells that the rules of the grid leave out are marked. Raises BadRequest where a rule sets a value that its option
    cannot have.
    """
    cells: list[Cell] = []
    counts: dict[str, int] = {}
    first_ids: dict[str, str] = {}
    for request in requests:
        for cell in _cells_of(request, modes, grid):
            counts[cell.id] = counts.get(cell.id, 0) + 1
            if counts[cell.id] > 1:
                id_, first = f"{cell.id}~{counts[cell.id]}", first_ids.get(cell.id)
                cells.append(replace(cell, id=id_, duplicate_of=first))
            else:
                cells.append(cell)
            if not cell.excluded_by:
                first_ids.setdefault(cell.id, cells[-1].id)
    return cells


def conversions(request: Request, modes: Mapping[str, Mode]) -> tuple[str, ...]:
    """The names that a request asks for."""
    names = request.conversions
    return registry.select(names, modes) if isinstance(names, Rule) else names


def _cells_of(request: Request, modes: Mapping[str, Mode], grid: Grid) -> Iterable[Cell]:
    matcher = rules.RuleMatcher(grid, request)
    meanings: dict[tuple[int, ...], str] = {}  # cells that meet the same rules have all options in common
    for name in conversions(request, modes):
        mode = modes.get(name)
        met = matcher.rules_met(name, mode)
        changed = matcher.with_rules(met)
        environment = environments.of(name, mode, grid.environments)
        if met not in meanings:
            meanings[met] = _meaning(changed)
        cell = Cell.of(
            changed,
            id=cell_id(changed, name, meanings[met], mode, environment),
            conversion=name,
            mode=mode,
            environment=environment,
            excluded_by=matcher.exclusion(name, mode),
        )
        yield replace(cell, env=(*cell.env, *environment.variables)) if environment else cell


def _meaning(request: Request) -> str:
    """All options of a request that change what its cells mean, as JSON."""
    meaning = {
        name: _as_json(getattr(request, name)) for name in OPTIONS if _changes_meaning(request, name, OPTIONS[name])
    }
    return json.dumps(meaning, sort_keys=True, default=str)


def _changes_meaning(noun: Any, name: str, option: Option) -> bool:
    """Whether an option is part of the cell's id: a newer option is only where it does not have its default."""
    if option.meaning == "if set":
        part = type(noun).__dataclass_fields__[name]
        default = part.default if part.default_factory is MISSING else part.default_factory()
        return bool(getattr(noun, name) != default)
    return option.meaning == "always"


def _as_json(value: Any) -> Any:
    """The value of an option as it counts for the id, as JSON can hold it."""
    match value:
        case Model():
            return value.config
        case Device():
            return _device_needs(value)
        case UserData():
            return value.asked
        case Mapping():
            return {key: _as_json(item) for key, item in value.items()}
    return value


def _device_needs(device: Device) -> list[object]:
    """The name of a device and what it needs of its node; needs that are not set are left out."""
    needs = {name: getattr(device, name) for name in ("accelerator", "labels", "resources", "cpus", "memory")}
    return [device.name, device.kind, device.gpus, *({name: need} for name, need in needs.items() if need)]


def cell_id(
    request: Request, conversion: str, meaning: str, mode: Mode | None = None, environment: Environment | None = None
) -> str:
    """The id: a folder name that a person can read, with 40 bits of SHA-256 over all that changes the cell's meaning.

    How it is measured is not part of that, nor deadlines: a cell that is tried again with more time is the same cell,
    and one that is measured better the same question. The label of a conversion that is not alma's (its `mode`) is, and
    the name of its environment, if it has one; what is in that changes as versions do, which are no part of it either.
    """
    label = f", {json.dumps(asdict(mode))}" if mode and mode.target else ""
    where = f", {json.dumps({'environment': environment.name})}" if environment else ""
    canonical = f"[{json.dumps(request.model.name)}, {json.dumps(conversion)}, {meaning}{label}{where}]"
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:10]
    words = (request.model.name, conversion, request.device.name, f"b{request.batch_size}")
    return "-".join([*(_slug(word) for word in words), digest])


@cache
def _slug(word: str) -> str:
    return re.sub(r"[^a-z0-9_+]+", "_", word.lower())[:60]
