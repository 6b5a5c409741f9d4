import importlib.util
import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests import rows as examples

from sweep.cell import BASELINE, Cell, Device, Measure, Model
from sweep.dispatch.rounds import Next, Rounds
from sweep.result import Decision, Quality, Quotient, Result, Speedup
from sweep.status import Reason, Status
from sweep.verdict import estimate

MINUTE = 60.0


def trials(*values: float, **more: Any) -> tuple[Quotient, ...]:
    """Trials that are known to 3 %, of rounds 1, 2, …, unless `round` is given."""
    return tuple(
        Quotient(value=value, **{"spread": 0.03, "round": number, **more}) for number, value in enumerate(values, 1)
    )


def row(id_: str, *quotients: Quotient, **changes: Any) -> Result:
    speedup = Speedup(value=1.0, low=1.0, high=1.0, quotients=quotients)
    return examples.ok(**{"id": id_, "conversion": id_, "speedup": speedup, **changes})


class Asked:
    """A sweep between two rounds: its rows, and what is asked of them."""

    def __init__(self, *rows: Result, measure: Measure | None = None, of: dict[str, Measure] | None = None) -> None:
        self.cells = [
            Cell(
                id=row.id,
                conversion=row.conversion,
                mode=None,
                model=Model(name="mlp", config={}),
                device=Device(name="cpu"),
                measure=(of or {}).get(row.id, measure or Measure()),
            )
            for row in rows
        ]
        self.rows = {row.id: row for row in estimate.estimated(rows, self.cells)}
        self.rounds = Rounds(self.cells)

    def next(
        self, seconds_left: float = 4 * MINUTE, seconds_of: Callable[[Result], float] = lambda _: 5.0
    ) -> list[Next]:
        return self.rounds.next(self.rows, seconds_left, seconds_of)

    def ended(self, *quotients: tuple[str, Quotient]) -> None:
        """These trials ended."""
        rows = dict(self.rows)
        for id_, quotient in quotients:
            before = rows[id_].speedup
            assert before
            rows[id_] = row(id_, *before.quotients, quotient)
        self.rows = {row.id: row for row in estimate.estimated(list(rows.values()), self.cells)}


def ids(asked: Iterable[Next]) -> set[str]:
    return {one.id for one in asked}


NEAR = [row(f"near{number}", *trials(1 + number / 1000)) for number in range(8)]
"""Rows that cannot be told apart."""

SLOW = [row(f"slow{number}", *trials(0.5)) for number in range(8)]
EAGER = row(BASELINE, *trials(*[1.0] * 10, round=1))
"""As precise as was asked."""


def test_without_a_budget_nothing_is_measured_again() -> None:
    assert Asked(EAGER, *NEAR, measure=Measure(budget=0)).next() == []
    assert Asked(EAGER, *NEAR).next(seconds_left=0) == []
    assert Asked().next() == []


def test_the_better_half_of_what_may_be_fastest_goes_first_and_the_baseline_with_it() -> None:
    asked = Asked(row(BASELINE, *trials(1.0)), *NEAR, *SLOW).next()
    assert Next(id=BASELINE, round=2, count=1) in asked
    assert ids(asked) == {BASELINE, *(f"near{number}" for number in range(8))}  # of 17 rows
    asked = Asked(row(BASELINE, *trials(1.0)), *NEAR).next()
    assert ids(asked) == {BASELINE, "near7", "near6", "near5", "near4"}  # of 9 rows
    assert all(one.round == 2 and not one.confirms and one.count == 1 for one in asked if one.id != BASELINE)


def test_after_each_round_fewer_go_on_but_never_fewer_than_can_be_confirmed() -> None:
    later = [row(f"near{number}", *trials(*[1 + number / 1000] * 2)) for number in range(16)]
    assert ids(Asked(EAGER, *later).next()) == {"near15", "near14", "near13", "near12"}  # a quarter of 17
    later = [row(f"near{number}", *trials(*[1 + number / 1000] * 3)) for number in range(16)]
    assert ids(Asked(EAGER, *later, measure=Measure(precision=0.01)).next()) == {"near15", "near14", "near13"}


