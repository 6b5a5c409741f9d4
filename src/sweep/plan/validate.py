"""Decides, before any process starts, which cells can run on some node, and why the others cannot."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sweep import inputs
from sweep.cell import Cell, Device, Mode
from sweep.devices import in_words
from sweep.plan import registry
from sweep.plan.inventory import Inventory, all_modes
from sweep.plan.names import did_you_mean, near
from sweep.result import Outcome, Result, not_run
from sweep.status import Reason, Status


class Eligibility:
    """Whether some node can run a cell. Answers are remembered, because cells of a grid have few distinct needs."""

    def __init__(self, nodes: Sequence[Inventory], modes: Mapping[str, Mode] | None = None) -> None:
        """`modes` are all modes by name, None for those of the nodes."""
        self._modes = all_modes(nodes) if modes is None else modes
        self._distinct_nodes = {_capabilities(node): node for node in reversed(nodes)}
        self._answers: dict[tuple[object, ...], tuple[Reason, str] | None] = {}

    def refusal(self, cell: Cell) -> tuple[Reason, str] | None:
        """Why no node can run a cell, and what to do; None if one can. Reasons of the status `invalid` come first."""
        about = (cell.conversion, cell.environment_name, cell.mode is None, cell.model.key, cell.data is None)
        key = (*about, cell.device.key)
        if key not in self._answers:
            self._answers[key] = self._refusal(cell)
        answer = self._answers[key]
        if cell.excluded_by and (answer is None or answer[0].status is not Status.INVALID):
            return Reason.EXCLUDED, cell.excluded_by
        if cell.duplicate_of and (answer is None or answer[0].status is not Status.INVALID):
            return Reason.DUPLICATE, f"asks the same as {cell.duplicate_of}, which has the answer"
        return answer

    def _refusal(self, cell: Cell) -> tuple[Reason, str] | None:
        invalid = _invalid(cell, self._modes)
        if invalid:
            return invalid[0][0], "; ".join(message for _, message in invalid)
        refusals: list[tuple[Reason, str]] = []
        of_gpus: list[tuple[Reason, str]] = []
        for node in with_its_environment(cell, self._distinct_nodes.values()):
            if (problem := obstacle(cell, node)) is None:
                return None
            (of_gpus if node.no_gpu and node.no_gpu in problem[1] else refusals).append(problem)
        # a message about a missing package is of more use than one about a missing device
        reason = min((reason for reason, _ in [*refusals, *of_gpus]), key=_MOST_USEFUL_FIRST.index)
        kinds = ([message for other, message in found if other is reason] for found in (of_gpus, refusals))
        messages = next(filter(None, kinds))
        return reason, "; ".join(list(dict.fromkeys(messages))[:3])


_MOST_USEFUL_FIRST = (Reason.NEEDS_DEVICE, Reason.NEEDS_PACKAGE, Reason.NO_NODE)


def _capabilities(node: Inventory) -> str:
    """All that decides which cells a node can run, as text: it is equal for nodes that can run the same cells."""
    parts = [sorted(node.modes), sorted(node.found), sorted(node.devices), node.cpus, node.memory, node.gpus]
    parts += [dict(node.labels), dict(node.resources), bool(node.no_gpu), node.environment_name, node.no_environment]
    return json.dumps(parts, sort_keys=True)


def with_its_environment(cell: Cell, nodes: Iterable[Inventory]) -> list[Inventory]:
    """Those with the environment of a cell, for what another lacks tells nothing; all of them where none has it."""
    every = list(nodes)
    return [node for node in every if node.environment_name == cell.environment_name] or every


def split_by_eligibility(
    cells: Iterable[Cell],
    nodes: Sequence[Inventory],
    modes: Mapping[str, Mode] | None = None,
    *,
    may_come: bool = False,
) -> tuple[list[Cell], list[Result]]:
    """Split cells into those that some node can run, or one that `may_come`, and rows of the others.

    `modes` are as in Eligibility.
    """
    eligibility = Eligibility(nodes, modes)
    ready: list[Cell] = []
    refused: list[Result] = []
    for cell in cells:
        problem = eligibility.refusal(cell)
        if problem and not (may_come and problem[0] is Reason.NO_NODE):
            refused.append(not_run(cell, *problem))
        else:
            ready.append(cell)
    return ready, refused


def with_fingerprint(outcome: Outcome, cell: Cell, node: Inventory) -> Outcome:
    """The outcome with its place, and unless the cell was lost with that node's fingerprint for its kind of device."""
    if outcome.result.hardware is None:
        return replace(outcome, node=node.place)
    row = replace(outcome.result, fingerprint=node.fingerprints.get(cell.device.kind))
    return replace(outcome, result=row, node=node.place)


