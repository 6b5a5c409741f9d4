"""A node as the driver sees it, and what its workers are given."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sweep
from sweep.cell import Cell
from sweep.plan import validate
from sweep.plan.inventory import Inventory
from sweep.request.settings import Dispatch

CELL_MB = 2000
"""Memory to reckon with for a cell that converts; resnet18's take up to 1.5 GB with a compiler's processes."""


@dataclass(eq=False, kw_only=True, slots=True)
class Node:
    """A node as the driver sees it: what it has, its station once it has been asked for, and what runs there."""

    id: str
    has: Inventory
    cells: int
    station: Any = None
    ready: Any = None  # a reference, until the node was free and the station came up
    running: dict[Any, Cell] = field(default_factory=dict)
    alone: bool = False
    doubted: float = -math.inf
    failures: int = 0
    answers: dict[tuple[str, int], bool] = field(default_factory=dict)

    def fits(self, cell: Cell) -> bool:
        key = (cell.conversion, id(cell.device))
        if key not in self.answers:
            self.answers[key] = validate.obstacle(cell, self.has) is None
        return self.answers[key]

    @property
    def open(self) -> bool:
        return self.station is not None and self.ready is None

    @property
    def room(self) -> int:
        return 0 if self.alone else self.cells - len(self.running)


def declared(node: dict[str, Any]) -> Inventory:
    """A node as Ray knows it."""
    resources = node["Resources"]
    return Inventory(
        modes={},
        found=frozenset(),
        devices=frozenset(),
        versions={},
        node=node["NodeManagerHostname"],
        hardware="",
        facts={"id": node["NodeID"]},
        cpus=resources["CPU"],
        gpus=resources.get("GPU", 0),
        labels=node.get("Labels") or {},
        resources=resources,
    )


def cells_at_a_time(has: Inventory) -> int:
    """How many cells may convert at a time: as many as CPUs and memory allow."""
    return max(1, int(min(has.cpus, has.memory // CELL_MB)))


def runtime_environment(options: Dispatch) -> dict[str, Any]:
    """What every worker is given: the user's code, and this very sweep on the nodes of a cluster."""
    environment = dict(options.runtime_env)
    if options.working_dir:
        environment["working_dir"] = options.working_dir
    modules = list(options.py_modules)
    if options.address is not None:
        modules.append(str(Path(sweep.__file__).parent))
        variables = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", **environment.get("env_vars", {})}
        environment["env_vars"] = variables  # without it a worker that was given no GPU could not see if there is one
    if modules:
        environment["py_modules"] = modules
    return environment
