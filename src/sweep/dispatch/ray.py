"""Cells as Ray tasks, one at a time on each node; a local Ray unless an address names a cluster."""

import logging
import os
import signal
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import ray
from sweep import inventory, isolate, validate
from sweep.backlog import Backlog
from sweep.cell import Cell, Outcome, Reason, one_line
from sweep.errors import BadEnvironment
from sweep.isolate.guard import Guard
from sweep.validate import Inventory

DOUBT_SECONDS = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node that is alive: cells take it whole, so that nothing else of Ray runs beside a measurement."""

    id: str
    name: str
    cpus: float
    gpus: float


class RayDispatcher:
    """Connects when cells are run, or when a cluster must be asked what it has."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._doubted: dict[str, float] = {}
        self._guard: Guard | None = None

    def inventory(self) -> Inventory:
        """This machine's modes and packages; with an address, the devices of the cluster's nodes."""
        here = inventory.local()
        if self._address is None:
            return here
        self._connect()
        nodes = _nodes()
        devices = {"cpu"} | ({"cuda"} if any(node.gpus for node in nodes) else set())
        return replace(
            here,
            devices=frozenset(devices),
            no_node=f"none of the {len(nodes)} nodes at {self._address} offers a GPU to Ray: add one that does",
        )

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is None:
            self._guard = Guard("SWEEP_RAY")  # Ray's own agents outlive a driver that is killed, by minutes
            quiet |= {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            quiet["_system_config"] = {"memory_monitor_refresh_ms": 0}  # it would end a worker for what its cell holds
        else:
            quiet |= {"address": self._address}
        terminated = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**quiet)
        except (ConnectionError, RayError, RuntimeError, ValueError) as error:
            where = f"the cluster at {self._address}" if self._address else "a local Ray"
            raise BadEnvironment(f"cannot reach {where}: {error}; dispatch=serial needs no Ray") from error
        signal.signal(signal.SIGTERM, terminated)  # Ray's own would end the process with cells unrecorded

    def run(self, backlog: Backlog, started: Callable[[Cell], None]) -> Generator[Outcome, None, None]:
        if not backlog:
            return
        self._connect()
        running: dict[Any, tuple[Cell, Node]] = {}
        try:
            while backlog or running:
                busy = {node.id for _, node in running.values()}
                for node in [node for node in self._believed(_nodes()) if node.id not in busy]:
                    if cell := backlog.take(partial(_fits, node)):
                        running[_submit(cell, node)] = (cell, node)
                        started(cell)
                if not running and (cell := backlog.take()):
                    yield _unplaced(cell)
                    continue
                done, _ = ray.wait(list(running), timeout=5)
                for reference in done:
                    cell, node = running.pop(reference)
                    outcome = _outcome(reference, cell, node)
                    if outcome.result.reason is Reason.LOST:
                        self._doubted[node.id] = time.monotonic()
                    yield outcome
        finally:
            for reference in running:
                ray.cancel(reference)
            ray.wait(list(running), num_returns=len(running), timeout=10) if running else None
            self.close()

    def close(self) -> None:
        """Leave Ray, and end a local one with all that is left of it."""
        ray.shutdown()
        if self._guard:
            self._guard.close()
            self._guard = None

    def _believed(self, nodes: list[Node]) -> list[Node]:
        """Nodes but for those that lost a cell just now, unless there is no other: Ray is slow to notice a dead one."""
        since = time.monotonic() - DOUBT_SECONDS
        return [node for node in nodes if self._doubted.get(node.id, since) <= since] or nodes


def _nodes() -> list[Node]:
    """Nodes that cells can go to: alive, and with CPUs."""
    return [
        Node(
            id=node["NodeID"],
            name=node["NodeManagerHostname"],
            cpus=node["Resources"]["CPU"],
            gpus=node["Resources"].get("GPU", 0),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"] and node["Resources"].get("CPU")
    ]


def _submit(cell: Cell, node: Node) -> Any:
    return _run.options(
        num_cpus=node.cpus,
        num_gpus=cell.device.gpus,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node.id, soft=False),
        name=cell.id,
    ).remote(cell)


def _fits(node: Node, cell: Cell) -> bool:
    return cell.device.gpus <= node.gpus


@ray.remote(max_retries=0)
def _run(cell: Cell) -> Outcome:
    return isolate.run(cell)


def _outcome(reference: Any, cell: Cell, node: Node) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except RayError as error:
        said = [line for line in (one_line(text) for text in str(error).splitlines()) if line]
        return _lost(cell, f"{type(error).__name__} on {node.name}: {said[-1] if said else 'no message'}")
    return outcome


def _unplaced(cell: Cell) -> Outcome:
    if nodes := _nodes():
        most = max(node.gpus for node in nodes)
        message = f"needs {cell.device.gpus:g} GPUs on one node, the largest has {most:g}: ask for fewer, or add one"
        return Outcome(result=validate.row(cell, Reason.NO_NODE, message))
    return _lost(cell, "no node is left")


def _lost(cell: Cell, why: str) -> Outcome:
    row = validate.row(cell, Reason.LOST, f"its Ray task did not come back: {why}; resume with retry=[lost]")
    return Outcome(result=replace(row, attempts=(f"lost, {why}",)))
