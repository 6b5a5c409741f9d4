import io
import json
import math
import random
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy import stats as distributions

from sweep.compare import __main__ as compare
from sweep.compare import as_json, comparison, explained, matching, samples, significance, words
from sweep.compare.comparison import Against, Change
from sweep.compare.matching import ComparedRun
from sweep.compare.significance import CONTROL_SPREAD, Pair
from sweep.evidence import Engine
from sweep.moderation import Prior
from sweep.report.run import load
from sweep.result import Eager, Fidelity, Latency, Quality, Quotient, Result, Speedup
from sweep.status import Reason, Status

Trials = Sequence[float | Quotient]
"""What the trials of a cell found; a figure alone is that of a trial in a round of its own."""


def quotients(trials: Trials) -> tuple[Quotient, ...]:
    return tuple(
        trial if isinstance(trial, Quotient) else Quotient(value=trial, spread=0.001, round=number, control=number)
        for number, trial in enumerate(trials, 1)
    )


def ok(id_: str, *trials: float | Quotient, eager_ms: float = 1.0, **changes: Any) -> Result:
    """A row of a cell whose trials found this, beside an eager model of so many milliseconds."""
    found = quotients(trials)
    value = math.exp(sum(math.log(one.value) for one in found) / len(found))
    p50 = eager_ms / value
    values: dict[str, Any] = {
        "id": id_,
        "model": "mlp",
        "conversion": id_.upper(),
        "device": "cpu",
        "batch_size": 1,
        "threads": 2,
        "status": Status.OK,
        "quality": Quality.FIRM,
        "latency_ms": Latency(
            p50=p50, p90=p50, p99=p50, mean=p50, std=0, min=p50, max=p50, n=90, p50_low=p50, p50_high=p50
        ),
        "eager": Eager(p50_ms=eager_ms, n=30),
        "speedup": Speedup(value=value, low=value, high=value, trials=len(found), quotients=found),
        "fidelity": Fidelity(rel_l2=0, cosine=1, max_abs=0, top1_agreement=1, inputs=8, tolerance_class="fp32"),
        "engine": Engine(requested="eager", actual="eager", precision="fp32"),
        "hardware": "CPU x2, 8 GiB",
        "fingerprint": "aaaa",
        "versions": {"torch": "2.13.0"},
    }
    return Result(**values | changes)


def crashed(id_: str, reason: Reason = Reason.RAISED, **changes: Any) -> Result:
    values: dict[str, Any] = {"model": "mlp", "conversion": id_.upper(), "device": "cpu", "batch_size": 1, "threads": 2}
    return Result(id=id_, status=reason.status, reason=reason, message="so it was", **values | changes)


def run(name: str, cells: dict[str, Trials], *others: Result, eager_ms: float = 1.0, **more: Any) -> ComparedRun:
    rows = [ok(id_, *trials, eager_ms=eager_ms) for id_, trials in cells.items()]
    return ComparedRun(name=name, rows={row.id: row for row in (*rows, *others)}, **more)


def against(base: ComparedRun, new: ComparedRun, threshold: float = 0.03) -> Against:
    (one,) = comparison.compare(base, [matching.aligned(base, new)], threshold).against
    return one


def noisy(
    chance: random.Random, spreads: Iterable[float], *, trials: int, control: float = 0.0, rounds: int | None = None
) -> dict[str, Trials]:
    """Cells twice as fast as eager, whose trials vary each by its own spread, and those of a round by their control."""
    rounds = rounds or trials
    controls = [chance.gauss(0, control) for _ in range(rounds)]
    return {
        f"m{number}": [
            Quotient(
                value=2 * math.exp(controls[trial % rounds] + chance.gauss(0, spread)), spread=0, control=trial % rounds
            )
            for trial in range(trials)
        ]
        for number, spread in enumerate(spreads)
    }


def times(factor: float, trials: Trials) -> Trials:
    return [replace(one, value=factor * one.value) for one in quotients(trials)]


def pair(base: Trials, new: Trials) -> Pair:
    before, now = quotients(base), quotients(new)
    return Pair(base=significance.side(before, before), new=significance.side(now, now))


def slower(found: Against) -> list[str]:
    return [one.new.id for one in found.with_verdict(Change.SLOWER)]


# The test itself

WELL_KNOWN = Prior(size=1e-9, degrees=1e-9)
"""Nothing is known of the variance but what the trials show."""


def test_a_cell_is_tested_as_student_would_but_for_the_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside SciPy's own t-test of two samples with equal variances."""
    monkeypatch.setattr(significance, "CONTROL_SPREAD", 0.0)
    base, new = (0.9, 1.0, 1.15), (1.3, 1.2, 1.5)
    found = pair(base, new)
    error, degrees = found.error(WELL_KNOWN)
    expected = distributions.ttest_ind(*([math.log(value) for value in side] for side in (new, base)))
    assert degrees == pytest.approx(4)
    assert found.difference / error == pytest.approx(expected.statistic)
    assert found.difference == pytest.approx(math.log(1.3 * 1.2 * 1.5 / 0.9 / 1.15) / 3)


