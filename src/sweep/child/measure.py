"""Warm-up until latency has settled, blocks of timed calls, and peak memory."""

import ctypes
import gc
import math
import statistics
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter  # bound now, in case a conversion changes the module `time`
from typing import Any

import torch

from sweep import stats
from sweep.cell import Measure
from sweep.child import machine_load
from sweep.evidence import Memory

MOST_CALLS_IN_BLOCK = 2_000
"""A call of a few microseconds has far more in a block than its median needs, and all are reported."""

FEWEST_BLOCKS = 4
"""Blocks of a trial, however long a call takes."""

FIRST_CALL_COUNTS = 0.25
"""The first call of a block finds cold caches and sleeping threads: left out, unless it is this share of the block."""

EXCUSABLE_SHARE = 0.5
EXCUSABLE_SECONDS = 2e-4
"""Work outside the timed call counts as put off or saved up from this share of the latency, and these seconds."""

MIN_CALLS_IN_WINDOW, LEAST_CALLS_IN_WINDOW = 5, 2
"""Two windows of five can still be told apart at 5 %: if one lies wholly above the other, p is 0.008. Once the time for
warm-up is over, two calls will do: nothing is told apart then.
"""


class Timer:
    """Times single calls on a device, its work there included."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.overhead = statistics.median(self._seconds_of_nothing() for _ in range(1001))

    @staticmethod
    def _seconds_of_nothing() -> float:
        started = perf_counter()
        return perf_counter() - started

    def wait(self) -> None:
        """Until the work queued on the device is done."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds_of(self, call: Callable[[], Any]) -> float:
        """Seconds of one call: CUDA's own events around it, or the clock's difference less what reading it costs."""
        if self.on_gpu:
            started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            started.record()
            call()
            ended.record()
            ended.synchronize()
            return float(started.elapsed_time(ended)) / 1e3
        began = perf_counter()
        call()
        return max(perf_counter() - began - self.overhead, 1e-9)


class Subject:
    """A forward call and its input while they are measured: its figures, and how often it was called.

    `reading_delay` is how many seconds reading the output takes, `new_input_delay` how many more a call takes with an
    input not seen before. Each is the least of several differences between two calls in a row: a busy machine only
    ever makes calls longer, and must not make an honest conversion look late.
    """

    def __init__(self, forward: Callable[[Any], Any], data: Any, timer: Timer, measure: Measure) -> None:
        self.forward, self._data, self._timer, self._measure = forward, data, timer, measure
        self.calls = 0
        self.settled = False
        self.blocks: list[list[float]] = []
        self.load = machine_load.LoadWatch(gpu=timer.on_gpu)
        self.reading_delay = 0.0
        self.new_input_delay = math.inf

    @property
    def samples(self) -> list[float]:
        """Seconds of each call that was timed, of all blocks."""
        return [sample for block in self.blocks for sample in block]

    def evidence(self) -> dict[str, Any]:
        """The fields of `evidence.Sampled`."""
        return {"blocks": self.blocks, "settled": self.settled, "load": asdict(self.load.load())}

    def call(self) -> Any:
        self.calls += 1
        return self.forward(self._data)

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
            window.append(self._timer.seconds_of(self.call))
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
        seconds_of, call, length = (
            self._timer.seconds_of,
            partial(self.forward, self._data),
            self._measure.block_seconds,
        )
        gc.collect(0)
        gc.disable()
        try:
            with self.load.during():
                self._timer.wait()
                ends = perf_counter() + length
                first = seconds_of(call)
                if first >= FIRST_CALL_COUNTS * length:
                    block.append(first)
                while not block or (perf_counter() < ends and len(block) < MOST_CALLS_IN_BLOCK):
                    block.append(seconds_of(call))
                self._timer.wait()
        finally:
            gc.enable()
        self.calls += len(block) + 1
        self.blocks.append(block)
        return block

    @property
    def excusable(self) -> float:
        """Seconds beyond the timed call that prove nothing: a share of its latency, or what a busy machine adds."""
        return max(EXCUSABLE_SHARE * statistics.median(self.samples), EXCUSABLE_SECONDS)

    def time_new_inputs(self, inputs: Iterable[Any]) -> None:
        """Find `new_input_delay`, with one input after the other until it can be excused: it only ever falls."""
        seconds_of = self._timer.seconds_of
        for data in inputs:
            known_input = seconds_of(self.call)
            new_input = seconds_of(partial(self.forward, data))
            self.new_input_delay = min(self.new_input_delay, new_input - known_input)
            if self.new_input_delay <= self.excusable:
                return

    def call_many_times(self) -> None:
        """Call until there were `verify_after_calls`, or for a third of `seconds`: some go wrong only with use."""
        ends = perf_counter() + self._measure.seconds / 3
        while self.calls < self._measure.verify_after_calls and perf_counter() < ends:
            self.call()

    def read_whole(self, read: Callable[[Any], Any], enough: float, times: int = 10) -> None:
        """Find `reading_delay`: the seconds it takes beyond a call just before, at the least, to have the whole output.

        It is looked for `times` times, or until it is `enough`, in seconds: it only ever falls.
        """
        seconds_of = self._timer.seconds_of
        self.reading_delay = math.inf
        for _ in range(times):
            self.reading_delay = min(self.reading_delay, -seconds_of(self.call) + seconds_of(lambda: read(self.call())))
            if self.reading_delay <= enough:
                return


class MemoryWatch:
    """How much memory this process holds above what it held when this was made: its model, and what calls of it need.

    On a GPU also what the device has less, which whatever allocates there takes, and not only torch.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._resident, self._free = _resident("VmRSS"), self.free_on_gpu()

    def forget_peak(self) -> None:
        """Start anew: what was needed until now, such as to convert, does not count."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the kernel
        with suppress(OSError):  # then the peak is that of the process from its start
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM

    def peak(self) -> Memory:
        """Peaks in MB since `forget_peak`; on a GPU, memory that was let go of stays with its allocator, and counts."""
        free = self.free_on_gpu()
        cuda = self._free - free if self._free is not None and free is not None else None
        return Memory(rss_peak=_resident("VmHWM") - self._resident, cuda_peak=cuda)

    def free_on_gpu(self) -> float | None:
        """MB; None on a CPU."""
        return torch.cuda.mem_get_info(self._device)[0] / 1e6 if self._device.type == "cuda" else None


def _resident(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field + ":"))
    return kib * 1024 / 1e6
