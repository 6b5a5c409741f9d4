"""Warm-up until latency has settled, samples until their median is known, and peak memory."""

import gc
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter  # bound now: whatever a conversion does to the module `time`, this clock stays
from typing import Any

import torch

from sweep import stats
from sweep.cell import Measure
from sweep.child import machine_load
from sweep.evidence import MachineLoad, Memory

MOST_SAMPLES = 500_000
"""Of what takes less than a microsecond a second has more; its median is long known, and they must be reported."""


LAZY_SHARE = 0.5
LAZY_SECONDS = 2e-4
"""Work outside the timed call counts as put off or saved up from this share of the latency, and these seconds."""

LEAST_IN_WINDOW = 5
"""Two windows of five can still be told apart at 5 %: if one lies wholly above the other, p is 0.008."""


class Timer:
    """Times single calls on a device, its work there included."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.overhead = statistics.median(self._empty() for _ in range(1001))

    @staticmethod
    def _empty() -> float:
        started = perf_counter()
        return perf_counter() - started

    def wait(self) -> None:
        """Until the work queued on the device is done."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def once(self, call: Callable[[], Any]) -> float:
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
    """A forward call and its input while they are measured: what was found, and how often it was called.

    `reading` and `fresh` are the least of differences between two calls in a row, so that a busy machine, which
    only ever makes calls longer, does not make an honest conversion look late.
    """

    def __init__(self, forward: Callable[[Any], Any], data: Any, timer: Timer, measure: Measure) -> None:
        self._forward, self._data, self._timer, self._measure = forward, data, timer, measure
        self.calls = 0
        self.settled = False
        self.samples: list[float] = []
        self.load = MachineLoad()
        self.reading = 0.0
        self.fresh = math.inf

    def evidence(self) -> dict[str, Any]:
        """The fields of `cell.Sampled`."""
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
        LEAST_IN_WINDOW calls will do.
        """
        ends = perf_counter() + self._measure.max_warmup_seconds
        before = self._window(ends)
        while True:
            window = self._window(ends)
            self.settled = stats.settled(before, window)
            if self.settled or perf_counter() >= ends:
                return
            before = window

    def _window(self, most: float) -> list[float]:
        ends = perf_counter() + self._measure.min_seconds / 20
        window: list[float] = []
        while len(window) < self._measure.warmup_calls or perf_counter() < ends:
            window.append(self._timer.once(self.call))
            if len(window) >= LEAST_IN_WINDOW and perf_counter() >= most:
                break
        return window

    def sample(self) -> None:
        """Take `samples`: seconds of each call, in order.

        At least `min_samples`, for at least `min_seconds`, until the median's 95 % interval is within `precision`
        of it, `max_seconds` are over, or there are MOST_SAMPLES. The interval is looked at only after every half
        as many samples more, so that looking often does not stop it early. The garbage collector is off: its
        pauses are nobody's latency.
        """
        samples, once, call = self.samples, self._timer.once, partial(self._forward, self._data)
        gc.collect()
        gc.disable()
        watch = machine_load.LoadWatch(gpu=self._timer.on_gpu)
        try:
            self._timer.wait()
            began = perf_counter()
            look = self._measure.min_samples
            while True:
                samples.append(once(call))
                if len(samples) >= MOST_SAMPLES:
                    break
                elapsed = perf_counter() - began
                if len(samples) < look or elapsed < self._measure.min_seconds:
                    continue
                if elapsed >= self._measure.max_seconds or stats.half_width(samples) <= self._measure.precision:
                    break
                look = len(samples) * 3 // 2
        finally:
            gc.enable()
        self.load = watch.seen()
        self.calls += len(samples)

    @property
    def excusable(self) -> float:
        """Seconds beyond the timed call that prove nothing: a share of its latency, or what a busy machine adds."""
        return max(LAZY_SHARE * statistics.median(self.samples), LAZY_SECONDS)

    def call_fresh(self, data: Any) -> Any:
        """Call with another input and return the output; `fresh` is what that took beyond a call just before.

        It only ever falls, so once it can be excused it need not be found again.
        """
        outputs: list[Any] = []
        if self.fresh <= self.excusable:
            return self._forward(data)
        known = self._timer.once(self.call)
        self.fresh = min(self.fresh, self._timer.once(lambda: outputs.append(self._forward(data))) - known)
        return outputs[0]

    def wear_in(self) -> None:
        """Call on until there were `verify_after_calls` in all, or for `max_seconds`: some go wrong only with use."""
        ends = perf_counter() + self._measure.max_seconds
        while self.calls < self._measure.verify_after_calls and perf_counter() < ends:
            self.call()

    def read_whole(self, read: Callable[[Any], Any], enough: float, times: int = 10) -> None:
        """Find `reading`: the seconds it takes beyond a call just before, at the least, to have the whole output.

        It is looked for `times` times, or until it is `enough`, in seconds: it only ever falls.
        """
        once = self._timer.once
        self.reading = math.inf
        for _ in range(times):
            self.reading = min(self.reading, -once(self.call) + once(lambda: read(self.call())))
            if self.reading <= enough:
                return


def forget_peak() -> float:
    """Start the peak of this process's memory anew; its resident set now, in MB, is the baseline of the peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    except OSError:
        return 0.0  # then the peak is counted from nothing, as the whole process's
    return _resident("VmRSS")


def peak_memory(baseline: float, device: torch.device) -> Memory:
    """Peaks in MB since `forget_peak`, above its baseline."""
    cuda = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    return Memory(rss_peak=_resident("VmHWM") - baseline, cuda_peak=cuda)


def _resident(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field + ":"))
    return kib * 1024 / 1e6