def test_trials_with_one_control_share_what_it_adds() -> None:
    """By hand: of three trials with a control each a third of its variance is left, of three with one control all."""

    def error_of(*controls: int) -> float:
        base = [Quotient(value=2.0, spread=0.01, control=control) for control in controls]
        return pair(base, base).error(Prior(size=0.01**2, degrees=5))[0]

    trials = 0.01**2 * (1 / 3 + 1 / 3)
    assert error_of(1, 2, 3) == pytest.approx(math.sqrt(trials + CONTROL_SPREAD**2 * 2 / 3))
    assert error_of(1, 1, 1) == pytest.approx(math.sqrt(trials + CONTROL_SPREAD**2 * 2))
    assert error_of(1, 1, 2) == pytest.approx(math.sqrt(trials + CONTROL_SPREAD**2 * 2 * 5 / 9))


def test_degrees_of_freedom_are_those_of_satterthwaite() -> None:
    """By hand: 5 where all of the variance is of trials, four times as many where half of it is of controls."""
    one = [Quotient(value=2.0, spread=0.0, round=1)]
    assert pair(one, one).error(Prior(size=CONTROL_SPREAD**2, degrees=5))[1] == pytest.approx(20)
    assert pair(one, one).error(Prior(size=1.0, degrees=5))[1] == pytest.approx(5, rel=1e-3)


def test_a_trial_is_not_better_known_than_it_knows_itself() -> None:
    """Three that agree by chance: their variance is at least the mean of their own."""
    agree = [
        Quotient(value=2.0, spread=spread, round=number, control=number)
        for number, spread in enumerate((0.01, 0.02, 0.03))
    ]
    error, _ = pair(agree, agree).error(WELL_KNOWN)
    known = (0.01**2 + 0.02**2 + 0.03**2) / 3
    assert error == pytest.approx(math.sqrt(known * 2 / 3 + CONTROL_SPREAD**2 * 2 / 3))


def test_what_could_have_been_told_is_just_what_is() -> None:
    base = (2.0, 2.04, 2.08)
    (same,) = significance.tested([pair(base, base)])
    for share, told in ((1.001, True), (0.999, False)):
        moved = tuple(value * math.exp(-share * same.least_difference) for value in base)
        (one,) = significance.tested([pair(base, moved)])
        assert one.significant is told
        assert (one.high < 0) is told  # of a single test the interval says the same


# What is compared


def test_the_trials_that_confirm_are_compared_where_both_sides_have_them() -> None:
    first, confirming = Quotient(value=2.0, spread=0.01), Quotient(value=1.8, spread=0.01, round=2, confirms=True)
    disturbed = Quotient(value=9.0, spread=0.01, disturbed=True)
    confirmed, plain = (first, disturbed, confirming), (first, disturbed)
    assert significance.compared(confirmed, confirmed) == ([confirming], [confirming])
    assert significance.compared(confirmed, plain) == ([first, confirming], [first])
    assert significance.compared(plain, confirmed) == ([first], [first, confirming])
    assert significance.compared((disturbed,), plain) == ([], [first])


def test_all_undisturbed_trials_show_how_trials_vary() -> None:
    """By hand: two values a logarithm of 0.2 apart have squares of 0.02 around their mean."""
    every = (*quotients([1.0, math.exp(0.2)]), Quotient(value=9, spread=1, disturbed=True))
    found = significance.side(every[:1], every)
    assert (found.mean, found.trials, found.degrees) == (0, 1, 1)
    assert found.squares == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("base", "new", "said"), [(True, False, "base"), (False, True, "new"), (True, True, "base and new")]
)
def test_what_was_disturbed_is_shown_and_not_tested(base: bool, new: bool, said: str) -> None:
    rows = [
        ok(
            "a",
            Quotient(value=value, spread=0.01, disturbed=disturbed),
            quality=Quality.DISTURBED if disturbed else None,
        )
        for value, disturbed in ((2.0, base), (1.0, new))
    ]
    before, now = (run(name, {}, row) for name, row in zip(("base", "new"), rows, strict=True))
    found = against(before, now)
    (one,) = found.with_verdict(Change.UNTESTED)
    assert (one.ratio, one.tested, one.interval) == (0.5, None, None)
    assert one.why_not == f"disturbed ({said}), not tested"
    assert f"disturbed ({said})" in str(words.sections(found, every=False))
    assert not comparison.compare(before, [now], 0.03).regressed


def test_without_samples_nothing_is_tested() -> None:
    bare = Speedup(value=1.0, low=1.0, high=1.0)
    base, new = run("base", {"a": [2.0]}), run("new", {}, ok("a", 1.0, speedup=bare, schema=1))
    found = against(base, new)
    (one,) = found.with_verdict(Change.UNTESTED)
    assert (one.ratio, one.tested, one.interval) == (0.5, None, None)
    assert "no samples, not tested" in str(words.sections(found, every=False))
    assert explained.method(comparison.compare(base, [new], 0.03))[0].startswith("Nothing was tested")


