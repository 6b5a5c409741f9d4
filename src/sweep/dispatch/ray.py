"""Cells on Ray: an actor on each node, and in each environment there, which runs several at a time; a local Ray unless
an address names a cluster.
"""

import math
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import suppress
from typing import Any

from ray.exceptions import RayError

import ray
from sweep.cell import Cell
from sweep.dispatch.actors import Actors
from sweep.dispatch.backlog import Backlog
from sweep.dispatch.connection import Connection, last_line
from sweep.dispatch.node import Node, Nodes, declared, lost
from sweep.dispatch.patience import Patience
from sweep.dispatch.probe import Probes
from sweep.errors import BadEnvironment, CarrierLost
from sweep.evidence import Further
from sweep.isolate import survey, venv
from sweep.plan import validate
from sweep.plan.inventory import Inventory
from sweep.request.settings import Dispatch
from sweep.result import Outcome
from sweep.runtime_environment import Environment

LOOK_SECONDS = 2
"""How often Ray is asked which nodes there are."""

END_SECONDS, PROBE_SECONDS = 10, 600
"""How long what runs on nodes has to end, and a node may take to say what it has: at first it imports torch."""


class RayDispatcher:
    """Connects when cells are run, or when a cluster must be asked what it has, and stays until it is closed."""

    def __init__(
        self, options: Dispatch, environments: Sequence[Environment] = (), *, wants_gpus: bool = False
    ) -> None:
        """`wants_gpus` is whether some cell of the sweep does, which need not be in the first round."""
        self._options, self._environments = options, environments
        self._connection = Connection(options)
        self._nodes = Nodes(options.cells_per_node)
        self._probes = Probes(options.address, environments, self._nodes)
        self._actors = Actors(options)
        self._looked = -math.inf
        self._wants_gpus = wants_gpus

    def nodes(self, waits: Callable[[str], None] = lambda _text: None) -> list[Inventory]:
        if self._options.address is None and self._nodes.none_answered and not self._environments:
            return [survey.local()]  # without a Ray, which a plan does not need
        if self._nodes.none_answered:
            if self._environments:
                names = ", ".join(environment.name for environment in self._environments)
                waits(
                    f"looks into the environments ({names}); one that is not there yet is made, which may take minutes"
                )
            self._open()
            self._look_for_nodes()
            self._wait_for_answers()
            if self._nodes.none_answered and self._options.wait_nodes:
                self._wait_for_the_first()
            if self._nodes.none_answered:
                raise BadEnvironment("\n".join(self._nodes.problems) or f"no node answers at {self._options.address}")
        return self._nodes.inventories

    def run(
        self, backlog: Backlog, started: Callable[[Cell], None], waits: Callable[[str], None] = lambda _text: None
    ) -> Generator[Outcome, None, None]:
        if not backlog:
            return
        self._open()
        self._patience = Patience(self._options.wait_nodes, self._connection, waits)
        self._wants_gpus = self._wants_gpus or backlog.has(lambda cell: cell.device.gpus > 0)
        backlog.elsewhere = lambda cell, id_: any(node.has.place != id_ and node.fits(cell) for node in self._nodes)
        try:
            while backlog or self._nodes.are_busy:
                gone = self._connection.gone
                try:
                    outcomes = [] if gone else self._carry(backlog, started)
                except (RayError, OSError, RuntimeError) as error:  # a call that Ray has given up
                    gone = self._connection.gone or f"{type(error).__name__} of Ray: {last_line(error)}"
                if gone:
                    outcomes = self._start_again(gone, backlog)
                yield from outcomes
        finally:
            self._end()

    def _open(self) -> None:
        """Connect. Raises BadEnvironment, CarrierLost."""
        try:
            self._connection.open()
        except CarrierLost as error:  # once may be chance
            self._connection.restart(str(error))

    def _wait_for_answers(self) -> None:
        """Of all nodes that were asked, and of their environments, which may have to be made first."""
        seconds = PROBE_SECONDS + (venv.MAKE_SECONDS if self._environments else 0)
        ends = time.monotonic() + seconds
        while self._probes.tasks and time.monotonic() < ends:
            self._probes.take(_done(self._probes.tasks))
        if self._environments:
            self._probes.give_up(f"it was not there after {seconds} s")

    def _wait_for_the_first(self) -> None:
        """Of a cluster that has no node that runs anything, as one that grows from none."""
        self._connection.ask_for([{"CPU": 1.0}])
        ends = time.monotonic() + self._options.wait_nodes
        while self._nodes.none_answered and (self._probes.tasks or time.monotonic() < ends):
            self._look_for_nodes()
            self._probes.take(_done(self._probes.tasks))
            time.sleep(0 if self._probes.tasks else 1)

    def _carry(self, backlog: Backlog, started: Callable[[Cell], None]) -> list[Outcome]:
        """Send what can be sent, wait a while, and take what came back. Raises CarrierLost, and what Ray raises."""
        self._look_for_nodes()
        if not self._connection.answers:  # its head may come back: until then only what runs is waited for
            time.sleep(0 if self._nodes.are_busy else 1)
            return self._take_outcomes(_done(self._nodes.tasks()))
        self._send_all(backlog, started)
        self._actors.see_off()
        awaited = [*self._nodes.tasks(), *self._probes.tasks, *self._nodes.starting()]
        if not awaited:
            return self._wait_or_decide(backlog)
        self._patience.with_busy(self._nodes, time.monotonic())
        done = _done(awaited)
        self._probes.take(done)
        self._take_started(done)
        outcomes = self._take_outcomes(done)
        self._send_all(backlog, started)  # before these are recorded, which waits for a disk
        return outcomes

    def _wait_or_decide(self, backlog: Backlog) -> list[Outcome]:
        """What no node can run waits for as long as it may, and then has its row."""
        for cell in backlog.waiting():
            if backlog.suspects.failed_on(cell.id) and any(node.fits(cell) for node in self._nodes):
                backlog.send_anywhere(cell)
                return []
        now = time.monotonic()
        doubted = (node for node in self._nodes if node.is_doubted(now))
        recovers = any(node.fits(cell) for node in doubted for cell in backlog.waiting())
        if recovers or self._patience.lasts(backlog.waiting(), now):
            time.sleep(1)
            return []
        if not self._nodes:
            raise CarrierLost("; ".join(["no node is left", *self._nodes.problems[-1:]]))
        return self._nodes.refuse(backlog)

    def _start_again(self, why: str, backlog: Backlog) -> list[Outcome]:
        """What ran is lost, and comes back as such, once there is a new local Ray. Raises CarrierLost."""
        self._forget()
        self._connection.restart(why)
        return [lost(cell, why) for cell in backlog.taken]

    def _look_for_nodes(self) -> None:
        """Ask every node that is new what it has, and forget those that are gone."""
        if time.monotonic() - self._looked < LOOK_SECONDS or not self._connection.answers_now():
            return
        self._looked = time.monotonic()
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")}  # type: ignore[no-untyped-call]
        for known_to_ray in [declared(node) for id_, node in alive.items() if self._nodes.first_seen(id_)]:
            self._probes.ask(known_to_ray)
        self._nodes.keep(alive)

    def _send_all(self, backlog: Backlog, started: Callable[[Cell], None]) -> None:
        now = time.monotonic()
        keeps = backlog.may_grow and not self._nodes.waits(now)  # or two sweeps could wait for each other's nodes
        for node in self._nodes.by_trust(now):
            self._send(node, backlog, started, keeps=keeps)

    def _send(self, node: Node, backlog: Backlog, started: Callable[[Cell], None], *, keeps: bool) -> None:
        """Give a node what it has room for; its actor comes with the first cell that fits and goes with the last.

        But for one that the sweep `keeps` for a further round.
        """
        if node.is_up and node.running and not node.room:
            return

        def fits(cell: Cell) -> bool:
            return node.has.place not in backlog.suspects.failed_on(cell.id) and node.fits(cell, backlog.hardware(cell))

        if backlog.suspects.is_sick(node.has.place) and not node.unfit:
            node.unfit = f"{node.has.where} gets no more cells: models failed there that ran elsewhere"
            self._nodes.problems.append(node.unfit)

        if not node.finds_any(backlog, fits):
            if not node.running and (node.unfit or not keeps) and not self._nodes.is_needed(node):
                self._actors.let_go(node)
            return
        if self._nodes.has_to_wait(node):
            return
        if node.actor is None:
            places = (node, *self._nodes.beside(node))
            gpus = self._wants_gpus and any(place.has.gpus for place in places)
            self._actors.ask_for(node, self._nodes.holder(node), gpus=gpus)
        while node.room > 0 and (cell := backlog.take(fits)):
            self._launch(node, cell, backlog.further(cell), started)
        if node.is_up and not node.running and (cell := backlog.take_alone(fits)):
            self._launch(node, cell, backlog.further(cell), started, alone=True)

    def _launch(
        self, node: Node, cell: Cell, further: Further, started: Callable[[Cell], None], *, alone: bool = False
    ) -> None:
        for other in self._nodes.beside(node):
            if other.is_up and not other.rests:
                other.actor.rest.remote()
                other.rests = True
        node.launched(node.actor.run.options(name=cell.id).remote(cell, further), cell, alone=alone)
        started(cell)

    def _take_started(self, done: Collection[Any]) -> None:
        where = self._nodes.starting()
        for task in [task for task in done if task in where]:
            node = where[task]
            try:
                node.came_up(ray.get(task))
            except RayError as error:
                self._nodes.problems.append(f"{node.has.where} could not be taken: {last_line(error)}")
                self._actors.kill(node, *(self._nodes.beside(node) if node.holds else ()))
                node.failed_to_start(time.monotonic())
        self._nodes.drop_given_up()

    def _take_outcomes(self, done: Collection[Any]) -> list[Outcome]:
        outcomes = []
        where = self._nodes.tasks()
        for task in [task for task in done if task in where]:
            node = where[task]
            cell = node.ended(task)
            try:
                outcome: Outcome = ray.get(task)
            except RayError as error:
                if self._connection.answers:
                    self._actors.kill(node, *(self._nodes.beside(node) if node.holds else ()))
                node.lost_a_cell(time.monotonic())
                outcome = lost(cell, f"{type(error).__name__} on {node.has.where}: {last_line(error)}")
            outcomes.append(validate.with_fingerprint(outcome, cell, node.has))
        return outcomes

    def _end(self) -> None:
        """End what still runs."""
        if self._connection.gone or not self._connection.answers:
            return
        with suppress(RayError, OSError, RuntimeError):  # it may be going just now, and rows are still to be written
            if running := list(self._nodes.tasks()):
                ending = [node.actor.end.remote() for node in self._nodes if node.actor and node.running]
                ray.wait(running, num_returns=len(running), timeout=END_SECONDS)
                del ending
            for node in self._nodes:
                self._actors.let_go(node)
            self._actors.see_off(END_SECONDS)

    @property
    def problems(self) -> list[str]:
        return list(dict.fromkeys([*self._connection.problems, *self._nodes.problems]))

    def close(self) -> None:
        """Leave Ray, and end a local one with all that is left of it."""
        self._connection.close()
        self._forget()

    def _forget(self) -> None:
        self._nodes.forget()
        self._probes.forget()
        self._actors.forget()
        self._looked = -math.inf


def _done(tasks: Collection[Any]) -> list[Any]:
    """Of these tasks all that are done, after a second at most."""
    awaited = list(tasks)
    if awaited:
        ray.wait(awaited, timeout=1)
        awaited, _ = ray.wait(awaited, num_returns=len(awaited), timeout=0)
    return awaited