def test_how_many_go_on_is_told_by_the_rows_that_have_gone_on_before() -> None:
    later = [row(f"near{number}", *trials(*[1 + number / 1000] * (2 if number == 15 else 1))) for number in range(16)]
    assert ids(Asked(EAGER, *later).next()) == {"near15", "near14", "near13", "near12"}


def test_what_is_slow_is_never_measured_again() -> None:
    sweep = Asked(EAGER, row("fast", *trials(2.0)), row("slowish", *trials(0.78)), *SLOW)
    (asked,) = sweep.next()
    assert asked == Next(id="fast", round=2, confirms=True, count=3)
    sweep.ended(*[("fast", Quotient(value=2.0, spread=0.01, round=2, confirms=True))] * 3)
    assert sweep.next() == []


def test_what_was_disturbed_is_measured_again_three_times_at_most() -> None:
    sweep = Asked(EAGER, row("d", *trials(60.0, disturbed=True)))
    for round in (2, 3, 4):
        assert ids(sweep.next()) == {"d"}
        sweep.ended(("d", Quotient(value=60.0, spread=0.01, round=round, disturbed=True)))
    assert sweep.next() == []


def test_the_best_are_confirmed_and_no_more_than_three_of_a_group() -> None:
    """They are as precise as was asked, so nothing else is left to do."""
    sharp = [row(f"sharp{number}", *trials(*[1.3 + number / 1000] * 20)) for number in range(6)]
    asked = Asked(EAGER, *sharp, row("other", *trials(*[1.25] * 20), batch_size=99)).next()
    assert ids(asked) == {"sharp5", "sharp4", "sharp3", "other"}
    assert {(one.confirms, one.count, one.round) for one in asked} == {(True, 3, 21)}


def test_only_what_is_not_told_apart_from_the_leader_is_confirmed() -> None:
    rows = row("first", *trials(*[1.5] * 20)), row("second", *trials(*[1.3] * 20)), row("third", *trials(*[1.29] * 20))
    assert ids(Asked(EAGER, *rows).next()) == {"first"}


def test_what_is_no_faster_than_eager_is_not_confirmed() -> None:
    same = [row(f"same{number}", *trials(*[0.99] * 20)) for number in range(3)]
    assert not [one for one in Asked(EAGER, *same).next() if one.confirms]


def test_time_to_confirm_is_kept_free() -> None:
    """Three times three trials of 5 s are 45 s, so of 60 s half is kept; with 33 s left no others are measured."""
    sweep = Asked(EAGER, *NEAR)
    asked = sweep.next(seconds_left=60)
    assert (ids(asked), [one.confirms for one in asked]) == ({"near7", "near6", "near5", "near4"}, [False] * 4)
    sweep.ended(*((one.id, trials(1.01, round=2)[0]) for one in asked))
    asked = sweep.next(seconds_left=33)
    assert (len(asked), [(one.confirms, one.count) for one in asked]) == (2, [(True, 3)] * 2)


def test_what_takes_too_long_does_not_keep_off_others() -> None:
    asked = Asked(EAGER, *NEAR).next(seconds_left=60, seconds_of=lambda row: 500.0 if row.id == "near7" else 5.0)
    assert ids(asked) >= {"near6", "near5", "near4"}
    assert "near7" not in ids(asked)


def test_what_few_trials_more_decide_is_measured_again() -> None:
    """The leader stands apart; of the others 1.2x is not decided among 40 rows, and 0.9x is wide."""
    slow = [row(f"slow{number}", *trials(0.3)) for number in range(40)]
    first, nearly, below = row("first", *trials(3.0)), row("nearly", *trials(1.2)), row("below", *trials(0.9))
    assert ids(Asked(EAGER, first, nearly, below, *slow).next()) == {"nearly", "below"}


def test_what_is_precise_is_measured_again_only_if_few_trials_will_decide_it() -> None:
    slow = [row(f"slow{number}", *trials(0.3)) for number in range(45)]
    nearly, hardly = (
        Asked(EAGER, row("a", *trials(*[1.055] * 10)), *slow),
        Asked(EAGER, row("a", *trials(*[1.02] * 10))),
    )
    for sweep in (nearly, hardly):
        found = sweep.rows["a"]
        assert found.quality is Quality.FIRM and found.speedup and found.speedup.decision is Decision.UNDECIDED
    assert nearly.next() == [Next(id="a", round=11)]
    assert hardly.next() == [Next(id="a", round=11, confirms=True, count=3)]