def test_samples_of_the_first_schema_give_a_quotient_a_process() -> None:
    told = {
        "unit": "s",
        "processes": [
            {"eager": [0.002, 0.004, 0.006] * 20, "conversion": [0.001, 0.002, 0.009] * 20},
            {"eager": [0.003] * 5, "conversion": [0.001] * 7},
        ],
    }
    first, second = samples.quotients(told)
    assert (first.value, second.value) == pytest.approx((2, 3))
    assert first.control != second.control
    assert second.spread == 0


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        {"unit": "s", "processes": []},
        {"unit": "s", "processes": [{"eager": [1.0], "conversion": None}]},
        {"unit": "s", "processes": [{"eager": [1.0], "conversion": [0.0, 0.0]}]},
        {"unit": "s", "processes": [{"eager": [0.0], "conversion": [1.0, 1.0]}]},
        {"unit": "s", "processes": [{"eager": [1.0], "conversion": [math.nan] * 3}]},
        {"unit": "s", "processes": [{"eager": [1.0], "conversion": ["fast"]}]},
        {"unit": "s", "processes": [{"eager": [], "conversion": []}]},
        {"unit": "s", "processes": [{"eager": [[]], "conversion": [[]]}]},
        {"unit": "ms", "processes": [{"eager": [1.0], "conversion": [1.0, 2.0]}]},
    ],
)
def test_what_is_no_samples_is_not_guessed_at(told: object) -> None:
    assert samples.quotients(told) == ()


# What it finds

_CHANCE = random.Random(3)
WIDE = tuple(0.006 * math.exp(_CHANCE.gauss(0, 0.5)) for _ in range(72))
"""How trials of the cells of a sweep vary, each its own: by 0.6 %, and up to some four times as much or as little."""


def test_a_sweep_does_not_differ_from_itself() -> None:
    base = run("base", noisy(random.Random(0), WIDE, trials=3))
    found = against(base, base, threshold=0)
    assert [one.ratio for one in found.timed] == [1] * 72
    assert [one.tested and one.tested.p for one in found.timed] == [1] * 72
    assert len(found.with_verdict(Change.SAME)) == 72
    assert found.within_threshold == found.no_longer_ok == 0


@pytest.mark.parametrize("drift", [1.2, 1 / 1.2])
@pytest.mark.parametrize("trials", [1, 3])
def test_a_machine_that_is_slower_for_eager_and_conversions_alike_raises_no_alarm(drift: float, trials: int) -> None:
    chance = random.Random(1)
    base = run("base", noisy(chance, [0.01] * 12, trials=trials))
    new = run("new", noisy(chance, [0.01] * 12, trials=trials), eager_ms=drift)
    found = comparison.compare(base, [new], 0.03)
    (one,) = found.against
    assert not found.regressed
    assert len(one.with_verdict(Change.SAME)) == 12
    assert all(timed.p50_ratio == pytest.approx(drift, rel=0.1) for timed in one.timed)
    (moved,) = one.eager
    assert moved.cells == 12
    assert moved.ratio == pytest.approx(drift)
    assert any(f"eager moved by {drift:.3f}" in line for line in explained.about(one))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cells", [2, 10, 72])
def test_a_conversion_that_is_five_percent_slower_is_found_and_no_other(cells: int, seed: int) -> None:
    """Three trials a side, which vary by 1 %, on a machine that is 20 % slower that day."""
    chance = random.Random(seed)
    base, new = (noisy(chance, [0.01] * cells, trials=3) for _ in range(2))
    new["m1"] = [Quotient(value=2 / 1.05 * share, spread=0.003, control=n) for n, share in enumerate((0.99, 1.0, 1.01))]
    base["m1"] = [Quotient(value=2 * share, spread=0.003, control=n) for n, share in enumerate((1.01, 0.99, 1.0))]
    found = against(run("base", base), run("new", new, eager_ms=1.2))
    assert slower(found) == ["m1"]
    assert not found.with_verdict(Change.FASTER)
    (timed,) = found.with_verdict(Change.SLOWER)
    assert timed.interval is not None
    assert timed.interval[0] < 1 / 1.05 < timed.interval[1] < 1


def test_a_faster_cell_is_found_too() -> None:
    base = noisy(random.Random(1), [0.002] * 5, trials=3)
    found = against(run("base", base), run("new", base | {"m2": times(1.2, base["m2"])}))
    assert [one.new.id for one in found.with_verdict(Change.FASTER)] == ["m2"]
    assert not slower(found)


