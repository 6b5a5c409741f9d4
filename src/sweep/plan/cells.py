"""Turns requests into cells with stable ids; what is asked twice is kept and marked."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from typing import Any

from sweep.cell import OPTIONS, Cell, Device, Mode, Model, Option, Request, Rule
from sweep.plan import registry, rules
from sweep.plan.rules import EVERY_CELL, Grid


def expand(requests: Iterable[Request], modes: Mapping[str, Mode], grid: Grid = EVERY_CELL) -> list[Cell]:
    """Every cell that the requests ask for, in their order; no two have the same id.

    What the rules of the grid leave out is marked. Raises BadRequest where they set an option to what it cannot be.
    """
    cells: list[Cell] = []
    times: dict[str, int] = {}
    answered: dict[str, str] = {}
    for request in requests:
        for cell in _cells_of(request, modes, grid):
            times[cell.id] = times.get(cell.id, 0) + 1
            if times[cell.id] > 1:
                id_, by = f"{cell.id}~{times[cell.id]}", answered.get(cell.id)
                cells.append(replace(cell, id=id_, duplicate_of=by))
            else:
                cells.append(cell)
            if not cell.excluded_by:
                answered.setdefault(cell.id, cells[-1].id)
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
        changed = matcher.changed(met)
        if met not in meanings:
            meanings[met] = _meaning(changed)
        yield Cell.of(
            changed,
            id=cell_id(changed, name, meanings[met], mode),
            conversion=name,
            mode=mode,
            excluded_by=matcher.exclusion(name, mode),
        )


def _meaning(request: Request) -> str:
    """All of a request that changes what its cells mean, as JSON."""
    meaning = {name: _plain(getattr(request, name)) for name in OPTIONS if _counts(request, name, OPTIONS[name])}
    return json.dumps(meaning, sort_keys=True, default=str)


def _counts(noun: Any, name: str, option: Option) -> bool:
    """Whether an option is part of the question; a younger one only where it is not as it always was."""
    if option.meaning == "if set":
        return bool(getattr(noun, name) != type(noun).__dataclass_fields__[name].default)
    return option.meaning == "always"


def _plain(value: Any) -> Any:
    """What an option stands for, as JSON can hold it."""
    match value:
        case Model():
            return value.config
        case Device():
            return _device(value)
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case _ if is_dataclass(value):
            parts = {part.name: part.metadata.get("option", Option(meaning="always")) for part in fields(value)}
            return {name: getattr(value, name) for name, option in parts.items() if _counts(value, name, option)}
    return value


def _device(device: Device) -> list[object]:
    """What it is called and what it asks for; what it does not ask for changes nothing."""
    needs = {name: getattr(device, name) for name in ("accelerator", "labels", "resources", "cpus", "memory")}
    return [device.name, device.kind, device.gpus, *({name: need} for name, need in needs.items() if need)]


def cell_id(request: Request, conversion: str, meaning: str, mode: Mode | None = None) -> str:
    """A folder name a person can read, and 40 bits of SHA-256 over all that changes the cell's meaning, as JSON.

    Deadlines are not part of it: a cell tried again with more time is the same cell. Of a conversion that is not
    alma's, what its label says is.
    """
    label = f", {json.dumps(asdict(mode))}" if mode and mode.target else ""
    canonical = f"[{json.dumps(request.model.name)}, {json.dumps(conversion)}, {meaning}{label}]"
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:10]
    words = (request.model.name, conversion, request.device.name, f"b{request.batch_size}")
    return "-".join([*(_slug(word) for word in words), digest])


@cache
def _slug(word: str) -> str:
    return re.sub(r"[^a-z0-9_+]+", "_", word.lower())[:60]
