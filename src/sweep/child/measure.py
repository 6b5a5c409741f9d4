"""Warm-up until latency has settled, blocks of timed calls, and peak memory."""

import ctypes
import gc
import math
import resource
import statistics
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter  # bound now, in case a conversion changes the module `time`
from typing import Any

import torch

from sweep import stats
from sweep.cell import Measure
from sweep.child import device as devices
from sweep.child import machine_load
from sweep.evidence import Memory

MOST_CALLS_IN_BLOCK = 2_000
"""A call of a few microseconds has far more in a block than its median needs, and all are reported."""

FEWEST_BLOCKS = 4
"""Blocks of a trial, however long a call takes."""

FIRST_CALL_COUNTS = 0.25
"""The first call of a block finds cold caches and sleeping threads: left out, unless it is this share of the block."""

MIN_CALLS_IN_WINDOW, LEAST_CALLS_IN_WINDOW = 5, 2
"""Two windows of five can still be told apart at 5 %: if one lies wholly above the other, p is 0.008. Once the time for
warm-up is over, two calls will do: nothing is told apart then.
"""


class Timer:
    """Times single calls on a device, all work there included, on whichever stream it is done.

    Seconds are the clock's, from when nothing was left to do on the device until nothing is left again, less what that
    costs around no call at all.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = devices.of(device.type)
        self._waits = self.device.kind != "cpu"
        self.overhead = statistics.median(self._seconds_of_nothing() for _ in range(1001))

    def _seconds_of_nothing(self) -> float:
        self.wait()
        began = perf_counter()
        if self._waits:
            self.wait()
        return perf_counter() - began

    def wait(self) -> None:
        """Until the work queued on the device is done."""
        self.device.wait()

    def watch(self) -> machine_load.LoadWatch:
        """A new watch over the machine and this device."""
        return machine_load.LoadWatch(self.device.watch())

    def seconds_of(self, call: Callable[[], Any]) -> float:
        """Seconds of one call, on the device too."""
        if not self._waits:
            began = perf_counter()
            call()
            return max(perf_counter() - began - self.overhead, 1e-9)
        wait = self.device.wait
        wait()
        began = perf_counter()
        call()
        wait()
        return max(perf_counter() - began - self.overhead, 1e-9)


Inputs = Callable[[], Any]
"""Gives the input of the next call."""


class Subject:
    """A forward call while it is measured: its figures, and how often it was called.

    `inputs` gives each call its input, outside what is timed: the same one, or where the model changes it a copy, or
    where the model remembers one that it has never seen.
    """

    def __init__(self, forward: Callable[[Any], Any], inputs: Inputs, timer: Timer, measure: Measure) -> None:
        self.forward, self.inputs, self._timer, self._measure = forward, inputs, timer, measure
        self.calls = 0
        self.settled = False
        self.blocks: list[list[float]] = []
        self.load = timer.watch()
        self._page_faults = self._calls_in_blocks = 0

    @property
    def samples(self) -> list[float]:
        """Seconds of each call that was timed, of all blocks."""
        return [sample for block in self.blocks for sample in block]

    def evidence(self) -> dict[str, Any]:
        """The fields of `evidence.Sampled`."""
        faults = self._page_faults / self._calls_in_blocks if self._calls_in_blocks else None
        return {
            "blocks": self.blocks,
            "settled": self.settled,
            "load": asdict(self.load.load()),
            "page_faults": faults,
        }

    def call(self) -> Any:
        self.calls += 1
        return self.forward(self.inputs())

    def _timed_call(self) -> float:
        return self.seconds_with(self.inputs())

    def measure(self) -> None:
        """Warm up, and take the blocks of a trial one after the other."""
        self.warm_up()
        self.sample()

    def sample(self) -> None:
        """Take the blocks of a trial one after the other."""
        while not self.has_enough:
            self.take_block()

    def warm_up(self) -> None:
        """Call until two windows in a row cannot be told apart (`stats.settled`), or `max_warmup_seconds` are over.

        A window holds at least `warmup_calls` calls and lasts at least a twentieth of `seconds`; once time is over,
        a few calls will do.
        """
        deadline = perf_counter() + self._measure.max_warmup_seconds
        before = self._window(deadline)
        while perf_counter() < deadline:
            window = self._window(deadline)
            enough = min(len(before), len(window)) >= MIN_CALLS_IN_WINDOW
            self.settled = enough and stats.settled(before, window)
            if self.settled:
                return
            before = window

    def _window(self, deadline: float) -> list[float]:
        ends = perf_counter() + self._measure.seconds / 20
        window: list[float] = []
        while len(window) < self._measure.warmup_calls or perf_counter() < ends:
            window.append(self._timed_call())
            if len(window) >= LEAST_CALLS_IN_WINDOW and perf_counter() >= deadline:
                break
        return window

    @property
    def has_enough(self) -> bool:
        """Whether there are as many blocks as a trial has."""
        if len(self.blocks) < FEWEST_BLOCKS:
            return False
        by_length = self._measure.seconds / self._measure.block_seconds if self._measure.block_seconds else 0
        return len(self.blocks) >= by_length or math.fsum(map(math.fsum, self.blocks)) >= self._measure.seconds

    def take_block(self) -> list[float]:
        """Call for `block_seconds`, once at least; returns the seconds of each call, in order, and keeps them.

        The garbage collector is off: its pauses are no part of a latency. When it returns, nothing is left to do on the
        device.
        """
        block: list[float] = []
        timed_call, length = self._timed_call, self._measure.block_seconds
        gc.collect(0)
        gc.disable()
        calls, faults = self.calls, _page_faults()
        try:
            with self.load.during():
                self._timer.wait()
                ends = perf_counter() + length
                first = timed_call()
                if first >= FIRST_CALL_COUNTS * length:
                    block.append(first)
                while not block or (perf_counter() < ends and len(block) < MOST_CALLS_IN_BLOCK):
                    block.append(timed_call())
                self._timer.wait()
        finally:
            gc.enable()
        self._calls_in_blocks += self.calls - calls
        self._page_faults += _page_faults() - faults
        self.blocks.append(block)
        return block

    def seconds_of(self, call: Callable[[], Any]) -> float:
        """Seconds of a call of anything on the same device."""
        return self._timer.seconds_of(call)

    def seconds_with(self, data: Any) -> float:
        """Seconds of a call with this input."""
        self.calls += 1
        return self._timer.seconds_of(partial(self.forward, data))

    def call_many_times(self) -> None:
        """Call until there were `verify_after_calls`, or for a third of `seconds`: some go wrong only with use."""
        ends = perf_counter() + self._measure.seconds / 3
        while self.calls < self._measure.verify_after_calls and perf_counter() < ends:
            self.call()


def _page_faults() -> int:
    """How many pages this process has asked the kernel for that needed no disk: getrusage(2)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


class MemoryWatch:
    """How much memory this process holds above what it held when this was made: its model, and what calls of it need.

    On a GPU also what the device has less, which whatever allocates there takes, and not only torch; but never less
    than what torch's allocator held at most, for others may have given memory back meanwhile.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = devices.of(device.type)
        self._resident, self._free = _resident("VmRSS"), self.free_on_gpu()

    def forget_peak(self) -> None:
        """Start anew: what was needed until now, such as to convert, does not count."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the kernel
        self._device.forget_peak()
        with suppress(OSError):  # then the peak is that of the process from its start
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM

    def peak(self) -> Memory:
        """Peaks in MB since `forget_peak`; on a GPU, memory that was let go of stays with its allocator, and counts."""
        free, held = self.free_on_gpu(), self._device.held_most()
        less = self._free - free if self._free is not None and free is not None else None
        known = [figure for figure in (less, None if held is None else held / 1e6) if figure is not None]
        return Memory(rss_peak=_resident("VmHWM") - self._resident, cuda_peak=max(known, default=None))

    def free_on_gpu(self) -> float | None:
        """MB; None on a CPU, and where a device does not tell."""
        free = self._device.free()
        return None if free is None else free / 1e6


def _resident(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field + ":"))
    return kib * 1024 / 1e6