def test_a_single_trial_a_side_borrows_from_the_other_cells_how_trials_vary() -> None:
    chance = random.Random(6)
    steady, unsteady = ([spread] * 30 for spread in (0.004, 0.1))
    for spreads, found in ((steady, ["alone"]), (unsteady, [])):
        base, new = (noisy(chance, spreads, trials=3) for _ in range(2))
        compared = against(run("base", base | {"alone": [2.0]}), run("new", new | {"alone": [1.75]}))
        assert slower(compared) == found
        (alone,) = (one for one in compared.timed if one.new.id == "alone")
        assert alone.tested
        assert alone.tested.borrowed


@pytest.mark.parametrize(("factor", "found"), [(1.05, []), (1.5, ["a"])])
def test_where_no_cell_has_two_trials_they_vary_as_is_usual(factor: float, found: list[str]) -> None:
    """Usual are 3 % with five degrees of freedom: of 5 % p is 0.3, of 50 % less than 0.001, by hand."""
    base, new = run("base", {"a": [2.0]}), run("new", {"a": [2.0 / factor]})
    compared = comparison.compare(base, [new], 0.03)
    assert slower(compared.against[0]) == found
    assert "1 of them had one trial a side" in "".join(explained.method(compared))


@pytest.mark.parametrize("trials", [1, 3])
def test_trials_without_any_noise_are_compared(trials: int) -> None:
    still: dict[str, Trials] = {name: [2.0] * trials for name in ("same", "slower", "steady")}
    found = against(run("base", still), run("new", still | {"slower": times(1 / 1.4, still["slower"])}))
    assert slower(found) == ["slower"]
    assert {one.tested and one.tested.p for one in found.with_verdict(Change.SAME)} == {1}


@pytest.mark.parametrize(
    ("trials", "spreads", "control"),
    [
        pytest.param(3, WIDE[:24], 0.0, id="each mode its own noise"),
        pytest.param(3, (0.02, *[0.005] * 23), 0.0, id="one unsteady mode"),
        pytest.param(3, [0.01] * 24, 0.0, id="all alike"),
        pytest.param(2, WIDE[:24], 0.0, id="two trials"),
        pytest.param(3, WIDE[:8], 0.0, id="a few modes"),
        pytest.param(1, WIDE[:24], 0.0, id="one trial"),
        pytest.param(3, WIDE[:24], CONTROL_SPREAD, id="one control for all trials"),
    ],
)
def test_where_nothing_changed_a_difference_is_told_in_five_of_a_hundred_sweeps(
    trials: int, spreads: Sequence[float], control: float
) -> None:
    """With the threshold 0, so that the test itself is tested.

    If 5 % were the truth, 200 comparisons would show more false alarms than allowed here once in a thousand times.
    """
    chance, alarms = random.Random(0), 0
    for _ in range(200):
        base, new = (
            noisy(chance, spreads, trials=trials, control=control, rounds=1 if control else None) for _ in "ab"
        )
        pairs = [pair(before, now) for before, now in zip(base.values(), new.values(), strict=True)]
        alarms += any(one.significant for one in significance.tested(pairs))
    assert alarms <= distributions.binom.ppf(0.999, 200, 0.05)


def test_what_differs_by_less_than_the_threshold_is_no_difference_and_counted() -> None:
    base: dict[str, Trials] = {f"m{n}": [2.0, 2.001, 1.999] * 4 for n in range(4)}
    new = run("new", base | {"m0": times(1 / 1.025, base["m0"])})
    found = against(run("base", base), new)
    assert (len(found.with_verdict(Change.SAME)), found.within_threshold) == (4, 1)
    assert "1 of them significant, but within the threshold" in words.summary(found)
    assert slower(against(run("base", base), new, threshold=0.02)) == ["m0"]


def test_p_values_are_corrected_over_all_sweeps_that_are_compared() -> None:
    base = run("base", noisy(random.Random(4), [0.01] * 4, trials=3))
    new = run("new", noisy(random.Random(5), [0.01] * 4, trials=3))
    (alone,) = comparison.compare(base, [new], 0.03).against
    twice = comparison.compare(base, [new, base], 0.03)
    assert twice.tests == 8
    for once, again in zip(alone.timed, twice.against[0].timed, strict=True):
        assert once.tested
        assert again.tested
        assert again.tested.p > once.tested.p or again.tested.p == 1


def test_how_trials_vary_is_learned_from_the_same_hardware_only() -> None:
    chance = random.Random(7)
    on_gpu: dict[str, Any] = {"fingerprint": "gpu"}
    steady = [(ok(f"s{n}", *noisy(chance, [0.003], trials=3)["m0"], **on_gpu)) for n in range(30)]
    alone = [ok("alone", 2.0, **on_gpu), ok("alone", 1.8, **on_gpu)]
    rough = noisy(chance, [0.2] * 30, trials=3)
    found = against(run("base", rough, *steady, alone[0]), run("new", rough, *steady, alone[1]))
    assert slower(found) == ["alone"]


# Eager


