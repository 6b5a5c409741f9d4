"""Who of a node's cells may measure, and which of the others stand still meanwhile.

Any number of cells build, convert and compile at a time, each a process tree below a zygote of its own. One that wants
to measure asks for its turn; while it has it, whatever could disturb it is stopped with SIGSTOP, and goes on when it
leaves its turn. All of a node's cells have one supervisor, so that a lock in its memory will do. If it dies, its
zygotes end with their cells, and nothing stays stopped. A cell that dies loses its turn, and one that never leaves it
meets its deadline.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sweep import reaper
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

    def __init__(self, cpus: int) -> None:
        """`cpus` is how many the node has: half of them stay idle for what is measured on a GPU."""
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
            if any(turn.disturbs(other) or other.disturbs(turn) for other in [*self._measuring, *ahead]):
                ahead.append(turn)
            else:
                granted.append(turn)
                self._measuring.append(turn)
        self._asking = ahead
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

    def _to_stand_still(self) -> set[Turn]:
        """Cells that may not run now: what disturbs a measurement, and all but a few beside one on a GPU."""
        others = [turn for turn in self._turns if turn not in self._measuring]
        still = {turn for turn in others if any(turn.disturbs(measuring) for measuring in self._measuring)}
        if any(turn.exclusive != "none" for turn in self._measuring):
            still.update([turn for turn in others if turn not in still][self._spare :])
        return still


def _resume(turn: Turn) -> None:
    if turn.stopped is not None:
        reaper.resume(turn.stopped)
        turn.stopped = None
