"""Latency statistics from raw samples."""

import math
import statistics
from collections.abc import Sequence

from sweep.cell import Eager, Latency, Speedup


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of sorted values lie, linear between ranks (Hyndman and Fan's type 7)."""
    rank = share * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def median_interval(n: int, confidence: float = 0.95) -> tuple[int, int]:
    """Ranks (from 0) of the order statistics that bound the median with at least `confidence`.

    The distribution-free binomial interval: Conover, Practical Nonparametric Statistics, 3rd ed., 3.2.
    With too few values for that confidence it is the whole range.
    """
    tail, log_chance = 0.0, -n * math.log(2)  # of k = 0 values below the median
    for k in range(n):
        tail += math.exp(log_chance)
        if tail > (1 - confidence) / 2:
            return max(k - 1, 0), n - max(k, 1)
        log_chance += math.log((n - k) / (k + 1))
    return 0, n - 1


def latency(samples: Sequence[float]) -> Latency:
    """Statistics in milliseconds of samples in seconds, of which there must be at least two."""
    ms = sorted(sample * 1e3 for sample in samples)
    low, high = median_interval(len(ms))
    return Latency(
        p50=percentile(ms, 0.5),
        p90=percentile(ms, 0.9),
        p99=percentile(ms, 0.99),
        mean=statistics.fmean(ms),
        std=statistics.stdev(ms),
        min=ms[0],
        max=ms[-1],
        n=len(ms),
        p50_low=ms[low],
        p50_high=ms[high],
    )


def speedup(eager: Latency, converted: Latency) -> Speedup:
    """Eager's median over the conversion's; its range is that of the quotient of the two intervals."""
    return Speedup(
        value=eager.p50 / converted.p50,
        low=eager.p50_low / converted.p50_high,
        high=eager.p50_high / converted.p50_low,
    )


def eager(latency: Latency) -> Eager:
    return Eager(p50_ms=latency.p50, n=latency.n)