def test_eager_is_told_by_its_latency_and_never_tested() -> None:
    base = run("base", {}, ok("eager", 1.0, conversion="EAGER"), ok("a", 2.0))
    rows = (ok("eager", 0.5, conversion="EAGER", eager_ms=1.12), ok("a", 2.0, eager_ms=1.14))
    new = run("new", {}, *rows)
    found = comparison.compare(base, [new], 0.03)
    (one,) = found.against
    assert (found.tests, found.regressed, [timed.new.id for timed in one.timed]) == (1, False, ["a"])
    (moved,) = one.eager
    assert (moved.ratio, moved.base_ms, moved.new_ms) == pytest.approx((1.13, 1.0, 1.13))
    (section,) = words.sections(one, every=False, threshold=0.03)
    assert section.title == "Eager itself moved"
    assert section.rows[0][2:] == ("1", "1.13", "1.130", "the machine or its load changed")
    assert not words.sections(one, every=False, threshold=0.2)


def test_versions_that_changed_are_named_where_eager_moved() -> None:
    base = run("base", {}, ok("a", 2.0))
    new = run("new", {}, ok("a", 2.0, eager_ms=1.2, versions={"torch": "2.14.0"}))
    found = against(base, new)
    assert "torch 2.13.0 → 2.14.0" in words.sections(found, every=False)[0].rows[0][-1]
    assert not comparison.compare(base, [new], 0.03).regressed


def test_each_group_has_an_eager_of_its_own() -> None:
    def rows(*eager_ms: float) -> list[Result]:
        return [ok(f"a{n}", 2.0, batch_size=n + 1, eager_ms=ms) for n, ms in enumerate(eager_ms)]

    found = against(run("base", {}, *rows(1, 1, 1)), run("new", {}, *rows(1.01, 0.8, 1.1)))
    assert [(moved.new.batch_size, round(moved.ratio, 2)) for moved in found.eager] == [(2, 0.8), (3, 1.1), (1, 1.01)]
    assert any("eager moved by 1.010 (0.800 to 1.100 in 3 groups)" in line for line in explained.about(found))


def test_a_speedup_that_fell_because_eager_is_faster_says_so() -> None:
    base = run("base", {"eagers": [2.0] * 6, "own": [2.0] * 6})
    rows = (ok("eagers", *[1.6] * 6, eager_ms=0.8), ok("own", *[1.6] * 6, eager_ms=1.0))
    found = against(base, run("new", {}, *rows))
    assert {one.new.id: one.by_eager for one in found.with_verdict(Change.SLOWER)} == {"eagers": True, "own": False}
    assert "eager moved, and its own p50 hardly" in str(words.sections(found, every=False))


# What there is to compare


def test_every_change_of_status_is_told_and_only_a_loss_is_a_regression() -> None:
    fine: Trials = [2.0] * 3
    base = run("base", {"fails": fine, "stays": fine}, crashed("mended"), crashed("other"), crashed("again"))
    new = run(
        "new", {"mended": fine, "stays": fine}, crashed("fails"), crashed("other", Reason.TIMEOUT), crashed("again")
    )
    found = comparison.compare(base, [new], 0.03)
    (one,) = found.against
    assert {(a.id, a.status, b.reason) for a, b in one.changed} == {
        ("fails", Status.OK, Reason.RAISED),
        ("mended", Status.CRASHED, None),
        ("other", Status.CRASHED, Reason.TIMEOUT),
    }
    assert (one.no_longer_ok, one.unproved, found.regressed) == (1, 1, True)
    assert (
        comparison.compare(new, [base], 0.03).against[0].no_longer_ok == 1
    )  # what was mended is lost the other way round
    assert not comparison.compare(base, [base], 0.03).regressed


def test_a_cell_that_is_planned_and_has_no_row_is_lost_and_one_that_was_not_asked_is_not() -> None:
    base = run("base", {"a": [2.0], "b": [2.0]})
    new = run("new", {"a": [2.0]})
    assert [row.id for row in against(base, new).vanished] == ["b"]
    assert not comparison.compare(base, [new], 0.03).regressed
    unfinished = ComparedRun(name="new", rows=new.rows, planned=frozenset("ab"))
    assert [row.id for row in against(base, unfinished).missing] == ["b"]
    assert comparison.compare(base, [unfinished], 0.03).regressed


def test_a_name_under_another_id_was_asked_differently() -> None:
    before, now = crashed("x-1", conversion="X"), crashed("x-2", conversion="X")
    base = run("base", {"kept": [2.0]}, before, crashed("gone"), questions={"x-1": cell(seed=0)})
    new = run("new", {"kept": [2.0]}, now, crashed("come"), questions={"x-2": cell(seed=1, measure={"trials": 9})})
    found = against(base, new)
    assert [(one.base, one.new, one.differs) for one in found.renamed] == [((before,), (now,), ("seed 0 → 1",))]
    assert [row.id for row in found.vanished] == ["gone"]
    assert [row.id for row in found.appeared] == ["come"]


