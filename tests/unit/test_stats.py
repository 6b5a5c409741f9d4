import math
import random
import statistics

import pytest

from sweep import stats
from sweep.evidence import Sampled
from sweep.verdict import figures


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
def test_the_ranks_around_the_median_are_the_published_ones(n: int, low: int, high: int) -> None:
    assert stats.median_ranks(n) == (low - 1, high - 1)


def test_the_ranks_for_many_samples_are_near_the_normal_ones() -> None:
    n = 40_000
    low, high = stats.median_ranks(n)
    half = 1.959964 * math.sqrt(n) / 2
    assert low == pytest.approx(n / 2 - half, abs=1.5)
    assert high == pytest.approx(n / 2 + half, abs=1.5)


@pytest.mark.parametrize("processes", [2, 3, 5, 20])
def test_the_interval_over_processes_holds_what_processes_have_in_common(processes: int) -> None:
    """95 % of the time, where each process adds its own 5 % to a median of 1."""
    chance = random.Random(processes)
    holds = 0
    for _ in range(2000):
        _, low, high = stats.geometric_mean([math.exp(chance.gauss(0, 0.05)) for _ in range(processes)])
        holds += low <= 1 <= high
    assert holds / 2000 == pytest.approx(0.95, abs=0.015)  # three standard errors


def test_the_median_of_the_processes_lies_in_its_interval() -> None:
    latency = figures.latency([0.001] * 3, [0.001] * 3, [0.0010001] * 90)
    assert latency.p50_low <= latency.p50 <= latency.p50_high


def test_processes_that_agree_by_chance_promise_no_more_than_each_knows() -> None:
    agreeing = [0.001 + 1e-5 * (i % 7 - 3) for i in range(40)]
    own = stats.median_interval(agreeing)
    latency = figures.latency(agreeing, agreeing, agreeing)
    assert own[0] < own[1]
    assert (latency.p50_low, latency.p50_high) == pytest.approx((own[0] * 1e3, own[1] * 1e3))
    drifting = figures.latency(agreeing, agreeing, agreeing, drift=0.02)
    assert (drifting.p50_low, drifting.p50_high) == pytest.approx((own[0] * 0.98e3, own[1] * 1.02e3))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_too_few_samples_give_their_whole_range(n: int) -> None:
    assert stats.median_ranks(n) == (0, n - 1)


def latencies(seed: int, n: int, likeness: float) -> list[float]:
    """A skewed latency with median 1, each sample as like the one before as `likeness` says (AR(1))."""
    noise, state, found = random.Random(seed), 0.0, []
    for _ in range(n):
        state = likeness * state + math.sqrt(1 - likeness**2) * noise.gauss(0, 1)
        found.append(math.exp(0.1 * state))
    return found


@pytest.mark.parametrize(("likeness", "at_least"), [(0.0, 0.93), (0.9, 0.90)])
def test_the_interval_holds_the_true_median_even_where_samples_are_alike(likeness: float, at_least: float) -> None:
    intervals = [stats.median_interval(latencies(seed, 2000, likeness)) for seed in range(400)]
    assert sum(low <= 1 <= high for low, high in intervals) / 400 >= at_least


def test_single_samples_would_promise_too_much() -> None:
    """Why samples are cut into blocks: the plain binomial interval misses the median of alike samples half the time."""
    hits = 0
    for seed in range(200):
        ordered = sorted(latencies(seed, 2000, 0.9))
        low, high = stats.median_ranks(2000)
        hits += ordered[low] <= 1 <= ordered[high]
    assert hits / 200 < 0.7


def test_a_steady_latency_is_settled_and_a_falling_one_is_not() -> None:
    steady = [latencies(seed, 20, 0.0) for seed in range(400)]
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


def sampled(*samples: float) -> Sampled:
    return Sampled(samples=samples, settled=True)


def test_a_speedup_is_eager_over_converted_with_the_widest_range() -> None:
    speedup = figures.speedup(
        [(sampled(0.010, 0.011, 0.012), sampled(0.004, 0.005, 0.006))], {"convert": 1.0, "first_call": 0.2}
    )
    assert speedup.value == pytest.approx(11 / 5)
    assert speedup.low == pytest.approx(10 / 6)
    assert speedup.high == pytest.approx(12 / 4)
    assert speedup.is_a_difference
    assert speedup.break_even_calls == 200  # 1.2 s spent, 6 ms won a call


def test_what_is_slower_never_pays_off_and_an_interval_with_one_in_it_is_no_difference() -> None:
    eager, converted = sampled(0.009, 0.010, 0.011), sampled(0.0095, 0.0105, 0.0115)
    speedup = figures.speedup([(eager, converted)], {"convert": 1.0})
    assert speedup.break_even_calls is None
    assert not speedup.is_a_difference
