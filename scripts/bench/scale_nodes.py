"""A stand-in for a Ray cluster of any number of nodes, and how long the driver takes for it: a part of `scale.py`."""

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from sweep import plan
from sweep.cell import Cell
from sweep.dispatch import connection, ray
from sweep.dispatch.backlog import Backlog
from sweep.plan.inventory import Inventory, nodes_as_json
from sweep.report.page import Page
from sweep.request.compose import compose
from sweep.request.settings import Dispatch
from sweep.result import Result

CELLS_PER_NODE = 20
SLOTS = 4
"""Cells that a node runs at a time."""

TURN_SECONDS = 0.3
"""What a turn of the driver takes by the clock of the stand-in."""

BUSY_SHARE, BUSY_TURNS = 0.1, 60
"""The share of nodes that others use at first, and for how many turns."""

ENDED_SHARE = 0.1
"""The share of cells and starts that comes back in a turn."""


@dataclass
class Cluster:
    """Has all of Ray that a dispatcher uses."""

    here: Inventory
    count: int
    row: Callable[[Cell, Inventory], Result]
    now: float = 0.0
    turns: int = 0
    _results: dict[int, Any] = field(default_factory=dict)
    _tasks: Iterator[int] = field(default_factory=itertools.count)
    _busy: dict[int, int] = field(default_factory=dict)
    _chance: random.Random = field(default_factory=lambda: random.Random(0))

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "NodeID": f"{number:056x}",
                "NodeManagerHostname": f"node{number}",
                "Alive": True,
                "Resources": {"CPU": float(SLOTS), f"node:10.0.{number >> 8}.{number & 255}": 1.0},
                "Labels": {"ray.io/node-id": f"{number:056x}"},
            }
            for number in range(self.count)
        ]

    def task(self, result: Any, *, busy: bool = False) -> int:
        number = next(self._tasks)
        self._results[number] = result
        if busy:
            self._busy[number] = self.turns + BUSY_TURNS
        return number

    def wait(self, tasks: Sequence[int], num_returns: int = 1, timeout: float = 0) -> tuple[list[int], list[int]]:
        """As Ray's; of those that are waited for, some are done each time."""
        if timeout:
            self.turns += 1
            self.now += TURN_SECONDS
        free = [task for task in tasks if self._busy.get(task, 0) <= self.turns]
        return free[: max(1, int(ENDED_SHARE * len(tasks)))][:num_returns], []

    def get(self, task: int) -> Any:
        result = self._results.pop(task)
        return result() if callable(result) else result

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def kill(self, actor: Any) -> None:
        pass

    def available_resources_per_node(self) -> dict[str, dict[str, float]]:
        return {node["NodeID"]: {"CPU": 1.0} for node in self.nodes()}

    def actors(self, actor_state_name: str) -> dict[str, dict[str, Any]]:
        del actor_state_name
        return {
            node["NodeID"]: {"ActorClassName": "Trainer", "Address": {"NodeID": node["NodeID"]}}
            for node in self.nodes()
        }

    def options(self, **_options: Any) -> "Cluster":
        """Those of a task or an actor, neither of which needs any here."""
        return self

    def look(self, declared: Inventory) -> int:
        """A task that comes back with what a node has: every fourth a GPU, all of one of four kinds of hardware."""
        number = int(declared.id, 16)
        kinds = {"cpu", "cuda"} if number % 4 == 0 else {"cpu"}
        marks = dict.fromkeys(kinds, f"{number % 4:08x}")
        has = replace(
            self.here, id=declared.id, node=declared.node, cpus=SLOTS, memory=1e6, devices=frozenset(kinds),
            gpus=float(number % 4 == 0), fingerprints=marks, labels=declared.labels, resources=declared.resources,
        )  # fmt: skip
        return self.task(has)

    def actor(self, cells: int, _shipped: str | None) -> "Actor":
        return Actor(self, cells)


class Actor:
    """Stands for the actor of a node; each method is asked by `.remote` and gives a task."""

    def __init__(self, cluster: Cluster, cells: int) -> None:
        self._cluster, self.run, self.end, self.ready, self.close = cluster, self, self, self, self
        self._is_up = False
        assert cells

    def options(self, **_options: Any) -> "Actor":
        return self

    def remote(self, cell: Cell | None = None, *_further: Any) -> int:
        cluster = self._cluster
        if cell is None:
            return cluster.task(None, busy=cluster._chance.random() < BUSY_SHARE)
        return cluster.task(lambda: ray.Outcome(result=cluster.row(cell, cluster.here)))


class _Remote:
    """What `ray.remote` makes of a function or class."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.remote = call

    def options(self, **_options: Any) -> "_Remote":
        return self


def seconds(here: Inventory, count: int, row: Callable[[Cell, Inventory], Result]) -> dict[str, float]:
    """How long each step of a sweep of CELLS_PER_NODE cells on each of so many nodes takes."""
    cluster = Cluster(here, count, row)
    took: dict[str, float] = {}
    began = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal began
        took[name] = time.perf_counter() - began
        began = time.perf_counter()

    cells = CELLS_PER_NODE * count
    batches = cells // (2 * len(here.modes)) + 1
    composed = compose(["+model=mlp", "conversions=all", "device=cpu,cuda", f"batch_size=range(1,{batches + 1})"])
    assert composed is not None
    with ExitStack() as stack:
        for place, name, value in (
            *((ray, name, value) for name, value in (("ray", cluster), ("time", cluster), ("_on", str))),
            (ray, "_look", _Remote(cluster.look)),
            (ray, "_NodeActor", _Remote(cluster.actor)),
            (connection, "state", cluster),
            (connection.Connection, "open", lambda _self: None),
            (connection.Connection, "gone", None),
            (connection.Connection, "answers_now", lambda _self: True),
            (connection.Connection, "ask_for", lambda _self, _bundles: None),
        ):
            stack.enter_context(patch.object(place, name, value))
        dispatcher = ray.RayDispatcher(Dispatch(address="stand-in:1"))
        lap("composing")
        nodes = dispatcher.nodes()
        lap("probing")
        planned = plan.make(composed[0], nodes)
        about = json.loads(json.dumps({"plan": [cell.id for cell in planned.cells], **nodes_as_json(nodes)}))
        lap("planning")
        backlog = Backlog(planned.ready, retries=2)
        page = Page(about)
        rows = [
            ended.result for outcome in dispatcher.run(backlog, lambda _cell: None) for ended in backlog.ended(outcome)
        ]
        lap("placing")
        for one in rows:
            page.add(one)
        assert sum(map(len, page.html(running=False)))
        lap("page")
    assert len(nodes) == count
    assert len(rows) == len(planned.ready)
    return {"cells": len(planned.cells), "ran": len(rows), "turns": cluster.turns, **took}
