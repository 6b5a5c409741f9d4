"""Latency statistics from raw samples, and the test that says when warm-up is over."""

import math
import statistics
from collections.abc import Sequence

BLOCKS = 20
"""How many blocks of consecutive samples the interval of their median is computed from."""

STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
"""97.5 % quantiles of Student's t with 1, 2 … 20 degrees of freedom: Fisher and Yates, table III."""


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

    Latencies near in time are alike, so an interval from single samples would be too narrow. They are cut into BLOCKS
    blocks, as in the method of batch means (Law, Simulation Modeling and Analysis, 5th ed., 9.5.3), and
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


def geometric_mean(values: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean of one figure of several processes, and its 95 % interval: Student's t on the logarithms.

    That processes are the independent repetitions, not samples, is Georges, Buytaert and Eeckhout, OOPSLA 2007, 3.2.
    Between 2 and 21 values, all above 0.
    """
    logs = [math.log(value) for value in values]
    middle = statistics.fmean(logs)
    half = STUDENT[len(logs) - 2] * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def common_interval(figures: Sequence[float], intervals: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """A 95 % interval of a figure over several processes, from each process's figure and its own interval of it.

    It is the interval of `geometric_mean`, widened to hold the interval of every process: three processes may agree by
    chance far better than any of them knows its figure. For a single process it is that process's interval.
    """
    lows, highs = [low for low, _ in intervals], [high for _, high in intervals]
    if len(figures) > 1:
        _, low, high = geometric_mean(figures)
        lows.append(low)
        highs.append(high)
    return min(lows), max(highs)
