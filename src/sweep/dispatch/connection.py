"""The connection to Ray: to a local one, that is started and ended with it, or to a cluster."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ray._private import ray_constants, state, worker
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.autoscaler import sdk

import ray
from sweep import interrupts, leftovers
from sweep.dispatch import connect
from sweep.errors import BadEnvironment, CarrierLost
from sweep.isolate.guard import Guard
from sweep.plan.inventory import Inventory
from sweep.reading import one_line
from sweep.request.settings import Dispatch

NEEDED = ("gcs_server", "raylet")
"""The processes of a local Ray without which it carries nothing."""

MOST_RESTARTS = 2

ASK_SECONDS = 1.0
"""How often it is asked at most whether a cluster is there."""

USED_SECONDS = 5.0
"""For so long what Ray says of who uses nodes is taken for true: it lists all of them, however few are asked about."""

_Used = tuple[Mapping[str, Mapping[str, float]], Mapping[str, Counter[str]]]

GONE_SECONDS = 20.0
"""For so long a cluster's head node may be unreachable, as while it is started again by who looks after it."""


class Connection:
    """To a Ray of our own on this machine, or to a cluster."""

    def __init__(self, options: Dispatch) -> None:
        self._options = options
        self._is_open = False
        self._environment: dict[str, str] = {}
        self._guard: Guard | None = None
        self.problems: list[str] = []
        """Why it was started again, each time."""
        self._folder: leftovers.OwnFolder | None = None
        """What a local Ray writes: its logs, its sockets, and nothing that a row needs."""
        self._wants_more = False
        self._used_before: tuple[float, _Used] | None = None
        self._asked = self._failing_since = 0.0
        """When the cluster's head node last was, and since when it has not answered, on the monotonic clock."""
        self._why_not: str | None = None

    def open(self) -> None:
        """Connect, if it is not connected. Raises BadEnvironment; CarrierLost where a local Ray does not start."""
        if self._is_open:
            return
        self._environment = dict(os.environ)
        if ray.is_initialized():
            raise BadEnvironment(
                "this process is connected to a Ray already, whose settings sweep cannot change: ray.shutdown() first, "
                "or dispatch=serial, which needs none"
            )
        address = self._options.address
        if address is None:
            self._guard = Guard("SWEEP_RAY")  # Ray's own agents outlive a driver that is killed, by minutes
        mark = self._guard.mark if self._guard else {}
        try:
            connect.check_that_somebody_listens(address)
            self._is_open = True  # in part, if it fails
            if address is None:
                self._folder = leftovers.OwnFolder(connect.temporary_folder(os.environ))
            with connect.variables(os.environ, address, mark), _on_loopback(address), interrupts.kept():
                self._begin()
        except Exception as error:
            self.close()
            where = f"the cluster at {address}" if address else "a local Ray"
            why = one_line(str(error)) or type(error).__name__
            if why.endswith(":"):  # what a server says, whose first line only introduces it
                why = f"{why} {last_line(error)}"
            kind = BadEnvironment if address else CarrierLost
            raise kind(f"cannot reach {where}: {why}; dispatch=serial needs no Ray") from error

    def _begin(self) -> None:
        """`ray.init`, again where a cluster's client server died while it was being started."""
        folder = self._folder.path / "ray" if self._folder else None
        for tries_left in reversed(range(connect.TRIES)):
            try:
                ray.init(**connect.init_arguments(self._options, folder))
                return
            except ConnectionAbortedError as error:
                if not tries_left or connect.SERVER_DIED not in str(error):
                    raise
                ray.shutdown()

    def ask_for(self, bundles: list[dict[str, float]]) -> None:
        """Have a cluster's autoscaler, if it has one, make nodes on which there is this, until nothing is asked for."""
        with suppress(Exception):  # a cluster without one
            sdk.request_resources(bundles=bundles)
            self._wants_more = bool(bundles)

    def holders(self, node: Inventory) -> str:
        """Who has the resources of a node that it lacks, as far as Ray tells."""
        with suppress(Exception):
            free, actors = self._used()
            by = ", ".join(f"{count} x {name}" for name, count in actors[node.id].most_common(3)) or "tasks"
            total = node.resources.get("CPU", node.cpus)
            return f"{total - free.get(node.id, {}).get('CPU', 0.0):g} of its {total:g} CPUs are in use, by {by}"
        return "others use it"

    def _used(self) -> _Used:
        """What is free on each node, and how many actors of each class are there, by the node's id. Raises."""
        if self._used_before is None or time.monotonic() - self._used_before[0] > USED_SECONDS:
            free = state.available_resources_per_node()  # type: ignore[no-untyped-call]
            actors: dict[str, Counter[str]] = defaultdict(Counter)
            for actor in state.actors(actor_state_name="ALIVE").values():
                actors[actor["Address"]["NodeID"]][actor["ActorClassName"]] += 1
            self._used_before = time.monotonic(), (free, actors)
        return self._used_before[1]

    @property
    def gone(self) -> str | None:
        """What of Ray is no longer there, in words; None where nothing is missing.

        Ray would end this process a minute after its control store went, and a call of it would not come back.
        """
        if self._options.address is None:
            node = worker._global_node
            ended: list[Any] = node.dead_processes() if node else []
            dead = [name for name, _ in ended if name in NEEDED]
            return f"the local Ray lost its {dead[0]}" if dead else None
        if time.monotonic() - self._asked >= ASK_SECONDS:
            self._why_not = self._ask()
        return self._why_not if self._asked - self._failing_since > GONE_SECONDS else None

    @property
    def answers(self) -> bool:
        """Whether a cluster's head node did when it was asked last, so that a call of Ray will come back."""
        return self._why_not is None

    def answers_now(self) -> bool:
        """As `answers`, asked anew."""
        if self._options.address is not None:
            self._why_not = self._ask()
        return self.answers

    def _ask(self) -> str | None:
        """Why a cluster's head node does not answer, if so."""
        node = worker._global_node
        address = node.gcs_address if node else self._options.address  # of ray:// there is no node here
        self._asked = time.monotonic()
        try:
            connect.check_that_somebody_listens(address, GONE_SECONDS / 4)
        except OSError as error:
            if self._why_not is None:
                self._failing_since = self._asked
            return f"nobody listens at {address} any more: {error.strerror or error}"
        return None

    def restart(self, why: str) -> None:
        """Start a local Ray again. Raises CarrierLost for a cluster, and after MOST_RESTARTS times."""
        self.close()
        if self._options.address is not None or len(self.problems) >= MOST_RESTARTS:
            again = f", after {len(self.problems)} new starts" if self.problems else ""
            raise CarrierLost(f"{why}{again}: what had not ended has rows that say so")
        self.problems.append(f"{why}, and was started again")
        try:
            self.open()
        except CarrierLost as error:
            self.restart(str(error))

    def close(self) -> None:
        """Leave Ray, and end a local one with all that is left of it, whatever state it is in."""
        if self._is_open:
            if self._wants_more and self.answers_now():
                self.ask_for([])
            if self._options.address is None and worker._global_node and self.gone:
                with suppress(Exception):  # what is dead need not be asked to end
                    worker._global_node.kill_all_processes(check_alive=False, allow_graceful=False)
            ray.shutdown()
            connect.restore(os.environ, self._environment)
            _forget_token()
            self._is_open = False
        if self._guard:
            self._guard.close()
            self._guard = None
        if self._folder:
            self._folder.close()
            self._folder = None


def last_line(error: Exception) -> str:
    """Of what an error says, the last line that is not empty."""
    lines = [line for line in (one_line(text) for text in str(error).splitlines()) if line]
    return lines[-1] if lines else "no message"


def _forget_token() -> None:
    """Have this process take the next Ray's token, or none: it keeps the first, which another Ray would not know."""
    Config.initialize("")  # first: what still drains must not look for a token that is gone
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _on_loopback(address: str | None) -> Iterator[None]:
    """Inside, a local Ray (no address) that starts listens to this machine alone.

    Ray takes 127.0.0.1 for a wish to be reachable and listens on all interfaces instead, but where it does not expect
    more than one machine, as on macOS: the variable is for its processes, and this one read it when Ray was imported.
    """
    expects_cluster = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = expects_cluster and address is not None
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = expects_cluster
