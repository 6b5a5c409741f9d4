import math
import random
import statistics
from typing import Any

import pytest
from scipy import stats as distributions
from tests import rows as examples

from sweep.cell import Cell, Device, Measure, Model
from sweep.result import Decision, Eager, Latency, Quality, Quotient, Result, Speedup
from sweep.status import Reason, Status
from sweep.verdict import estimate
from sweep.verdict.decision import decision, errors, group_key
from sweep.verdict.quotient import DEFAULT_SPREAD, quotient

MEASURE = Measure()


def cell(id_: str, measure: Measure = MEASURE) -> Cell:
    return Cell(
        id=id_,
        conversion=id_,
        mode=None,
        model=Model(name="mlp", config={}),
        device=Device(name="cpu"),
        measure=measure,
    )


def trials(*values: float, **more: Any) -> tuple[Quotient, ...]:
    """Trials of rounds 1, 2, …, unless `round` is given."""
    return tuple(
        Quotient(value=value, **{"spread": 0.001, "round": number, **more}) for number, value in enumerate(values, 1)
    )


def row(id_: str, *quotients: Quotient, **changes: Any) -> Result:
    speedup = Speedup(value=9.0, low=8.0, high=10.0, quotients=quotients, break_even_calls=7)
    return examples.ok(id=id_, conversion=id_, speedup=speedup, **changes)


def estimated(*rows: Result, measure: Measure = MEASURE) -> list[Result]:
    return estimate.estimated(rows, [cell(row.id, measure) for row in rows])


def alone(*quotients: Quotient, measure: Measure = MEASURE) -> tuple[Speedup, Quality | None]:
    """The estimate of a row that is the only one of its sweep."""
    (found,) = estimated(row("a", *quotients), measure=measure)
    assert found.speedup is not None
    return found.speedup, found.quality


def speedup(row: Result) -> Speedup:
    assert row.speedup is not None
    return row.speedup


def half_width(row: Result) -> float:
    return math.log(speedup(row).high / speedup(row).low) / 2


# The quotient of one trial


def test_the_quotient_of_blocks_by_turns_is_that_of_neighbours() -> None:
    """By hand: eager takes 4 in the mean of each two, the conversion 2, 4 and 4; so d is log 2, 0 and 0.

    The means of all pairs are 0, 0, 0, half of log 2 twice, and log 2; their median is a quarter of log 2.
    """
    eager = [[8.0, 8.0, 8.0], [2.0], [8.0, 9.0, 8.0], [2.0]]
    value, spread = quotient(eager, [[2.0], [4.0], [4.0]])
    assert value == pytest.approx(2**0.25)
    assert spread > 0


def test_a_machine_that_drifts_steadily_moves_no_quotient_by_turns() -> None:
    slower = [1.1**step for step in range(9)]
    assert quotient([[t] for t in slower[::2]], [[t / 3] for t in slower[1::2]])[0] == pytest.approx(3)
    one_after_the_other = quotient([[t] for t in slower[:4]], [[t / 3] for t in slower[4:8]])[0]
    assert one_after_the_other == pytest.approx(3 / 1.1**4)


def test_a_block_that_others_disturbed_does_not_carry_a_quotient_away() -> None:
    eager, converted = [[0.01]] * 13, [[0.005]] * 12
    converted[3] = [0.5]
    eager[6] = [0.3]
    assert quotient(eager, converted)[0] == pytest.approx(2)


def test_blocks_of_few_calls_are_compared_in_windows_of_ten() -> None:
    """A third of the calls of either, or two, find the machine busy; a window of four blocks has enough that do not."""
    eager = [[4.0, 4.0, 9.0], [4.0, 9.0, 4.0], [9.0, 4.0, 4.0], [4.0, 9.0, 9.0]] * 4 + [[9.0, 9.0, 9.0]]
    converted = [[2.0, 7.0, 2.0], [7.0, 2.0, 2.0], [2.0, 2.0, 7.0], [7.0, 7.0, 2.0]] * 4
    assert quotient(eager, converted)[0] == pytest.approx(2)


def test_many_calls_of_one_side_in_a_block_do_not_make_windows_of_few_of_the_other() -> None:
    """Two of three calls of a slow conversion find the machine busy in each second block, and none of eager does."""
    eager = [[0.02] * 200] * 17
    converted = [[4.0, 4.0, 4.0], [9.0, 9.0, 4.0]] * 8
    assert quotient(eager, converted)[0] == pytest.approx(0.005)