def _invalid(cell: Cell, modes: Mapping[str, Mode]) -> list[tuple[Reason, str]]:
    problems: list[tuple[Reason, str]] = []
    if cell.mode is None:
        hint = did_you_mean(near(cell.conversion, list(modes))) or "; `python -m sweep.modes` lists the ones there are"
        problems.append((Reason.UNKNOWN_CONVERSION, f"unknown conversion {cell.conversion!r}{hint}"))
    elif not cell.mode.implemented:
        message = f"alma registers {cell.conversion} but implements nothing of that name: leave it out"
        problems.append((Reason.UNIMPLEMENTED_CONVERSION, message))
    if not cell.model.known:
        hint = did_you_mean(cell.model.near) or "; `python -m sweep --help` lists the shipped ones"
        problems.append((Reason.UNKNOWN_MODEL, f"unknown model {cell.model.name!r}{hint}"))
    else:
        found = bad_model(cell.model.config, has_data=cell.data is not None)
        problems += [(Reason.BAD_MODEL, f"model {cell.model.name!r}: {text}") for text in found]
    if not cell.device.known:
        hint = did_you_mean(cell.device.near) or "; `python -m sweep --help` lists the shipped ones"
        problems.append((Reason.UNKNOWN_DEVICE, f"unknown device {cell.device.name!r}{hint}"))
    return problems


def bad_model(config: Mapping[str, object], *, has_data: bool = False) -> list[str]:
    """The problems of a model's config that can be found without torch, each in words; with data it need not say what
    the model is called with."""
    problems = []
    target = config.get("_target_")
    if not isinstance(target, str) or "." not in target:
        problems.append("needs a _target_ such as mypackage.MyModel")
    needs = config.get("needs") or ()
    if not isinstance(needs, list | tuple):
        problems.append("needs must be a list of packages")
    else:
        problems += [
            f"unknown requirement {need!r}{did_you_mean(near(str(need), list(registry.REQUIREMENTS)))}"
            for need in needs
            if need not in registry.REQUIREMENTS
        ]
    return [*problems, *inputs.problems(config, needed=not has_data)]


def needed_of_a_node(cell: Cell) -> tuple[object, ...]:
    """Equal only for cells that have the same `obstacle` on every node."""
    return cell.conversion, cell.device.key, tuple(cell.model.config.get("needs") or ())


def obstacle(cell: Cell, node: Inventory) -> tuple[Reason, str] | None:
    """Why a node cannot run a cell that is not `invalid`, and what to do; None if it can."""
    if node.environment_name != cell.environment_name:
        return Reason.NO_NODE, f"no node has the environment {cell.environment_name or 'of its own'}"
    if node.no_environment:
        return Reason.NEEDS_PACKAGE, node.no_environment
    return _obstacle_there(cell, node)


def _obstacle_there(cell: Cell, node: Inventory) -> tuple[Reason, str] | None:
    """As `obstacle`, of a node in the environment that the cell asks for."""
    assert cell.mode is not None
    mode, kind = cell.mode, cell.device.kind
    missing = [need for need in (*mode.needs, *(cell.model.config.get("needs") or ())) if need not in node.found]
    remedies = "; ".join(f"needs {need}: {registry.REQUIREMENTS[need].remedy}" for need in missing)
    if kind not in mode.runs_on:
        kinds = " or ".join(mode.runs_on)
        message = f"{mode.name} runs on {kinds} only, and this cell asks for {kind}: use device={kinds}"
        return Reason.NEEDS_DEVICE, f"{message}; it also {remedies}" if remedies else message
    if kind not in node.devices:
        return Reason.NO_NODE, f"no node has {in_words(kind)}: {node.no_gpu or node.no_node}"
    if lacks := _lacks(cell.device, node):
        return Reason.NO_NODE, f"no node has what device={cell.device.name} asks for: {node.node} {lacks}"
    if mode.source != "configuration" and mode.name not in node.modes:
        package = "alma-torch" if mode.source == "alma" else "package that registers it"
        return Reason.NEEDS_PACKAGE, f"the {package} on {node.node} has no {mode.name}: install the same on every node"
    if missing:
        return Reason.NEEDS_PACKAGE, remedies
    return None


def _lacks(device: Device, node: Inventory) -> str:
    """What a device needs and a node does not have, in words; empty where nothing is missing."""
    amounts = [
        ("CPUs", device.cpus, node.cpus),
        ("MB of memory", device.memory, node.memory),
        ("GPUs", device.gpus, max(node.gpus, float(device.gpus <= 1))),  # one of them is known to be there
        *((name, amount, node.resources.get(name, 0.0)) for name, amount in device.resources.items()),
    ]
    missing = [f"has {has:g} {name}, not {needed:g}" for name, needed, has in amounts if has < needed]
    if device.accelerator and device.accelerator not in node.accelerators:
        missing.append(f"has no accelerator of type {device.accelerator}")
    missing += [
        f"has no label {name}={value}" for name, value in device.labels.items() if node.labels.get(name) != value
    ]
    return ", ".join(missing)
