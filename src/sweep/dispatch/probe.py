"""Asks each node of Ray what it has, in its own environment and in those that were asked for, which it makes there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ray.exceptions import RayError
from ray.runtime_env import RuntimeEnv
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import ray
from sweep.dispatch import node_actor
from sweep.dispatch.node import Nodes
from sweep.errors import BadEnvironment, BadRequest
from sweep.isolate import venv
from sweep.plan.inventory import Inventory
from sweep.reading import one_line
from sweep.runtime_environment import Environment


@dataclass(frozen=True, kw_only=True, slots=True)
class _Probe:
    """A place that was asked. While its environment is made, `makes` says so; then it is looked at, with a
    `runtime_env`.
    """

    place: Inventory
    makes: bool = False
    runtime_env: Mapping[str, Any] | None = None


class Probes:
    """What is asked now, and puts the answers among the nodes. A place is a node in one environment."""

    def __init__(self, address: str | None, environments: Sequence[Environment], nodes: Nodes) -> None:
        """Raises BadRequest with every environment that Ray would not take."""
        refuse_unlike_ray(environments)
        self._address, self._environments, self._nodes = address, environments, nodes
        self._asked: dict[Any, _Probe] = {}

    @property
    def tasks(self) -> list[Any]:
        """Those that come back with an answer."""
        return list(self._asked)

    def ask(self, node: Inventory) -> None:
        """Ask a node, as Ray knows it, for all its places. Of a local Ray its own is looked at here and now."""
        if self._address is None:
            self._nodes.add(node_actor.look(node))
        else:
            self._look(_Probe(place=node))
        for environment in self._environments:
            place = replace(node, environment=environment)
            if environment.packages:
                self._asked[_make.options(scheduling_strategy=on(node)).remote(environment)] = _Probe(
                    place=place, makes=True
                )
            else:
                self._look(_Probe(place=place, runtime_env=environment.of_ray()))

    def _look(self, probe: _Probe) -> None:
        options = {"runtime_env": probe.runtime_env} if probe.runtime_env else {}
        self._asked[_look.options(scheduling_strategy=on(probe.place), **options).remote(probe.place)] = probe

    def take(self, done: Collection[Any]) -> None:
        """Take the answers of those tasks that are done."""
        for task in [task for task in done if task in self._asked]:
            probe = self._asked.pop(task)
            try:
                answer = ray.get(task)
            except (RayError, BadEnvironment) as error:
                self._failed(probe, _why(error))
                continue
            if probe.makes:
                environment = probe.place.environment
                assert environment is not None
                self._look(_Probe(place=probe.place, runtime_env=environment.of_ray(answer)))
            else:
                remedy = f"none of those at {self._address} offers one to Ray: add one that does"
                has: Inventory = answer if self._address is None else replace(answer, no_node=remedy)
                self._nodes.add(has, probe.runtime_env)

    def give_up(self, why: str) -> None:
        """Wait for no answer any more."""
        for probe in self._asked.values():
            self._failed(probe, why)
        self.forget()

    def forget(self) -> None:
        """There is no connection to any node now."""
        self._asked = {}

    def _failed(self, probe: _Probe, why: str) -> None:
        place = probe.place
        if place.environment is None:
            self._nodes.problems.append(f"{place.node} cannot be used: {why}")
        else:
            what = "be made" if probe.makes else "be used"
            said = f"the environment {place.environment.name} cannot {what} on {place.node}: {why}"
            self._nodes.add(replace(place, no_environment=said))


def on(node: Inventory) -> NodeAffinitySchedulingStrategy:
    """Has a task or an actor run on that node, and nowhere else."""
    return NodeAffinitySchedulingStrategy(node_id=node.id, soft=False)


def refuse_unlike_ray(environments: Sequence[Environment]) -> None:
    """Raise BadRequest with what Ray says of each runtime environment that is none to it."""
    problems = []
    for environment in environments:
        try:
            RuntimeEnv(**environment.of_ray())
        except (TypeError, ValueError) as error:
            problems.append(f"environments.{environment.name}: {one_line(str(error))}")
    if problems:
        raise BadRequest(*problems)


def _why(error: Exception) -> str:
    """What sweep itself says; else the last line, or of an environment that Ray makes the last error in it."""
    own = getattr(error, "cause", error)
    lines = [line for line in (one_line(text, 1000) for text in str(own).splitlines()) if line]
    if isinstance(own, BadEnvironment):
        return " ".join(lines[:1] + lines[1:][-1:])
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no message"])[-1]


@ray.remote(num_cpus=0, max_retries=0)
def _look(declared: Inventory) -> Inventory:
    return node_actor.look(declared)


@ray.remote(num_cpus=0, max_retries=0)
def _make(environment: Environment) -> str:
    return venv.interpreter(environment)
