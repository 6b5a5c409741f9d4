"""Who of a node's cells may measure, and which of the others stand still meanwhile.

Any number of cells build, convert and compile at a time, each a process tree below a zygote of its own. One that wants
to measure asks for the floor; while it has it, whatever could disturb it is stopped with SIGSTOP and goes on after it.
All of a node's cells have one supervisor, so that a lock in its memory will do: if it dies its zygotes end with their
cells, and nothing is left stopped. A cell that dies gives the floor back, and one that never does has a deadline.
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

GLANCE = 0.2
"""Seconds to wait at a time."""


@dataclass(eq=False, kw_only=True, slots=True)
class Seat:
    """A cell's place on the floor: how it measures, on which GPU (None: on the CPUs), and when it stood still.

    `zygote` is the process below which all that belongs to it runs.
    """

    exclusive: Exclusive
    gpu: int | None
    zygote: int = 0
    stopped: set[int] | None = None
    go: int = -1
    pauses: list[tuple[float, float]] = field(default_factory=list)
    paused_since: float | None = None

    def disturbs(self, other: "Seat") -> bool:
        """Whether nothing of this cell may run while the other measures."""
        match other.exclusive:
            case "none":
                return False
            case "node":
                return True
            case "device":
                return other.gpu is None or self.gpu == other.gpu

    def paused(self, since: float, until: float) -> float:
        """Seconds it waited for the floor, or was stopped, between two moments of the monotonic clock."""
        last = [] if self.paused_since is None else [(self.paused_since, until)]
        return math.fsum(max(0.0, min(end, until) - max(begin, since)) for begin, end in [*self.pauses, *last])


class Floor:
    """Grants measurements in the order in which they are asked for. Each method may be called from any thread."""

    def __init__(self, cpus: int) -> None:
        """`cpus` is how many the node has: half of them stay idle for what is measured on a GPU."""
        self._spare = max(1, cpus // 2)
        self._changed = threading.Condition()
        self._seats: list[Seat] = []
        self._asking: list[Seat] = []
        self._measuring: list[Seat] = []

    @contextmanager
    def entered(self, seat: Seat, check: Callable[[], None]) -> Iterator[None]:
        """Have a seat, from when nothing keeps it from running; `check` is called while it waits, and may raise."""
        with self._changed:
            self._seats.append(seat)
            self._settle()
        try:
            with self._changed:
                while seat.stopped is not None:
                    self._changed.wait(GLANCE)
                    check()
            yield
        finally:
            self.withdraw(seat)

    def withdraw(self, seat: Seat) -> None:
        """Give up the floor and the seat, and let go on what is left of its process."""
        with self._changed:
            for states in (self._seats, self._asking, self._measuring):
                with suppress(ValueError):
                    states.remove(seat)
            _resume(seat)
            if seat.paused_since is not None:
                seat.pauses.append((seat.paused_since, time.monotonic()))
                seat.paused_since = None
            self._settle()

    def began(self, seat: Seat) -> None:
        """Its process is there: if it must stand still by now, it does."""
        with self._changed:
            if seat.stopped is not None:
                seat.stopped |= reaper.stop_below(seat.zygote)

    def ask(self, seat: Seat, go: int) -> None:
        """Have a byte written to the descriptor `go` when the seat has the floor."""
        with self._changed:
            if seat not in self._asking and seat not in self._measuring:
                seat.go = go
                self._asking.append(seat)
                self._settle()

    def leave(self, seat: Seat) -> None:
        with self._changed, suppress(ValueError):
            self._measuring.remove(seat)
            self._settle()

    def _settle(self) -> None:
        """Grant what can be granted, stop what is in its way, and let go on what no longer is."""
        granted: list[Seat] = []
        ahead: list[Seat] = []
        for seat in self._asking:
            if any(seat.disturbs(other) or other.disturbs(seat) for other in [*self._measuring, *ahead]):
                ahead.append(seat)
            else:
                granted.append(seat)
                self._measuring.append(seat)
        self._asking = ahead
        still = self._to_stand_still()
        now = time.monotonic()
        for seat in self._seats:
            if seat in still and seat.stopped is None:
                seat.stopped = reaper.stop_below(seat.zygote) if seat.zygote else set()
        for seat in self._seats:
            if seat not in still:
                _resume(seat)
            paused = seat in self._asking or seat in still
            if paused and seat.paused_since is None:
                seat.paused_since = now
            elif not paused and seat.paused_since is not None:
                seat.pauses.append((seat.paused_since, now))
                seat.paused_since = None
        for seat in granted:
            with suppress(OSError):  # it has just died
                os.write(seat.go, b".")
        self._changed.notify_all()

    def _to_stand_still(self) -> set[Seat]:
        others = [seat for seat in self._seats if seat not in self._measuring]
        still = {seat for seat in others if any(seat.disturbs(measuring) for measuring in self._measuring)}
        if any(seat.exclusive != "none" for seat in self._measuring):
            still.update([seat for seat in others if seat not in still][self._spare :])
        return still


def _resume(seat: Seat) -> None:
    if seat.stopped is not None:
        reaper.resume(seat.stopped)
        seat.stopped = None
