"""Turns requests into cells with stable ids; what is asked twice is kept and marked."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from functools import cache

from sweep.cell import Cell, Device, Measure, Mode, Request, Rule
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
    judged = rules.RuleMatcher(grid, request) if grid else None
    meanings = {id(request): _meaning(request)}
    excluded = None
    for name in conversions(request, modes):
        asked, mode = request, modes.get(name)
        if judged:
            asked, excluded = judged.cell(name, mode)
            if id(asked) not in meanings:
                meanings[id(asked)] = _meaning(asked)
        yield Cell(
            id=cell_id(asked, name, meanings[id(asked)], mode),
            model=asked.model,
            conversion=name,
            mode=mode,
            device=asked.device,
            batch_size=asked.batch_size,
            threads=asked.threads,
            seed=asked.seed,
            cache=asked.cache,
            start=asked.start,
            env=asked.env,
            python_path=asked.python_path,
            measure=asked.measure,
            limits=asked.limits,
            tolerance=asked.tolerance,
            overrides=asked.overrides,
            excluded_by=excluded,
        )


def _meaning(request: Request) -> str:
    """All of a request that changes what its cells mean, as JSON."""
    meaning = {
        "model": request.model.config,
        "device": _device(request.device),
        "batch_size": request.batch_size,
        "threads": request.threads,
        "seed": request.seed,
        "cache": request.cache,
        "measure": _measure(request.measure),
        "tolerance": {name: asdict(tolerance) for name, tolerance in request.tolerance.items()},
    }
    return json.dumps(meaning, sort_keys=True, default=str)


def _measure(measure: Measure) -> dict[str, object]:
    """How it is measured; what came later counts only where it is not as it always was."""
    said = asdict(measure)
    if measure.exclusive == Measure().exclusive:
        del said["exclusive"]
    return said


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
