"""Warm-up, latency samples and peak memory of a forward call."""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sweep.cell import Measure, Memory


def synchronizer(device: torch.device) -> Callable[[], object]:
    """What waits until the work queued on `device` is done."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def warm_up(call: Callable[[], Any], calls: int) -> None:
    for _ in range(calls):
        call()


def sample(call: Callable[[], Any], measure: Measure, wait: Callable[[], object]) -> list[float]:
    """Seconds of each call, its work on the device included: at least `min_samples`, for `min_seconds`.

    The garbage collector is off meanwhile, so that its pauses are nobody's latency.
    """
    samples: list[float] = []
    gc.collect()
    gc.disable()
    try:
        wait()
        ends = time.perf_counter() + measure.min_seconds
        while len(samples) < measure.min_samples or time.perf_counter() < ends:
            started = time.perf_counter()
            call()
            wait()
            samples.append(time.perf_counter() - started)
    finally:
        gc.enable()
    return samples


def peak_memory(device: torch.device) -> Memory:
    """Peaks since this program started. Not ru_maxrss: that one remembers the process it was forked from."""
    status = Path("/proc/self/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    cuda = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    return Memory(rss_peak=kib * 1024 / 1e6, cuda_peak=cuda)