@pytest.mark.parametrize("calls", [1, 2, 3, 5, 12])
def test_a_model_is_as_fast_as_itself_however_many_calls_a_block_has(calls: int) -> None:
    """Both sides of a window have as many calls: a quartile of few is lower than one of many."""
    chance = random.Random(calls)

    def noisy(n: int) -> list[list[float]]:
        return [[math.exp(chance.expovariate(5)) for _ in range(calls)] for _ in range(n)]

    found = [math.log(quotient(noisy(13), noisy(12))[0]) for _ in range(1500)]
    assert abs(statistics.fmean(found)) < 4 * statistics.stdev(found) / math.sqrt(len(found))


def test_other_numbers_of_blocks_are_compared_by_their_quartiles() -> None:
    value, spread = quotient([[2.0], [4.0], [8.0]], [[4.0], [1.0], [2.0]])
    assert value == pytest.approx(2)
    assert spread > 0


@pytest.mark.parametrize("by_turns", [True, False])
@pytest.mark.parametrize("blocks", [4, 8, 20])
def test_the_spread_is_how_far_quotients_of_the_same_thing_differ(blocks: int, by_turns: bool) -> None:
    chance = random.Random(blocks)

    def noisy(n: int) -> list[list[float]]:
        return [[math.exp(chance.gauss(0, 0.02))] for _ in range(n)]

    found = [quotient(noisy(blocks + by_turns), noisy(blocks)) for _ in range(1500)]
    true = statistics.stdev(math.log(value) for value, _ in found)
    promised = math.sqrt(statistics.fmean(spread**2 for _, spread in found))
    assert promised == pytest.approx(true, rel=0.25)


def test_a_single_block_has_the_spread_that_is_usual() -> None:
    assert quotient([[2.0], [2.0]], [[1.0]]) == pytest.approx((2.0, DEFAULT_SPREAD))
    assert quotient([[2.0]], [[1.0]]) == pytest.approx((2.0, math.hypot(DEFAULT_SPREAD, DEFAULT_SPREAD)))


@pytest.mark.parametrize(
    ("eager", "converted"), [([], [[1.0]]), ([[1.0]], []), ([[1.0], []], [[1.0]]), ([[0.0]], [[1.0]])]
)
def test_what_no_clock_gives_is_refused(eager: list[list[float]], converted: list[list[float]]) -> None:
    with pytest.raises(ValueError):
        quotient(eager, converted)


# Which trials count


def test_the_figure_is_the_geometric_mean_of_all_trials() -> None:
    found, _ = alone(*trials(1.0, 4.0))
    assert (found.value, found.trials) == pytest.approx((2.0, 2))
    assert found.low < 2 < found.high
    assert found.break_even_calls == 7
    assert len(found.quotients) == 2


def test_once_any_confirm_the_figure_is_theirs_alone() -> None:
    found, _ = alone(*trials(2.0, 2.0), *trials(1.0, 1.0, 1.0, confirms=True, round=3))
    assert found.confirmed
    assert (found.value, found.trials) == pytest.approx((1.0, 3))


def test_disturbed_trials_count_only_where_there_are_no_others() -> None:
    found, quality = alone(*trials(1.5), *trials(60.0, disturbed=True))
    assert (found.value, found.trials) == pytest.approx((1.5, 1))
    assert quality is Quality.FIRM
    found, quality = alone(*trials(60.0, 15.0, disturbed=True))
    assert (found.value, found.trials) == pytest.approx((30.0, 2))
    assert quality is Quality.DISTURBED
    _, quality = alone(*trials(1.5), *trials(1.5, confirms=True, disturbed=True))
    assert quality is Quality.DISTURBED


def test_rows_without_trials_stay_as_they_are() -> None:
    crashed, old = (
        examples.crashed(),
        examples.ok(id="old", speedup=Speedup(value=2.0, low=1.8, high=2.2), quality=None),
    )
    assert estimate.estimated([crashed, old], []) == [crashed, old]


# Intervals


def test_one_trial_has_the_usual_interval() -> None:
    """Student's t with 5 degrees of freedom, 2.571 by Fisher and Yates, of a standard deviation of 3 %."""
    found, _ = alone(*trials(1.3))
    assert (found.low, found.high) == pytest.approx(
        (1.3 * math.exp(-2.571 * 0.03), 1.3 * math.exp(2.571 * 0.03)), rel=1e-4
    )


def test_no_interval_is_narrower_than_what_trials_know_themselves() -> None:
    found, _ = alone(*trials(1.3, spread=0.2))
    assert math.log(found.high / found.value) == pytest.approx(2.571 * 0.2, rel=1e-3)


