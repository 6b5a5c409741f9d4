"""Who of a node's cells may measure, and which of the others stand still meanwhile.

Any number of cells build, convert and compile at a time, each a process tree below a zygote of its own. One that wants
to measure asks for its turn; while it has it, whatever could disturb it is stopped with SIGSTOP, and goes on when it
leaves its turn. All of a node's cells have one supervisor, so that a lock in its memory will do. If it dies, its
zygotes end with their cells, and nothing stays stopped. A cell that dies loses its turn, and one that never leaves it
meets its deadline.
"""

import fcntl
import math
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sweep import lock, reaper
from sweep.cell import Exclusive

POLL_SECONDS = 0.2
"""How long to wait before looking again."""


@dataclass(eq=False, kw_only=True, slots=True)
class Turn:
    """A cell's turn to measure: it asks for it, has it, and leaves it; meanwhile others have theirs, and it waits.

    `exclusive` is what must stand still while it measures, `gpu` the GPU it measures on (None: on the CPUs), and `go`
    the descriptor to tell it on that it has its turn. `zygote` is the process below which all that belongs to the cell
    runs; `stopped` are those of these processes that stand still, None while the cell may run. `pauses` is when it
    waited for its turn or stood still.
    """

    exclusive: Exclusive
    gpu: int | None
    zygote: int = 0
    stopped: set[int] | None = None
    go: int = -1
    pauses: list[tuple[float, float]] = field(default_factory=list)
    paused_since: float | None = None

    def disturbs(self, other: "Turn") -> bool:
        """Whether nothing of this cell may run while the other measures."""
        match other.exclusive:
            case "none":
                return False
            case "node":
                return True
            case "device":
                return other.gpu is None or self.gpu == other.gpu

    def paused(self, since: float, until: float) -> float:
        """Seconds for which it waited for its turn or stood still, between two moments of the monotonic clock."""
        last = [] if self.paused_since is None else [(self.paused_since, until)]
        return math.fsum(max(0.0, min(end, until) - max(begin, since)) for begin, end in [*self.pauses, *last])


