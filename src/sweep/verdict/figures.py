"""The figures of a row, from the samples and peaks of all of a cell's processes."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sweep import stats
from sweep.evidence import MachineLoad, Memory, Sampled
from sweep.result import Latency, Speedup


def latency(*processes: Sequence[float], drift: float = 0.0) -> Latency:
    """Latencies in milliseconds, from each process's samples: in seconds, in the order taken, at least two of them.

    Each figure is the median of that figure of the processes, so that a process with more samples does not count more;
    `min` and `max` are of all samples. The interval of the median is `stats.common_interval`, made wider on either
    side by the share `drift`, by which the speed of the machine changes within minutes: processes that run within
    seconds of each other cannot show that.
    """
    ms = [sorted(sample * 1e3 for sample in samples) for samples in processes]

    def median_of(figure: Callable[[Sequence[float]], float]) -> float:
        return statistics.median(map(figure, ms))

    p50 = median_of(statistics.median)
    intervals = [stats.median_interval(samples) for samples in processes]
    low, high = stats.common_interval([statistics.median(samples) for samples in processes], intervals)
    return Latency(
        p50=p50,
        p90=median_of(lambda ordered: stats.percentile(ordered, 0.9)),
        p99=median_of(lambda ordered: stats.percentile(ordered, 0.99)),
        mean=median_of(statistics.fmean),
        std=median_of(statistics.stdev),
        min=min(ordered[0] for ordered in ms),
        max=max(ordered[-1] for ordered in ms),
        n=sum(map(len, ms)),
        p50_low=min(low * 1e3, p50) * (1 - drift),
        p50_high=max(high * 1e3, p50) * (1 + drift),
        processes=len(processes),
    )


def speedup(measured: Sequence[tuple[Sampled, Sampled]], seconds: Mapping[str, float]) -> Speedup:
    """Eager's p50 over the conversion's, with the `stats.common_interval` of the quotients of the processes.

    `measured` is eager and conversion of each process; the interval of a process is the quotient of its two intervals.
    `seconds` are what the phases took.
    """
    eager = latency(*(eager.samples for eager, _ in measured))
    converted = latency(*(converted.samples for _, converted in measured))
    value = eager.p50 / converted.p50
    quotients, intervals = [], []
    for before, after in measured:
        quotients.append(statistics.median(before.samples) / statistics.median(after.samples))
        (eager_low, eager_high), (low, high) = (stats.median_interval(s.samples) for s in (before, after))
        intervals.append((eager_low / high, eager_high / low))
    low, high = stats.common_interval(quotients, intervals)
    saved_ms = eager.p50 - converted.p50
    spent_ms = (seconds.get("convert", 0.0) + seconds.get("first_call", 0.0)) * 1e3
    return Speedup(
        value=value,
        low=min(low, value),
        high=max(high, value),
        break_even_calls=math.ceil(spent_ms / saved_ms) if saved_ms > 0 else None,
    )


def peak(memories: Sequence[Memory]) -> Memory | None:
    """The highest peaks of several processes; None of none."""
    if not memories:
        return None
    on_cuda = [memory.cuda_peak for memory in memories if memory.cuda_peak is not None]
    return Memory(rss_peak=max(memory.rss_peak for memory in memories), cuda_peak=max(on_cuda, default=None))


def worst_load(loads: Iterable[MachineLoad]) -> MachineLoad:
    """The highest value of each figure of several machine loads, at least one."""
    every = [asdict(load) for load in loads]
    highest: dict[str, Any] = {
        name: max((load[name] for load in every if load[name] is not None), default=None) for name in every[0]
    }
    return MachineLoad(**highest)