def test_of_few_trials_no_interval_is_narrower_than_what_page_faults_take() -> None:
    """2 ms of 20 are 10 %, at a microsecond each; three trials show by themselves whether processes differ."""
    latency = Latency(p50=20.0, p90=20, p99=20, mean=20, std=0, min=20, max=20, n=90, p50_low=20, p50_high=20)
    one, three = (estimated(row("a", *trials(*(1.3,) * n, page_faults=2000.0), latency_ms=latency))[0] for n in (1, 3))
    assert half_width(one) == pytest.approx(2.571 * 0.1, rel=1e-3)
    assert half_width(three) < 0.1
    quiet = estimated(row("a", *trials(1.3, page_faults=20.0), latency_ms=latency))[0]
    assert half_width(quiet) == pytest.approx(2.571 * 0.03, rel=1e-3)
    eager = Eager(p50_ms=10.0, n=90)
    of_eager = estimated(row("a", *trials(1.3, eager_page_faults=1000.0), latency_ms=latency, eager=eager))[0]
    assert half_width(of_eager) == pytest.approx(2.571 * 0.1, rel=1e-3)
    disturbed = trials(1.3, 1.3, disturbed=True, page_faults=2000.0)
    one_quiet = estimated(row("a", *disturbed, *trials(1.3, page_faults=2000.0), latency_ms=latency))[0]
    assert half_width(one_quiet) == pytest.approx(2.571 * 0.1, rel=1e-3)


def spread_out(chance: random.Random, n: int, spread: float, count: int, **more: Any) -> list[Result]:
    """Rows that are truly at 1.00."""
    return [
        row(f"r{number}", *trials(*(math.exp(chance.gauss(0, spread)) for _ in range(n)), spread=0), **more)
        for number in range(count)
    ]


@pytest.mark.parametrize(("spread", "n"), [(0.01, 3), (0.03, 2), (0.03, 5), (0.06, 3), (0.06, 10)])
def test_intervals_hold_the_truth(spread: float, n: int) -> None:
    chance = random.Random(n)
    found = [one for _ in range(25) for one in estimated(*spread_out(chance, n, spread, 46))]
    holds = sum(speedup(one).low <= 1 <= speedup(one).high for one in found)
    assert 0.94 <= holds / len(found) <= 0.98


def test_intervals_shrink_with_the_root_of_trials() -> None:
    chance = random.Random(4)
    widths = {
        n: statistics.median(map(half_width, estimated(*spread_out(chance, n, 0.03, 200)))) for n in (3, 5, 10, 20)
    }
    for n, width in widths.items():
        assert width * math.sqrt(n) == pytest.approx(widths[3] * math.sqrt(3), rel=0.2)
    assert widths[20] == pytest.approx(1.96 * 0.03 / math.sqrt(20), rel=0.15)


def test_a_quiet_machine_has_narrower_intervals_than_a_noisy_one() -> None:
    """Both are learned from the rows beside it, of which each alone has too few trials to tell."""
    chance = random.Random(5)
    quiet, noisy = (
        estimated(row("new", *trials(1.0)), *spread_out(chance, 2, spread, 30))[0] for spread in (0.005, 0.1)
    )
    assert half_width(quiet) < 2.571 * 0.03 / 2
    assert half_width(noisy) > 2.571 * 0.03 * 2


def test_other_hardware_says_nothing() -> None:
    new = row("new", *trials(1.0), fingerprint="here")
    elsewhere = spread_out(random.Random(6), 3, 0.2, 30, fingerprint="there")
    assert half_width(estimated(new, *elsewhere)[0]) == pytest.approx(half_width(estimated(new)[0]))


def test_a_row_that_varies_unlike_all_others_is_not_taken_for_steady() -> None:
    """Its interval is that of Student's t, as if it were alone."""
    values = (1.0, 1.6, 0.7)
    found = estimated(row("wild", *trials(*values)), *spread_out(random.Random(7), 3, 0.01, 45))[0]
    logs = [math.log(value) for value in values]
    alone = distributions.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert (math.log(speedup(found).low), math.log(speedup(found).high)) == pytest.approx((alone.low, alone.high))


def test_trials_that_chose_show_how_trials_vary_when_others_confirm() -> None:
    confirming = trials(1.2, 1.2, 1.2, confirms=True, round=9)
    steady, unsteady = (alone(*trials(*values), *confirming)[0] for values in ((1.2, 1.2, 1.2), (1.0, 1.2, 1.5)))
    assert unsteady.high - unsteady.low > 1.5 * (steady.high - steady.low)


