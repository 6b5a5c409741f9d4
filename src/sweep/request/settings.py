"""The settings of a whole sweep, which no single cell has."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from sweep.plan import environments
from sweep.plan.registry import Registered
from sweep.plan.rules import EVERY_CELL, Grid
from sweep.status import Reason, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatch:
    """How cells are brought to the nodes that run them; `conf/dispatch/ray.yaml` says what each option does.

    `address` is the Ray cluster, None for a local Ray. `retries` is how often a cell is tried again whose worker, node
    or supervisor was lost. `cells_per_node` of None are as many as a node has room for. `wait_nodes` is for how many
    seconds cells wait for nodes that are not there, or are busy; 0 of the latter is without end.
    """

    name: Literal["ray", "serial"] = "ray"
    address: str | None = None
    retries: int = 2
    cells_per_node: int | None = None
    wait_nodes: float = 0.0
    working_dir: str | None = None
    py_modules: tuple[str, ...] = ()
    runtime_env: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = []
        if self.retries < 0:
            problems.append("dispatch.retries must be at least 0")
        if self.cells_per_node is not None and self.cells_per_node < 1:
            problems.append("dispatch.cells_per_node must be at least 1, or null for as many as a node has room for")
        if not 0 <= self.wait_nodes < math.inf:
            problems.append("dispatch.wait_nodes must be a number of seconds, at least 0")
        if self.name == "serial" and (self.cells_per_node or 1) > 1:
            problems.append("dispatch=serial runs one cell at a time: dispatch.cells_per_node goes with dispatch=ray")
        if doubly := sorted({"working_dir", "py_modules"} & self.runtime_env.keys()):
            problems += [f"dispatch.runtime_env.{name}: write it as dispatch.{name}" for name in doubly]
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Where rows are written besides the run folder: `mlflow` is a tracking URI."""

    mlflow: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Which files are written besides the usual ones: `junit` is `junit.xml`."""

    junit: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The options that hold for all cells of a sweep; `conf/config.yaml` says what each of them does.

    `command` are the arguments of the command line, `grid` holds the options `include`, `exclude`, `rules` and
    `environments`.
    `resume` is whether the run folder holds a sweep to go on with, `retry` which of its cells run again. `fail_on`
    holds the statuses that make the exit code 1.
    """

    run_dir: Path
    command: tuple[str, ...] = ()
    grid: Grid = EVERY_CELL
    dispatch: Dispatch = Dispatch()
    record: Record = Record()
    report: Report = Report()
    register: Mapping[str, Registered] = field(default_factory=dict)
    on_invalid: Literal["record", "abort"] = "record"
    fail_on: tuple[Status, ...] = ()
    dry_run: bool = False
    resume: bool = False
    resume_anyway: bool = False
    retry: tuple[Status | Reason, ...] = ()

    def __post_init__(self) -> None:
        problems = []
        if self.retry and not self.resume:
            problems.append("retry goes with resume=FOLDER, or resume=last: it says which of its cells run again")
        if self.grid.environments and self.dispatch.name == "serial":
            problems.append("environments need Ray, which starts what runs in them: leave dispatch=serial out")
        if self.grid.environments and (both := sorted(environments.ONE_OF & self.dispatch.runtime_env.keys())):
            problems += [
                f"dispatch.runtime_env.{name} and environments cannot both say which Python runs: name all that an "
                "environment needs in it"
                for name in both
            ]
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def nodes_may_come(self) -> bool:
        """Whether cells wait for nodes that are not there yet; a plan that is only shown waits for nothing."""
        return self.dispatch.wait_nodes > 0 and not self.dry_run


PARTS: Mapping[str, type] = {"dispatch": Dispatch, "record": Record, "report": Report}
"""The settings that hold options of their own, with the class whose fields these are."""

GROUPS = (*PARTS, "register", "environments")
"""All settings that hold options of their own; those of the last two have the user's names."""

OPTIONS = {field.name for field in fields(Settings)} - {"run_dir", "command", "grid"} | {
    field.name for field in fields(Grid)
}
"""The options of a whole sweep, by the names they have in a configuration."""
