"""Decides, before any process starts, which cells can run here, and says of every other why not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sweep import registry
from sweep.cell import SECONDS, Cell, Mode, Reason, Result, one_line


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """What can be used: alma's modes by name, the requirements that are met, and the device kinds there are nodes for.

    `no_node` says of a missing device kind what to do about it.
    """

    modes: Mapping[str, Mode]
    found: frozenset[str]
    devices: frozenset[str]
    versions: Mapping[str, str]
    node: str
    hardware: str
    no_node: str = "run where there is one, or name a cluster that has one with dispatch.address=…"


def split(cells: Iterable[Cell], inventory: Inventory) -> tuple[list[Cell], list[Result]]:
    """The cells that are ready to run, and a row for each of the others."""
    ready: list[Cell] = []
    refused: list[Result] = []
    for cell in cells:
        if problem := refusal(cell, inventory):
            refused.append(row(cell, *problem))
        else:
            ready.append(cell)
    return ready, refused


def refusal(cell: Cell, inventory: Inventory) -> tuple[Reason, str] | None:
    """Why a cell cannot run, and what to do; None if it can. What makes no sense anywhere comes first."""
    invalid = _invalid(cell, inventory.modes)
    if len(invalid) > 0:
        return invalid[0][0], "; ".join(message for _, message in invalid)
    if cell.duplicate_of:
        return Reason.DUPLICATE, f"asks the same as {cell.duplicate_of}, which has the answer"
    assert cell.mode is not None
    return _not_here(cell, cell.mode, inventory)


def _invalid(cell: Cell, modes: Mapping[str, Mode]) -> list[tuple[Reason, str]]:
    problems: list[tuple[Reason, str]] = []
    if cell.mode is None:
        meant = registry.near(cell.conversion, list(modes))
        hint = registry.did_you_mean(meant) or "; `python -m sweep.modes` lists the ones there are"
        problems.append((Reason.UNKNOWN_CONVERSION, f"unknown conversion {cell.conversion!r}{hint}"))
    elif not cell.mode.implemented:
        message = f"alma registers {cell.conversion} but implements nothing of that name: leave it out"
        problems.append((Reason.UNIMPLEMENTED_CONVERSION, message))
    if not cell.model.known:
        hint = registry.did_you_mean(cell.model.near) or "; `python -m sweep --help` lists the shipped ones"
        problems.append((Reason.UNKNOWN_MODEL, f"unknown model {cell.model.name!r}{hint}"))
    else:
        problems += [(Reason.BAD_MODEL, f"model {cell.model.name!r}: {text}") for text in bad_model(cell.model.config)]
    if not cell.device.known:
        hint = registry.did_you_mean(cell.device.near) or "; `python -m sweep --help` lists the shipped ones"
        problems.append((Reason.UNKNOWN_DEVICE, f"unknown device {cell.device.name!r}{hint}"))
    return problems


def bad_model(config: Mapping[str, object]) -> list[str]:
    """What keeps a model's config from describing a model and an input, as far as it can be told without torch."""
    problems = []
    target = config.get("_target_")
    if not isinstance(target, str) or "." not in target:
        problems.append("needs a _target_ such as mypackage.MyModel")
    given = config.get("input")
    shape = given.get("shape") if isinstance(given, Mapping) else None
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
        problems.append("needs input.shape, the sizes of one sample without its batch, such as [3, 224, 224]")
    return problems


def _not_here(cell: Cell, mode: Mode, inventory: Inventory) -> tuple[Reason, str] | None:
    kind = cell.device.kind
    missing = [need for need in mode.needs if need not in inventory.found]
    remedies = "; ".join(f"needs {need}: {registry.REQUIREMENTS[need].remedy}" for need in missing)
    if kind not in mode.runs_on:
        can = " or ".join(mode.runs_on)
        what = f"use device={can}" if set(mode.runs_on) <= {"cpu", "cuda"} else "no device of sweep offers that"
        message = f"{mode.name} runs on {can} only, and this cell asks for {kind}: {what}"
        return Reason.NEEDS_DEVICE, f"{message}; it also {remedies}" if remedies else message
    if kind not in inventory.devices:
        return Reason.NO_NODE, f"no node has a {kind} device: {inventory.no_node}"
    if missing:
        return Reason.NEEDS_PACKAGE, remedies
    return None


def row(cell: Cell, reason: Reason, message: str) -> Result:
    """The row of a cell that was not run."""
    return Result(
        id=cell.id,
        model=cell.model.name,
        conversion=cell.conversion,
        device=cell.device.name,
        batch_size=cell.batch_size,
        threads=cell.threads,
        overrides=cell.overrides,
        seconds=dict.fromkeys(SECONDS),
        status=reason.status,
        reason=reason,
        message=one_line(message, 2000),
    )
