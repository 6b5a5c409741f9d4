"""Cells on Ray: a station on each node, which runs several at a time; a local Ray unless an address names a cluster."""

import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import ray
from sweep.cell import Cell
from sweep.dispatch import node_actor
from sweep.dispatch.backlog import Backlog
from sweep.dispatch.node import Node, cells_at_a_time, declared, runtime_environment
from sweep.errors import BadEnvironment
from sweep.isolate import survey
from sweep.isolate.guard import Guard
from sweep.plan import validate
from sweep.plan.inventory import Inventory
from sweep.reading import one_line
from sweep.request.settings import Dispatch
from sweep.result import Outcome, Reason, not_run

DOUBT_SECONDS = 30
"""For so long a node gets no cell after it lost one, unless there is no other: Ray is slow to notice a dead one."""

LOOK_SECONDS = 2
"""How often Ray is asked which nodes there are."""

MOST_FAILURES = 3
"""How often in a row a station may fail to come up on a node before the node is given up."""

KNOCK_SECONDS = 20
"""How long a cluster may take to answer at all."""

PROBE_SECONDS = 600
"""How long a node may take to say what it has; the first time it imports torch and alma."""


class RayDispatcher:
    """Connects when cells are run, or when a cluster must be asked what it has."""

    def __init__(self, options: Dispatch) -> None:
        self._connected = False
        self._options = options
        self._guard: Guard | None = None
        self._posts: dict[str, Node] = {}
        self._known: list[Inventory] = []
        self._probes: dict[Any, Inventory] = {}
        self._seen: set[str] = set()
        self._looked = -float(LOOK_SECONDS)
        self._problems: list[str] = []
        self._wants_gpus = False

    def nodes(self) -> list[Inventory]:
        if self._options.address is None and not self._known:
            return [survey.local()]  # without a Ray, which a plan does not need
        if not self._known:
            self._connect()
            self._look_for_nodes()
            ends = time.monotonic() + PROBE_SECONDS
            while self._probes and time.monotonic() < ends:
                self._take_probes(ray.wait(list(self._probes), timeout=1)[0])
            if not self._known:
                raise BadEnvironment("\n".join(self._problems) or f"no node answers at {self._options.address}")
        return self._known

    def _connect(self) -> None:
        if self._connected:
            return
        if ray.is_initialized():
            raise BadEnvironment(
                "this process is connected to a Ray already, whose settings sweep cannot change: ray.shutdown() first, "
                "or dispatch=serial, which needs none"
            )
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._options.address is None:
            self._guard = Guard("SWEEP_RAY")  # Ray's own agents outlive a driver that is killed, by minutes
            # a token for this Ray alone: left to itself, Ray would leave one in the home, which every later `auto` uses
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            quiet |= {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            # Ray would end a worker for what its cell holds, and have what it measures yield to all else on the machine
            quiet["_system_config"] = {"memory_monitor_refresh_ms": 0, "worker_niceness": 0}
        else:
            quiet |= {"address": self._options.address}
        if environment := runtime_environment(self._options):
            quiet["runtime_env"] = environment
        terminated = signal.getsignal(signal.SIGTERM)
        try:
            _knock(self._options.address)
            self._connected = True  # in part, if it fails
            ray.init(**quiet)
        except (ConnectionError, ImportError, OSError, RayError, RuntimeError, ValueError) as error:
            self.close()
            address = self._options.address
            where = f"the cluster at {address}" if address else "a local Ray"
            said = one_line(str(error)) or type(error).__name__
            raise BadEnvironment(f"cannot reach {where}: {said}; dispatch=serial needs no Ray") from error
        signal.signal(signal.SIGTERM, terminated)  # Ray's own would end the process with cells unrecorded

    def run(self, backlog: Backlog, started: Callable[[Cell], None]) -> Generator[Outcome, None, None]:
        if not backlog:
            return
        self._connect()
        self._wants_gpus = backlog.has(lambda cell: cell.device.gpus > 0)
        try:
            while backlog or self._running():
                self._look_for_nodes()
                self._send_all(backlog, started)
                waited_for = [*self._running(), *self._probes, *(p.ready for p in self._posts.values() if p.ready)]
                if not waited_for:
                    if cell := backlog.take() or backlog.take_suspect():
                        yield self._unplaced(cell)
                    continue
                ray.wait(waited_for, timeout=1)
                done, _ = ray.wait(waited_for, num_returns=len(waited_for), timeout=0)
                self._take_probes(done)
                self._take_ready(done)
                came = self._outcomes(done)
                self._send_all(backlog, started)  # before these are recorded, which waits for a disk
                yield from came
        finally:
            self._end()
            self.close()

    def _running(self) -> list[Any]:
        return [reference for post in self._posts.values() for reference in post.running]

    def _look_for_nodes(self) -> None:
        """Ask every node that is new what it has, and forget those that are gone."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")}  # type: ignore[no-untyped-call]
        for id_, node in alive.items():
            if id_ not in self._seen:
                self._seen.add(id_)
                said = declared(node)
                if self._options.address is None:
                    self._add(said, node_actor.look(said))
                else:
                    self._probes[_look.options(scheduling_strategy=_on(id_)).remote(said)] = said
        for id_, post in list(self._posts.items()):
            if id_ not in alive and not post.running:
                del self._posts[id_]

    def _take_probes(self, done: Iterable[Any]) -> None:
        for reference in [one for one in done if one in self._probes]:
            said = self._probes.pop(reference)
            try:
                has: Inventory = ray.get(reference)
            except (RayError, BadEnvironment) as error:
                self._problems.append(f"{said.node} cannot be used: {_last_line(error)}")
                continue
            remedy = f"none of those at {self._options.address} offers one to Ray: add one that does"
            self._add(said, replace(has, no_node=remedy))

    def _add(self, said: Inventory, has: Inventory) -> None:
        self._known = [*self._known, has]
        id_ = said.facts["id"]
        self._posts[id_] = Node(id=id_, has=has, cells=self._options.cells_per_node or cells_at_a_time(has))

    def _believed(self) -> list[Node]:
        """Nodes but for those that lost a cell just now, unless there is no other; the emptiest first."""
        since = time.monotonic() - DOUBT_SECONDS
        posts = sorted(self._posts.values(), key=lambda post: len(post.running) / post.cells)
        return [post for post in posts if post.doubted <= since] or posts

    def _send_all(self, backlog: Backlog, started: Callable[[Cell], None]) -> None:
        for post in self._believed():
            self._send(post, backlog, started)

    def _send(self, post: Node, backlog: Backlog, started: Callable[[Cell], None]) -> None:
        """Give a node what it has room for; its station comes with the first cell that fits and goes with the last."""
        if not post.running and not backlog.has(post.fits):
            self._dismiss(post)
            return
        if post.station is None:
            post.station = _NodeActor.options(
                num_cpus=post.has.resources.get(
                    "CPU", post.has.cpus
                ),  # all: nothing else of Ray's disturbs a measurement
                num_gpus=post.has.gpus if self._wants_gpus else 0,
                max_concurrency=post.cells + 2,
                scheduling_strategy=_on(post.id),
            ).remote(post.cells, self._shipped_from())
            post.ready = post.station.ready.remote()
        while post.open and post.room > 0 and (cell := backlog.take(post.fits)):
            self._launch(post, cell, started)
        if post.open and not post.running and (cell := backlog.take_suspect(post.fits)):
            post.alone = True
            self._launch(post, cell, started)

    def _launch(self, post: Node, cell: Cell, started: Callable[[Cell], None]) -> None:
        post.running[post.station.run.options(name=cell.id).remote(cell)] = cell
        started(cell)

    def _shipped_from(self) -> str | None:
        folder = self._options.working_dir
        return str(Path(folder).expanduser().absolute()) if folder and "://" not in folder else None

    def _take_ready(self, done: Iterable[Any]) -> None:
        came = set(done)
        for post in self._posts.values():
            if post.ready in came:
                try:
                    ray.get(post.ready)
                    post.ready, post.failures = None, 0
                except RayError as error:
                    self._problems.append(f"{post.has.node} could not be taken: {_last_line(error)}")
                    self._doubt(post)
                    post.failures += 1
        for id_, post in list(self._posts.items()):
            if post.failures >= MOST_FAILURES:
                del self._posts[id_]

    def _outcomes(self, done: Iterable[Any]) -> list[Outcome]:
        outcomes = []
        homes = {reference: post for post in self._posts.values() for reference in post.running}
        for reference in [one for one in done if one in homes]:
            post = homes[reference]
            cell = post.running.pop(reference)
            post.alone = False
            try:
                outcome: Outcome = ray.get(reference)
            except RayError as error:
                self._doubt(post)
                outcome = _lost(cell, f"{type(error).__name__} on {post.has.node}: {_last_line(error)}")
            outcomes.append(validate.stamped(outcome, cell, post.has))
        return outcomes

    def _doubt(self, post: Node) -> None:
        """It lost its station, or never got one."""
        self._dismiss(post)
        post.doubted = time.monotonic()

    def _dismiss(self, post: Node) -> None:
        """Give a node back to whoever else uses the cluster."""
        if post.station is not None:
            with suppress(RayError):  # it never came up
                ray.kill(post.station)
        post.station = post.ready = None

    def _unplaced(self, cell: Cell) -> Outcome:
        """No node that is there now can run it, although one could when the sweep began."""
        if self._posts:
            said = [validate.obstacle(cell, post.has) for post in self._posts.values()]
            reason, message = next(filter(None, said), (Reason.NO_NODE, "the node that could run it is gone"))
            return Outcome(result=not_run(cell, reason, message))
        return _lost(cell, "; ".join(["no node is left", *self._problems[-1:]]))

    def _end(self) -> None:
        """End what still runs."""
        if running := self._running():
            ending = [post.station.end.remote() for post in self._posts.values() if post.station and post.running]
            ray.wait(running, num_returns=len(running), timeout=10)
            del ending

    def close(self) -> None:
        """Leave Ray, and end a local one with all that is left of it."""
        if self._connected:
            ray.shutdown()
            self._connected = False
        self._posts, self._seen, self._probes = {}, set(), {}
        if self._guard:
            self._guard.close()
            self._guard = None


def _knock(address: str | None) -> None:
    """Raise OSError if nobody listens at an address: Ray would find that out only after minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


@ray.remote(num_cpus=0, max_retries=0)
def _look(declared: Inventory) -> Inventory:
    return node_actor.look(declared)


_NodeActor: Any = ray.remote(max_restarts=0, max_task_retries=0)(node_actor.NodeActor)


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node_id=node, soft=False)


def _last_line(error: Exception) -> str:
    said = [line for line in (one_line(text) for text in str(error).splitlines()) if line]
    return said[-1] if said else "no message"


def _lost(cell: Cell, why: str) -> Outcome:
    row = not_run(cell, Reason.LOST, f"its Ray task did not come back: {why}; resume with retry=[lost]")
    return Outcome(result=replace(row, attempts=(f"lost, {why}",)))