# Decisions


def student(error: float, degrees: int = 5) -> float:
    return float(distributions.t.ppf(1 - error / 2, degrees))


@pytest.mark.parametrize(("rows", "looks"), [(1, 1), (46, 1), (46, 3)])
def test_an_error_is_divided_among_the_rows_and_the_rounds_to_come(rows: int, looks: int) -> None:
    group = {str(number): trials(*[1.0] * looks) for number in range(rows)}
    assert errors(group) == pytest.approx(dict.fromkeys(group, 0.05 / rows * 6 / math.pi**2 / looks**2))


def test_all_rounds_together_take_no_more_than_one_look_would() -> None:
    taken = [errors({"a": trials(*[1.0] * looks)})["a"] for looks in range(1, 300)]
    assert 0.0498 < math.fsum(taken) < 0.05


def test_the_trials_of_one_round_are_one_look() -> None:
    assert errors({"a": trials(1.0, 1.0, 1.0, round=1)}) == errors({"a": trials(1.0)})


def test_what_confirmation_takes_is_divided_among_what_is_confirmed() -> None:
    confirming = trials(1.0, 1.0, 1.0, confirms=True, round=4)
    found = errors({"a": confirming, "b": confirming, **{str(n): trials(1.0) for n in range(44)}})
    assert found["a"] == found["b"] == pytest.approx(0.05 * 0.9 / 2)


def test_a_later_confirmation_takes_of_what_is_left_and_does_not_touch_the_earlier() -> None:
    first, second = (trials(1.0, 1.0, 1.0, confirms=True, round=round) for round in (4, 8))
    found = errors({"a": first, "b": first + second, "c": second})
    assert found["a"] == errors({"a": first, "b": first})["a"]
    assert found["b"] == found["c"] == pytest.approx(0.05 * 0.09 / 2)


def test_one_trial_decides_only_by_far_and_less_among_many_rows() -> None:
    needed = math.exp(0.03 * student(0.05 * 6 / math.pi**2))
    assert alone(*trials(needed * 1.001))[0].decision is Decision.FASTER
    assert alone(*trials(needed * 0.999))[0].decision is Decision.UNDECIDED
    assert alone(*trials(0.999 / needed))[0].decision is Decision.SLOWER
    among = estimated(row("a", *trials(needed * 1.001)), *(row(f"b{n}", *trials(1.0)) for n in range(45)))
    assert speedup(among[0]).decision is Decision.UNDECIDED


def test_rows_that_may_not_be_compared_do_not_share_an_error() -> None:
    needed = math.exp(0.03 * student(0.05 * 6 / math.pi**2))
    others = [row(f"b{n}", *trials(1.0), batch_size=n + 9) for n in range(45)]
    assert speedup(estimated(row("a", *trials(needed * 1.001)), *others)[0]).decision is Decision.FASTER


@pytest.mark.parametrize(
    ("mean", "half", "decided"),
    [
        (0.02, 0.01, Decision.FASTER),
        (-0.02, 0.01, Decision.SLOWER),
        (0.01, 0.0195, Decision.SAME),
        (-0.01, 0.0196, Decision.UNDECIDED),  # log(1.03) is 0.02956
        (0.0, 0.0295, Decision.SAME),
        (0.1, 0.2, Decision.UNDECIDED),
    ],
)
def test_an_interval_decides_by_where_it_lies(mean: float, half: float, decided: Decision) -> None:
    assert decision(mean, half, 0.03) is decided


def test_a_row_is_rough_only_if_it_is_wider_than_asked_and_undecided() -> None:
    assert alone(*trials(1.05))[1] is Quality.ROUGH
    assert alone(*trials(1.05), measure=Measure(precision=0.08))[1] is Quality.FIRM
    assert alone(*trials(1.5))[1] is Quality.FIRM


def test_the_group_of_a_row_is_all_that_must_be_equal_to_compare() -> None:
    same = [
        examples.ok(id="a", conversion="A"),
        examples.ok(id="b", conversion="B", status=Status.MISMATCH, reason=Reason.OUTPUT, message="m"),
    ]
    assert len({group_key(row) for row in same}) == 1
    changes: tuple[dict[str, Any], ...] = (
        {"model": "x"},
        {"device": "x"},
        {"batch_size": 9},
        {"threads": 9},
        {"overrides": {}},
        {"fingerprint": "x"},
    )
    assert len({group_key(examples.ok(**change)) for change in changes} | {group_key(same[0])}) == 7
