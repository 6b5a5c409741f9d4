import math
import random
import statistics

import pytest

from sweep import stats
from sweep.verdict import figures


def test_percentiles_are_those_of_the_standard_library() -> None:
    values = sorted(random.Random(0).random() for _ in range(101))
    hundredths = statistics.quantiles(values, n=100, method="inclusive")
    assert stats.percentile(values, 0.9) == pytest.approx(hundredths[89])
    assert stats.percentile(values, 0.99) == pytest.approx(hundredths[98])


def latencies(seed: int, n: int) -> list[float]:
    """A skewed latency with median 1."""
    noise = random.Random(seed)
    return [math.exp(0.1 * noise.gauss(0, 1)) for _ in range(n)]


def test_a_steady_latency_is_settled_and_a_falling_one_is_not() -> None:
    steady = [latencies(seed, 20) for seed in range(400)]
    agreed = sum(stats.settled(a, b) for a, b in zip(steady[::2], steady[1::2], strict=True)) / 200
    assert agreed == pytest.approx(0.95, abs=0.04)  # the test's own significance
    assert not stats.settled([2 - i / 20 for i in range(20)], [1 - i / 200 for i in range(20)])


def test_the_rank_sum_test_gives_the_textbooks_answer() -> None:
    """Hollander, Wolfe and Chicken, example 4.1 (water transfer): W = 30 of n = 5, m = 10, p about 0.25 two-sided."""
    at_term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
    earlier = [1.15, 0.88, 0.90, 0.74, 1.21]
    assert stats.settled(at_term, earlier, significance=0.24)
    assert not stats.settled(at_term, earlier, significance=0.30)


def test_equal_samples_are_settled() -> None:
    assert stats.settled([1.0] * 10, [1.0] * 10)


def test_latency_is_in_milliseconds() -> None:
    latency = figures.latency([0.002, 0.001, 0.003])
    assert (latency.p50, latency.min, latency.max, latency.n) == (2.0, 1.0, 3.0, 3)
    assert latency.mean == pytest.approx(2.0)
    assert latency.std == pytest.approx(1.0)