def cell(**changes: Any) -> dict[str, Any]:
    """What `cell.json` says, in part."""
    values: dict[str, Any] = {
        "model": {"name": "mlp", "config": {"_target_": "mlp", "width": 8}, "known": True, "near": []},
        "device": {"name": "cpu", "kind": "cpu", "gpus": 0, "labels": {}, "known": True},
        "conversion": "X",
        "mode": {"name": "X", "target": None},
        "batch_size": 1,
        "threads": None,
        "seed": 0,
        "cache": "cold",
        "measure": {"trials": 1},
        "limits": {"total": 3600},
        "tolerance": {"fp32": {"rel_l2": 1e-4, "source": "a paper"}},
    }
    return values | changes


def test_cells_whose_ids_changed_are_matched_by_what_they_ask() -> None:
    processes = {"measure": {"processes": 3}, "threads": 2, "device": cell()["device"] | {"memory": 0}}
    base = run(
        "base",
        {},
        ok("x-1", 2.0, conversion="X"),
        ok("y-1", 3.0, conversion="X", threads=1),
        questions={"x-1": cell(**processes), "y-1": cell(threads=1)},
    )
    new = run(
        "new",
        {},
        ok("x-2", 1.0, conversion="X", threads=1),
        ok("y-2", 1.0, conversion="X"),
        questions={"x-2": cell(threads=1), "y-2": cell(threads=2)},
    )
    found = against(base, new)
    assert {(one.base.id, one.new.id) for one in found.timed} == {("x-1", "y-2"), ("y-1", "x-2")}
    assert not found.vanished + found.appeared + found.renamed
    assert found.measured_otherwise == {"measure.processes 3 → absent": 1, "measure.trials absent → 1": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"dynamic": True},
        {"data": {"arguments": {"_target_": "a.batches"}, "calibration": 8, "samples": 9}},
        {"cache": "warm"},
        {"threads": 4},
        {"batch_size": 2},
        {"model": {"name": "mlp", "config": {"_target_": "mlp", "width": 9}}},
        {"device": {"name": "cpu", "kind": "cpu", "memory": 64000}},
        {"mode": {"name": "X", "target": "mine.x", "engine": "eager"}},
    ],
)
def test_cells_that_ask_something_else_are_not_matched(changes: dict[str, Any]) -> None:
    before, now = ok("x-1", 2.0, conversion="X"), ok("x-2", 1.0, conversion="X")
    base = run("base", {}, before, questions={"x-1": cell()})
    new = run("new", {}, now, questions={"x-2": cell(**changes)})
    found = against(base, new)
    assert not found.timed
    ((renamed),) = found.renamed
    assert (renamed.base, renamed.new) == ((before,), (now,))
    assert any(difference.startswith(next(iter(changes))) for difference in renamed.differs)


def test_without_cell_json_rows_tell_what_was_asked() -> None:
    quick, slow = {"measure": "quick", "tolerance.fp32.rel_l2": "1e-3"}, {"measure": "default"}
    base = run(
        "base",
        {},
        ok("x-1", 2.0, conversion="X", overrides={**quick, "seed": "3"}),
        ok("x-4", 2.0, conversion="X", overrides={**quick, "seed": "4"}),
        crashed("x-1~2", Reason.DUPLICATE, conversion="X", overrides={**quick, "seed": "3"}),
        questions={"x-4": cell(seed=4)},
    )
    new = run(
        "new",
        {},
        ok("x-2", 2.0, conversion="X", overrides={**slow, "seed": "3"}),
        ok("x-5", 2.0, conversion="X", overrides={**slow, "seed": "4"}),
        crashed("x-2~2", Reason.DUPLICATE, conversion="X", overrides={**slow, "seed": "3"}),
        questions={"x-2": cell(seed=3), "x-5": cell(seed=5)},
    )
    found = against(base, new)
    assert [(one.base.id, one.new.id) for one in found.timed] == [("x-1", "x-2")]  # of the others cell.json differs
    assert (found.matched, found.unproved, len(found.renamed)) == (2, 1, 1)
    assert found.measured_otherwise["measure quick → default"] == 2


def test_the_luck_of_an_allocator_is_no_alarm_until_trials_show_that_it_is_none() -> None:
    """resnet18 by Inductor: 15 ms in one process, 22 ms in another that asks for 4,500 pages in each call."""

    def of(name: str, value: float, faults: float, count: int) -> ComparedRun:
        trials = [Quotient(value=value, spread=0.004, control=n, page_faults=faults) for n in range(count)]
        rows = [ok("x", *trials, eager_ms=15.0), *(ok(f"y{n}", 1.2, 1.2, 1.2) for n in range(8))]
        return run(name, {}, *rows)

    def told(count: int) -> list[Change]:
        found = against(of("base", 1.0, 0.0, count), of("new", 0.7, 4500.0, count))
        return [timed.verdict for timed in found.timed if timed.new.id == "x"]

    assert (told(1), told(3)) == ([Change.SAME], [Change.SLOWER])


