"""The actors that run cells on nodes: how they are asked for, and how they go."""

import time
from contextlib import suppress
from typing import Any

from ray.exceptions import RayError

import ray
from sweep.dispatch import connect, node_actor
from sweep.dispatch.node import Node
from sweep.dispatch.probe import on
from sweep.request.settings import Dispatch

CLOSE_SECONDS = 60.0
"""How long one may take to remove what it kept, as on a slow disk: its machine is held meanwhile."""


class Actors:
    """One at most for each place, which its node knows."""

    def __init__(self, options: Dispatch) -> None:
        self._shipped_from = connect.shipped_from(options)
        self._going: dict[Any, tuple[Any, float]] = {}
        """Those that are no longer needed, and since when, by the task in which they remove what they kept."""

    def ask_for(self, node: Node, holder: Node | None, *, gpus: bool) -> None:
        """Ask Ray for one; `holder` is the place whose actor has the machine already, `gpus` whether cells want some
        that a place of it can use.

        One takes all CPUs of its machine, so that Ray runs nothing else there.
        """
        actor = _NodeActor.options(
            num_cpus=0 if holder else node.has.resources.get("CPU", node.has.cpus),
            num_gpus=node.has.resources.get("GPU", node.has.gpus) if gpus and not holder else 0,
            max_concurrency=node.cells + 2,
            scheduling_strategy=on(node.has),
            **({"runtime_env": node.runtime_env} if node.runtime_env else {}),
        ).remote(node.cells, self._shipped_from, holder.gpus if holder else "")
        node.actor_asked_for(actor, actor.ready.remote(), time.monotonic(), holds=holder is None)

    def let_go(self, node: Node) -> None:
        """Have one end that runs no cell; if it is up, it removes first what it keeps there for cells."""
        if node.is_up:
            self._going[node.actor.close.remote()] = node.actor, time.monotonic()
            node.dismissed()
        else:
            self.kill(node)

    def see_off(self, seconds: float = 0) -> None:
        """Of those that go, kill those that have removed what they kept, or take too long.

        After so many seconds, if any, all of them.
        """
        if self._going:
            done, _ = ray.wait(list(self._going), num_returns=len(self._going), timeout=seconds)
            late = time.monotonic() - CLOSE_SECONDS
            for task, (actor, since) in list(self._going.items()):
                if seconds or task in done or since < late:
                    _kill(actor)
                    del self._going[task]

    def kill(self, *nodes: Node) -> None:
        """End those of these places, whatever they do."""
        for node in nodes:
            _kill(node.actor)
            node.dismissed()

    def forget(self) -> None:
        """There is no connection to any of them now."""
        self._going = {}


_NodeActor: Any = ray.remote(max_restarts=0, max_task_retries=0)(node_actor.NodeActor)


def _kill(actor: Any) -> None:
    if actor is not None:
        with suppress(RayError):  # it never came up, or is dead already
            ray.kill(actor)
