"""Warm-up until latency has settled, samples until their median is known, and peak memory."""

import gc
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter  # bound now, in case a conversion changes the module `time`
from typing import Any

import torch

from sweep import stats
from sweep.cell import Measure
from sweep.child import machine_load
from sweep.evidence import MachineLoad, Memory

MAX_SAMPLES = 500_000
"""A call of under a microsecond has more in a second: far more than its median needs, and all are reported."""


EXCUSABLE_SHARE = 0.5
EXCUSABLE_SECONDS = 2e-4
"""Work outside the timed call counts as put off or saved up from this share of the latency, and these seconds."""

MIN_CALLS_IN_WINDOW = 5
"""Two windows of five can still be told apart at 5 %: if one lies wholly above the other, p is 0.008."""


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
        self._forward, self._data, self._timer, self._measure = forward, data, timer, measure
        self.calls = 0
        self.settled = False
        self.samples: list[float] = []
        self.load = MachineLoad()
        self.reading_delay = 0.0
        self.new_input_delay = math.inf

    def evidence(self) -> dict[str, Any]:
        """The fields of `evidence.Sampled`."""
        return {
            "samples": self.samples,
            "settled": self.settled,
            "load": asdict(self.load),
        }

    def call(self) -> Any:
        self.calls += 1
        return self._forward(self._data)

    def measure(self) -> None:
        self.warm_up()
        self.sample()

    def warm_up(self) -> None:
        """Call until two windows in a row cannot be told apart (`stats.settled`), or `max_warmup_seconds` are over.

        A window holds at least `warmup_calls` calls and lasts at least a twentieth of `min_seconds`; once time is over,
        MIN_CALLS_IN_WINDOW calls will do.
        """
        deadline = perf_counter() + self._measure.max_warmup_seconds
        before = self._window(deadline)
        while True:
            window = self._window(deadline)
            self.settled = stats.settled(before, window)
            if self.settled or perf_counter() >= deadline:
                return
            before = window

    def _window(self, deadline: float) -> list[float]:
        ends = perf_counter() + self._measure.min_seconds / 20
        window: list[float] = []
        while len(window) < self._measure.warmup_calls or perf_counter() < ends:
            window.append(self._timer.seconds_of(self.call))
            if len(window) >= MIN_CALLS_IN_WINDOW and perf_counter() >= deadline:
                break
        return window

    def sample(self) -> None:
        """Take `samples`: seconds of each call, in order.

        At least `min_samples`, for at least `min_seconds`, until the median's 95 % interval is within `precision`
        of it, `max_seconds` are over, or there are MAX_SAMPLES. The interval is looked at only after every half
        as many samples more, so that looking often does not stop it early. The garbage collector is off: its
        pauses are no part of a latency.
        """
        samples, seconds_of, call = self.samples, self._timer.seconds_of, partial(self._forward, self._data)
        gc.collect()
        gc.disable()
        watch = machine_load.LoadWatch(gpu=self._timer.on_gpu)
        try:
            self._timer.wait()
            began = perf_counter()
            next_look = self._measure.min_samples
            while True:
                samples.append(seconds_of(call))
                if len(samples) >= MAX_SAMPLES:
                    break
                elapsed = perf_counter() - began
                if len(samples) < next_look or elapsed < self._measure.min_seconds:
                    continue
                if elapsed >= self._measure.max_seconds or stats.half_width(samples) <= self._measure.precision:
                    break
                next_look = len(samples) * 3 // 2
        finally:
            gc.enable()
        self.load = watch.load()
        self.calls += len(samples)

    @property
    def excusable(self) -> float:
        """Seconds beyond the timed call that prove nothing: a share of its latency, or what a busy machine adds."""
        return max(EXCUSABLE_SHARE * statistics.median(self.samples), EXCUSABLE_SECONDS)

    def call_with_new_input(self, data: Any) -> Any:
        """Call with another input and return the output; `new_input_delay` is what that took beyond a call just before.

        It only ever falls, so once it can be excused it need not be found again.
        """
        outputs: list[Any] = []
        if self.new_input_delay <= self.excusable:
            return self._forward(data)
        known_input = self._timer.seconds_of(self.call)
        self.new_input_delay = min(
            self.new_input_delay, self._timer.seconds_of(lambda: outputs.append(self._forward(data))) - known_input
        )
        return outputs[0]

    def call_many_times(self) -> None:
        """Call on until there were `verify_after_calls` in all, or for `max_seconds`: some go wrong only with use."""
        ends = perf_counter() + self._measure.max_seconds
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


def reset_peak_memory() -> float:
    """Start the peak of this process's memory anew; returns its resident set now, in MB: the baseline of the peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    except OSError:
        return 0.0  # then the peak is that of the whole process
    return _resident("VmRSS")


def peak_memory(baseline: float, device: torch.device) -> Memory:
    """Peaks in MB since `reset_peak_memory`, above its baseline."""
    cuda = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    return Memory(rss_peak=_resident("VmHWM") - baseline, cuda_peak=cuda)


def _resident(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field + ":"))
    return kib * 1024 / 1e6