def test_another_metric_of_the_data_is_told_and_is_no_other_question() -> None:
    def asked(**changes: Any) -> dict[str, Any]:
        return cell(data={"name": "mine", "samples": 512, "metric": "a.accuracy", "allowed_drop": 0.01} | changes)

    base = run("base", {}, ok("x-1", 2.0, conversion="X"), questions={"x-1": asked()})
    now = asked(metric="a.f1", allowed_drop=0.02)
    new = run("new", {}, ok("x-1", 2.0, conversion="X"), questions={"x-1": now})
    assert against(base, new).measured_otherwise == {
        "data.metric a.accuracy → a.f1": 1,
        "data.allowed_drop 0.01 → 0.02": 1,
    }
    assert len(against(base, new).timed) == 1


def test_where_several_cells_ask_the_same_none_is_matched() -> None:
    rows = [ok(f"x-{n}", 2.0, conversion="X") for n in range(3)]
    base = run("base", {}, *rows[:2], questions={row.id: cell() for row in rows[:2]})
    new = run("new", {}, rows[2], questions={"x-2": cell()})
    assert not against(base, new).timed
    assert not against(new, base).timed


def test_how_cells_are_measured_and_judged_keeps_none_from_being_compared_and_is_said_once() -> None:
    base = run("base", {"a": [2.0], "b": [2.0]}, questions={name: cell() for name in "ab"})
    otherwise = cell(
        measure={"trials": 3}, limits={"total": 60}, tolerance={"fp32": {"rel_l2": 1e-3, "source": "another"}}
    )
    new = run("new", {"a": [2.0], "b": [2.0]}, questions={"a": otherwise, "b": cell(measure={"trials": 3})})
    found = against(base, new)
    assert len(found.timed) == 2
    (said,) = (line for line in explained.about(found) if line.startswith("measured or judged otherwise"))
    assert "measure.trials 1 → 3, limits.total 3600 → 60 (1 of 2 cells)" in said
    assert "tolerance.fp32.rel_l2 0.0001 → 0.001 (1 of 2 cells)" in said
    assert "source" not in said
    assert not explained.about(against(run("base", {"a": [2.0]}), run("new", {"a": [2.0]})))[1:]


EARLIER = Path(__file__).parent / "run_of_the_first_version"
BEFORE = Path(__file__).parents[1] / "e2e" / "version_before" / "run"


def test_run_folders_of_the_first_schema_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, untested in ((EARLIER, 1), (BEFORE, 2)):
        assert compare.main([str(folder), str(folder)]) == 0
        assert f"0 slower, 0 faster, {untested} not tested" in capsys.readouterr().out
    for name, seconds in (("earlier", 0.0165), ("slower", 0.022)):
        shutil.copytree(EARLIER, tmp_path / name)
        write_samples(tmp_path / name, [{"eager": [0.025] * 100, "conversion": [seconds] * 100}] * 3)
    assert compare.main([str(tmp_path / "earlier"), str(tmp_path / "slower")]) == 1
    out = capsys.readouterr().out
    assert "JIT_TRACE" in out.partition("Slower: 1")[2]
    assert "1.515" in out  # 0.025 / 0.0165, by hand
    assert "0.750" in out
    assert "1 of them have a side of an earlier version" in out
    assert compare.main([str(tmp_path / "slower"), str(tmp_path / "earlier")]) == 0


def test_a_folder_of_the_first_schema_is_compared_with_a_new_one(tmp_path: Path) -> None:
    shutil.copytree(EARLIER, tmp_path / "earlier")
    write_samples(tmp_path / "earlier", [{"eager": [0.025] * 100, "conversion": [0.0165] * 100}] * 3)
    new = tmp_path / "new"
    new.mkdir()
    rows = [
        replace(row, schema=2, id=f"{row.id[:-3]}new", quality=Quality.FIRM, log=None, samples=None, speedup=faster)
        for row in load(EARLIER).rows
        if row.speedup
        for faster in (replace(row.speedup, quotients=quotients([2.2] * 3)),)
    ]
    write_rows(new, rows)
    assert compare.main([str(tmp_path / "earlier"), str(new), "--format=json", f"--output={tmp_path}/said.json"]) == 0
    (said,) = json.loads((tmp_path / "said.json").read_text())["against"]
    (timed,) = said["timed"]
    assert (timed["base_id"], timed["id"]) == ("mlp-jit_trace-cpu-b1-0123456789", "mlp-jit_trace-cpu-b1-0123456new")
    assert (timed["base_speedup"], timed["new_speedup"]) == pytest.approx((0.025 / 0.0165, 2.2))
    assert timed["verdict"] == "faster"
    assert [one["base"] for one in said["vanished"]] == ["invalid/unknown-conversion"]


def write_samples(folder: Path, processes: list[dict[str, list[float]]]) -> None:
    for row in load(folder).rows:
        if row.samples and row.conversion != "EAGER":
            (folder / row.samples).parent.mkdir(parents=True)
            (folder / row.samples).write_text(json.dumps({"unit": "s", "processes": processes}))


