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
    """Statistics in milliseconds of each process's samples: seconds, in the order taken, at least two of them.

    Each figure is the median of the processes' own, so that no process counts more for having taken more samples;
    `min` and `max` are of all. The median's interval is `stats.common_interval`'s, widened on either side by `drift`,
    the share of it by which the machine moves between minutes: processes that run within seconds cannot tell.
    """
    ms = [sorted(sample * 1e3 for sample in samples) for samples in processes]

    def middle(figure: Callable[[Sequence[float]], float]) -> float:
        return statistics.median(map(figure, ms))

    p50 = middle(statistics.median)
    own = [stats.median_interval(samples) for samples in processes]
    low, high = stats.common_interval([statistics.median(samples) for samples in processes], own)
    return Latency(
        p50=p50,
        p90=middle(lambda ordered: stats.percentile(ordered, 0.9)),
        p99=middle(lambda ordered: stats.percentile(ordered, 0.99)),
        mean=middle(statistics.fmean),
        std=middle(statistics.stdev),
        min=min(ordered[0] for ordered in ms),
        max=max(ordered[-1] for ordered in ms),
        n=sum(map(len, ms)),
        p50_low=min(low * 1e3, p50) * (1 - drift),
        p50_high=max(high * 1e3, p50) * (1 + drift),
        processes=len(processes),
    )


def speedup(measured: Sequence[tuple[Sampled, Sampled]], seconds: Mapping[str, float]) -> Speedup:
    """Eager's p50 over the conversion's; its range is the `stats.common_interval` of the processes' own quotients.

    `measured` is eager and conversion of each process, whose own range is the quotient of its two intervals.
    """
    eager = latency(*(eager.samples for eager, _ in measured))
    converted = latency(*(converted.samples for _, converted in measured))
    value = eager.p50 / converted.p50
    found, own = [], []
    for before, after in measured:
        found.append(statistics.median(before.samples) / statistics.median(after.samples))
        (eager_low, eager_high), (low, high) = (stats.median_interval(s.samples) for s in (before, after))
        own.append((eager_low / high, eager_high / low))
    low, high = stats.common_interval(found, own)
    won_ms = eager.p50 - converted.p50
    spent_ms = (seconds.get("convert", 0.0) + seconds.get("first_call", 0.0)) * 1e3
    return Speedup(
        value=value,
        low=min(low, value),
        high=max(high, value),
        break_even_calls=math.ceil(spent_ms / won_ms) if won_ms > 0 else None,
    )


def peak(memories: Sequence[Memory]) -> Memory | None:
    if not memories:
        return None
    on_cuda = [memory.cuda_peak for memory in memories if memory.cuda_peak is not None]
    return Memory(rss_peak=max(memory.rss_peak for memory in memories), cuda_peak=max(on_cuda, default=None))


def worst(loads: Iterable[MachineLoad]) -> MachineLoad:
    """The worst of each figure."""
    every = [asdict(load) for load in loads]
    worst: dict[str, Any] = {
        name: max((load[name] for load in every if load[name] is not None), default=None) for name in every[0]
    }
    return MachineLoad(**worst)
