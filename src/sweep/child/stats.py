"""Latency statistics from raw samples, and the tests that say when there are enough of them."""

import math
import statistics
from collections.abc import Sequence

from sweep.cell import Latency

BLOCKS = 20
"""Into how many stretches of time samples are cut for the interval of their median."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of sorted values lie, linear between ranks (Hyndman and Fan's type 7)."""
    rank = share * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def median_ranks(n: int, confidence: float = 0.95) -> tuple[int, int]:
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


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """A 95 % interval of the median of samples in the order they were taken.

    Latencies near in time are alike, so single samples would promise too much. They are cut into BLOCKS
    stretches, as in the method of batch means (Law, Simulation Modeling and Analysis, 5th ed., 9.5.3), and
    the binomial interval is that of the blocks' medians. It is widened to hold the median of all samples.
    """
    size = max(1, len(samples) // BLOCKS)
    blocks = sorted(statistics.median(samples[at : at + size]) for at in range(0, len(samples) - size + 1, size))
    low, high = median_ranks(len(blocks))
    middle = statistics.median(samples)
    return min(blocks[low], middle), max(blocks[high], middle)


def half_width(samples: Sequence[float]) -> float:
    """The larger side of the median's interval, as a share of the median."""
    low, high = median_interval(samples)
    middle = statistics.median(samples)
    return max(high - middle, middle - low) / middle if middle else math.inf


def settled(earlier: Sequence[float], later: Sequence[float], significance: float = 0.05) -> bool:
    """Whether two windows of samples cannot be told apart: the two-sided Mann–Whitney U test does not reject.

    Normal approximation with the correction for ties: Hollander, Wolfe and Chicken, Nonparametric
    Statistical Methods, 3rd ed., 4.1. That latency must reach a steady state before it is sampled is
    Georges, Buytaert and Eeckhout, Statistically Rigorous Java Performance Evaluation, OOPSLA 2007.
    """
    n, m = len(earlier), len(later)
    ordered = sorted([*earlier, *later])
    ranks: dict[float, float] = {}
    ties = 0.0
    at = 0
    while at < len(ordered):
        end = at
        while end < len(ordered) and ordered[end] == ordered[at]:
            end += 1
        ranks[ordered[at]] = (at + 1 + end) / 2
        ties += (end - at) ** 3 - (end - at)
        at = end
    u = sum(ranks[value] for value in earlier) - n * (n + 1) / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return True
    z = (abs(u - n * m / 2) - 0.5) / math.sqrt(variance)
    return 2 * (1 - statistics.NormalDist().cdf(z)) >= significance


def latency(samples: Sequence[float]) -> Latency:
    """Statistics in milliseconds of samples in seconds, in the order taken; there must be at least two."""
    ms = sorted(sample * 1e3 for sample in samples)
    low, high = median_interval(samples)
    return Latency(
        p50=percentile(ms, 0.5),
        p90=percentile(ms, 0.9),
        p99=percentile(ms, 0.99),
        mean=statistics.fmean(ms),
        std=statistics.stdev(ms),
        min=ms[0],
        max=ms[-1],
        n=len(ms),
        p50_low=low * 1e3,
        p50_high=high * 1e3,
    )