def write_rows(folder: Path, rows: Sequence[Result]) -> None:
    (folder / "sweep.json").write_text(json.dumps({"schema": 2, "plan": [row.id for row in rows], "versions": {}}))
    (folder / "results.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def test_unlike_hardware_is_counted_by_fingerprint_or_where_there_is_none_by_its_text() -> None:
    base = {row.id: row for row in (ok("a", 2.0), ok("b", 2.0), ok("c", 2.0, fingerprint=None), crashed("d"))}
    other: dict[str, Any] = {"hardware": "Other CPU x8, 8 GiB", "fingerprint": "bbbb"}
    new = {row.id: row for row in (ok("a", 2.0, **other), ok("b", 2.0), ok("c", 2.0, **other), ok("d", 2.0))}
    found = matching.unlike_hardware(ComparedRun(name="base", rows=base), ComparedRun(name="new", rows=new))
    assert found == {
        ("CPU x2, 8 GiB [aaaa]", "Other CPU x8, 8 GiB [bbbb]"): 1,
        ("CPU x2, 8 GiB", "Other CPU x8, 8 GiB [bbbb]"): 1,
    }


def test_versions_that_changed_are_named() -> None:
    base = ComparedRun(name="base", rows={"a": ok("a", 2.0)}, versions={"torch": "unused", "onnx": "1.23.2"})
    new = ComparedRun(name="new", rows={"a": ok("a", 2.0, versions={"torch": "2.14.0"})})
    assert against(base, new).versions == ("onnx 1.23.2 → absent", "torch 2.13.0 → 2.14.0")


# How it is told


@pytest.fixture
def found() -> comparison.Comparison:
    fine: Trials = [2.0, 2.001, 1.999]
    base = run("<base>", {"a": fine, "b": fine, "c": fine})
    new = run("[new]|", {"a": times(1 / 1.25, fine), "b": fine}, crashed("c", model="m<script>|*x*"))
    return comparison.compare(base, [new], 0.03)


def test_the_gravest_comes_first_and_what_does_not_differ_only_if_asked_for(found: comparison.Comparison) -> None:
    (one,) = found.against
    assert [section.title for section in words.sections(one, every=False)] == ["Status changed", "Slower"]
    assert [section.title for section in words.sections(one, every=True)][-2:] == [
        "No difference",
        "Eager itself moved",
    ]
    assert words.summary(one) == "1 changed status; 1 slower, 0 faster, 1 no difference"


def test_markdown_begins_with_the_summary_and_folds_the_rest(found: comparison.Comparison) -> None:
    text = "".join(words.as_markdown(found, every=False))
    first, rest = text.split("\n", 1)
    assert first.startswith("**1 changed status; 1 slower")
    assert "&lt;base&gt;" in first
    assert r"\[new\]\|" in first
    assert rest.count("<details") == rest.count("</details>") == 3
    assert "<base>" not in text


def test_on_a_terminal_a_cell_keeps_to_a_line_and_its_message_stands_below(found: comparison.Comparison) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=90, record=True)
    words.show(found, console, every=False)
    lines = console.export_text().splitlines()
    assert sum("0.800" in line and "1.250" in line and "1.000" in line for line in lines) == 1
    assert " C: so it was" in [line.rstrip() for line in lines]


def test_names_cannot_become_markup_on_the_page(found: comparison.Comparison) -> None:
    page = "".join(words.as_html(found, every=True))
    assert "<base>" not in page
    assert "&lt;base&gt;" in page
    assert "http" not in page  # it needs nothing besides itself


def test_json_has_every_figure(found: comparison.Comparison) -> None:
    said = json.loads("".join(as_json.as_json(found)))
    assert said["regressed"] is True
    assert said["tests"] == 2
    (one,) = said["against"]
    slower, same = one["timed"]
    assert (slower["id"], slower["verdict"], same["verdict"]) == ("a", "slower", "no difference")
    assert slower["low"] <= slower["ratio"] <= slower["high"]
    assert (slower["ratio"], slower["p50_ratio"], slower["eager_ratio"]) == pytest.approx((0.8, 1.25, 1.0))
    assert (slower["base_speedup"], slower["new_speedup"]) == pytest.approx((2, 1.6))
    assert [(row["id"], row["base"], row["new"]) for row in one["changed"]] == [("c", "ok", "crashed/raised")]


@pytest.mark.parametrize(("said", "is_"), [("5%", 0.05), ("0.05", 0.05), ("0", 0), ("12.5%", 0.125)])
def test_a_threshold_is_a_share(said: str, is_: float) -> None:
    assert compare.share(said) == pytest.approx(is_)


@pytest.mark.parametrize("said", ["5", "-1%", "nan", "five", "", "%", "100%"])
def test_what_is_no_share_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="say 5% or"):
        compare.share(said)