class MeasureLock:
    """Gives cells their turns in the order in which they ask. Each method may be called from any thread."""

    def __init__(self, cpus: int, machine: "MachineLock | None" = None) -> None:
        """`cpus` is how many the node has: half of them stay idle for what is measured on a GPU.

        `machine` keeps other sweeps from measuring meanwhile.
        """
        self._machine = machine
        self._spare = max(1, cpus // 2)
        self._changed = threading.Condition()
        self._turns: list[Turn] = []
        self._asking: list[Turn] = []
        self._measuring: list[Turn] = []

    @contextmanager
    def present(self, turn: Turn, check: Callable[[], None]) -> Iterator[None]:
        """A cell is here; what is inside begins when no measurement keeps it from running.

        `check` is called while it waits, and may raise.
        """
        with self._changed:
            self._turns.append(turn)
            self._update()
        try:
            with self._changed:
                while turn.stopped is not None:
                    self._changed.wait(POLL_SECONDS)
                    check()
            yield
        finally:
            self.remove(turn)

    def remove(self, turn: Turn) -> None:
        """The cell is over, and with it its turn; what is left of its processes goes on."""
        with self._changed:
            for states in (self._turns, self._asking, self._measuring):
                with suppress(ValueError):
                    states.remove(turn)
            _resume(turn)
            if turn.paused_since is not None:
                turn.pauses.append((turn.paused_since, time.monotonic()))
                turn.paused_since = None
            self._update()

    def began(self, turn: Turn) -> None:
        """The cell's process has started: it is stopped if it must stand still now."""
        with self._changed:
            if turn.stopped is not None:
                turn.stopped |= reaper.stop_below(turn.zygote)

    def ask(self, turn: Turn, go: int) -> None:
        """The cell asks for its turn: a byte is written to the descriptor `go` when it has it."""
        with self._changed:
            if turn not in self._asking and turn not in self._measuring:
                turn.go = go
                self._asking.append(turn)
                self._update()

    def look_again(self) -> None:
        """To be called now and then while a cell waits: other sweeps on this machine do not tell when they are done."""
        if self._asking and self._machine:
            with self._changed:
                self._update()

    @contextmanager
    def has_turn(self, turn: Turn, check: Callable[[], None]) -> Iterator[None]:
        """What is inside is done in the cell's turn, by the supervisor. `check` is called while it waits."""
        granted, go = os.pipe()
        try:
            with self.present(turn, check):
                self.ask(turn, go)
                while not select.select([granted], [], [], POLL_SECONDS)[0]:
                    check()
                    self.look_again()
                yield
        finally:
            os.close(granted)
            os.close(go)

    def leave(self, turn: Turn) -> None:
        """The cell has measured; others have their turns."""
        with self._changed, suppress(ValueError):
            self._measuring.remove(turn)
            self._update()

    def _update(self) -> None:
        """Give turns to who can have them, stop what would disturb them, and resume what no longer would."""
        granted: list[Turn] = []
        ahead: list[Turn] = []
        for turn in self._asking:
            others = [*self._measuring, *ahead]
            if any(turn.disturbs(other) or other.disturbs(turn) for other in others) or not self._machine_is_ours(turn):
                ahead.append(turn)
            else:
                granted.append(turn)
                self._measuring.append(turn)
        self._asking = ahead
        if self._machine and all(turn.exclusive == "none" for turn in self._measuring):
            self._machine.release(wanted=bool(ahead))
        still = self._to_stand_still()
        now = time.monotonic()
        for turn in self._turns:
            if turn in still and turn.stopped is None:
                turn.stopped = reaper.stop_below(turn.zygote) if turn.zygote else set()
        for turn in self._turns:
            if turn not in still:
                _resume(turn)
            paused = turn in self._asking or turn in still
            if paused and turn.paused_since is None:
                turn.paused_since = now
            elif not paused and turn.paused_since is not None:
                turn.pauses.append((turn.paused_since, now))
                turn.paused_since = None
        for turn in granted:
            with suppress(OSError):  # it has just died
                os.write(turn.go, b".")
        self._changed.notify_all()

    def _machine_is_ours(self, turn: Turn) -> bool:
        """Whether no other sweep measures on this machine, as far as that would disturb this cell."""
        return self._machine is None or turn.exclusive == "none" or self._machine.acquire()

    def _to_stand_still(self) -> set[Turn]:
        """Cells that may not run now: what disturbs a measurement, and all but a few beside one on a GPU."""
        others = [turn for turn in self._turns if turn not in self._measuring]
        still = {turn for turn in others if any(turn.disturbs(measuring) for measuring in self._measuring)}
        if any(turn.exclusive != "none" for turn in self._measuring):
            still.update([turn for turn in others if turn not in still][self._spare :])
        return still


class MachineLock:
    """Held by one supervisor of a machine at a time, whoever started it: a lock on a file that all users may open.

    It ends with the process that holds it. Who waits for it has a lock on another file, by which its holder knows that
    it should let others have it.
    """

    POLITE_SECONDS = 2.5 * POLL_SECONDS
    """For so long it is not taken again when others wait for it: they look every POLL_SECONDS."""

    def __init__(self, folder: Path = Path("/tmp")) -> None:  # noqa: S108 - one for all users, and nothing is written
        self._lock, self._waiting = _open_for_all(folder / "sweep.lock"), _open_for_all(folder / "sweep.waiting")
        self._held = self._waits = False
        self._not_before = 0.0

    def acquire(self) -> bool:
        """Take it, if nobody else has it; returns whether it is held now.

        Where no file can be opened, or none can be locked, it always is.
        """
        if self._held or self._lock is None or self._waiting is None:
            return True
        if time.monotonic() >= self._not_before:
            self._held = _try_lock(self._lock, fcntl.LOCK_EX)
        if self._held:
            fcntl.flock(self._waiting, fcntl.LOCK_UN)
            self._waits = False
        elif not self._waits:
            self._waits = _try_lock(self._waiting, fcntl.LOCK_SH)
        return self._held

    def release(self, *, wanted: bool = False) -> None:
        """Let others have it; `wanted` is whether somebody here still waits for it."""
        if self._lock is None or self._waiting is None:
            return
        if self._waits and not wanted:
            self._waits = False
            fcntl.flock(self._waiting, fcntl.LOCK_UN)
        if not self._held:
            return
        self._held = False
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        if _try_lock(self._waiting, fcntl.LOCK_EX):  # nobody waits
            fcntl.flock(self._waiting, fcntl.LOCK_UN)
        else:
            self._not_before = time.monotonic() + self.POLITE_SECONDS

    def close(self) -> None:
        for descriptor in filter(None, (self._lock, self._waiting)):
            os.close(descriptor)
        self._lock = self._waiting = None
        self._held = False


def _open_for_all(file: Path) -> int | None:
    """A descriptor of a file that every user may open and lock; None where it cannot be made, or locks cannot."""
    descriptor = _opened(file)
    if descriptor is not None and not lock.there_are_locks(descriptor):
        os.close(descriptor)
        return None
    return descriptor


def _opened(file: Path) -> int | None:
    with suppress(OSError):
        descriptor = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with suppress(OSError):  # another user's
            os.fchmod(descriptor, 0o644)
        return descriptor
    with suppress(OSError):  # in a folder that all may write to, Linux lets nobody create over another's file
        return os.open(file, os.O_RDONLY)
    return None


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _resume(turn: Turn) -> None:
    if turn.stopped is not None:
        reaper.resume(turn.stopped)
        turn.stopped = None