def test_a_cell_keeps_its_own_precision() -> None:
    rough = Measure(precision=0.5)
    rows = [row("a", *trials(1.05)), row("b", *trials(1.04))]
    assert ids(Asked(EAGER, *rows, of={"a": rough, BASELINE: rough}).next()) == {"b"}
    assert ids(Asked(EAGER, *rows, of={"b": Measure(budget=0), BASELINE: rough}).next()) == {"a"}


def test_only_ok_rows_are_measured_again() -> None:
    wrong = row("w", *trials(1.1), status=Status.MISMATCH, reason=Reason.OUTPUT, message="m")
    old = examples.ok(id="old", quality=None, speedup=Speedup(value=1.1, low=1.0, high=1.2))
    assert Asked(wrong, old, examples.crashed()).next() == []


def test_a_cell_that_gained_nothing_is_not_asked_again() -> None:
    sweep = Asked(EAGER, *NEAR[:3])
    assert ids(sweep.next()) >= {"near0", "near1", "near2"}
    sweep.ended(*((id_, Quotient(value=1.001, spread=0.01, round=4)) for id_ in ("near0", "near1")))
    assert "near2" not in ids(sweep.next())


def test_a_sweep_that_is_resumed_goes_on_from_its_rows() -> None:
    confirmed = row("c", *trials(1.4, 1.4), *trials(*[1.3] * 3, confirms=True, round=5))
    asked = Asked(EAGER, confirmed, row("new", *trials(1.31)), *SLOW).next()
    assert asked == [Next(id="new", round=6)]


def test_what_is_still_too_wide_after_it_was_confirmed_is_confirmed_again() -> None:
    confirming = trials(1.1, 1.0, 1.2, confirms=True, round=3)
    sweep = Asked(EAGER, row("c", *trials(1.2, 1.2), *confirming))
    assert sweep.next() == [Next(id="c", round=4, confirms=True, count=3)]
    decided = Asked(EAGER, row("c", *trials(1.2, 1.2), *trials(1.12, 1.11, 1.1, confirms=True, round=3)))
    assert decided.rows["c"].speedup and decided.rows["c"].speedup.decision is Decision.FASTER
    assert decided.next() == []


def test_a_confirmation_that_was_disturbed_is_made_again() -> None:
    confirming = trials(1.9, 2.0, 2.1, confirms=True, round=3, disturbed=True)
    sweep = Asked(EAGER, row("c", *trials(2.0, 2.0), *confirming))
    assert sweep.next() == [Next(id="c", round=4, confirms=True, count=3)]


# Whole sweeps, simulated

PATH = Path(__file__).parents[2] / "scripts" / "bench" / "luck.py"
spec = importlib.util.spec_from_file_location("luck", PATH)
assert spec and spec.loader
luck: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(luck)


def sweeps(count: int, truth: list[float], spread: float, seed: int) -> list[Any]:
    chance = random.Random(seed)
    return [luck.simulated(truth, spread, lambda: chance.gauss(0, 1)) for _ in range(count)]


@pytest.mark.parametrize("spread", [0.03, 0.06])
def test_luck_is_not_announced(spread: float) -> None:
    """45 conversions as fast as eager: in 40 sweeps of which at most 5 % may find something, 6 would in 1 of 100."""
    found = sweeps(40, [1.0] * 45, spread, seed=1)
    assert sum(map(luck.decided_faster, found)) < 6
    announced = [one.found.speedup.value if one.found else 1.0 for one in found]
    assert math.fsum(announced) / 40 < 1.005
    assert all(0 < one.further * luck.SECONDS <= 4 * MINUTE for one in found)


@pytest.mark.parametrize("faster", [1.1, 1.5])
def test_what_is_faster_is_found(faster: float) -> None:
    for one in sweeps(10, [1.0] * 44 + [faster], 0.03, seed=2):
        assert one.found and one.truth[one.found.id] == faster
        assert one.found.speedup.confirmed
        assert one.found.speedup.value == pytest.approx(faster, rel=0.08)
