"""Latency statistics from raw samples, and the test that says when warm-up is over."""

import math
import statistics
from collections.abc import Sequence


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of sorted values lie, linear between ranks (Hyndman and Fan's type 7)."""
    rank = share * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


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
