import math
import random
import statistics

import pytest

from sweep import stats


def test_percentiles_are_those_of_the_standard_library() -> None:
    values = sorted(random.Random(0).random() for _ in range(101))
    hundredths = statistics.quantiles(values, n=100, method="inclusive")
    assert stats.percentile(values, 0.9) == pytest.approx(hundredths[89])
    assert stats.percentile(values, 0.99) == pytest.approx(hundredths[98])


@pytest.mark.parametrize(
    ("n", "low", "high"),
    # Le Boudec, Performance Evaluation of Computer and Communication Systems, table A.1, ranks from 1
    [(6, 1, 6), (10, 2, 9), (20, 6, 15), (30, 10, 21), (50, 18, 33), (70, 27, 44)],
)
def test_the_interval_of_the_median_is_the_published_one(n: int, low: int, high: int) -> None:
    assert stats.median_interval(n) == (low - 1, high - 1)


def test_the_interval_of_many_samples_is_near_the_normal_one() -> None:
    n = 40_000
    low, high = stats.median_interval(n)
    half = 1.959964 * math.sqrt(n) / 2
    assert low == pytest.approx(n / 2 - half, abs=1.5)
    assert high == pytest.approx(n / 2 + half, abs=1.5)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_too_few_samples_give_their_whole_range(n: int) -> None:
    assert stats.median_interval(n) == (0, n - 1)


def test_latency_is_in_milliseconds() -> None:
    latency = stats.latency([0.002, 0.001, 0.003])
    assert (latency.p50, latency.min, latency.max, latency.n) == (2.0, 1.0, 3.0, 3)
    assert latency.mean == pytest.approx(2.0)
    assert latency.std == pytest.approx(1.0)


def test_a_speedup_is_eager_over_converted_with_the_widest_range() -> None:
    eager = stats.latency([0.010, 0.011, 0.012])
    converted = stats.latency([0.004, 0.005, 0.006])
    speedup = stats.speedup(eager, converted)
    assert speedup.value == pytest.approx(11 / 5)
    assert speedup.low == pytest.approx(10 / 6)
    assert speedup.high == pytest.approx(12 / 4)
