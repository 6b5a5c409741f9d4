"""Turns requests into cells with stable ids; what is asked twice is kept and marked."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from functools import cache

from sweep import registry
from sweep.cell import Cell, Device, Measure, Mode, Request, Rule


def expand(requests: Iterable[Request], modes: Mapping[str, Mode]) -> list[Cell]:
    """Every cell that the requests ask for, in their order; no two have the same id."""
    cells: list[Cell] = []
    times: dict[str, int] = {}
    for request in requests:
        for cell in _cells_of(request, modes):
            times[cell.id] = times.get(cell.id, 0) + 1
            again = times[cell.id] > 1
            cells.append(replace(cell, id=f"{cell.id}~{times[cell.id]}", duplicate_of=cell.id) if again else cell)
    return cells


def _cells_of(request: Request, modes: Mapping[str, Mode]) -> Iterable[Cell]:
    names = request.conversions
    if isinstance(names, Rule):
        names = registry.select(names, modes)
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
    canonical = json.dumps(meaning, sort_keys=True, default=str)
    for name in names:
        yield Cell(
            id=cell_id(request, name, canonical),
            model=request.model,
            conversion=name,
            mode=modes.get(name),
            device=request.device,
            batch_size=request.batch_size,
            threads=request.threads,
            seed=request.seed,
            cache=request.cache,
            start=request.start,
            env=request.env,
            python_path=request.python_path,
            measure=request.measure,
            limits=request.limits,
            tolerance=request.tolerance,
            overrides=request.overrides,
        )


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


def cell_id(request: Request, conversion: str, meaning: str) -> str:
    """A folder name a person can read, and 40 bits of SHA-256 over all that changes the cell's meaning, as JSON.

    Deadlines are not part of it: a cell tried again with more time is the same cell.
    """
    canonical = f"[{json.dumps(request.model.name)}, {json.dumps(conversion)}, {meaning}]"
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:10]
    words = (request.model.name, conversion, request.device.name, f"b{request.batch_size}")
    return "-".join([*(_slug(word) for word in words), digest])


@cache
def _slug(word: str) -> str:
    return re.sub(r"[^a-z0-9_+]+", "_", word.lower())[:60]
