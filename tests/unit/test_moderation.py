import random

import pytest

from sweep import moderation
from sweep.moderation import Prior, learned


def test_p_values_are_corrected_as_by_hand() -> None:
    """Holm 1979: of 0.01, 0.04, 0.03 the least counts three times, the next twice, the last at least as much."""
    assert moderation.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert moderation.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert moderation.holm([]) == []


def test_a_variance_is_drawn_to_what_is_usual_but_never_lowered() -> None:
    """By hand, with Smyth's weights: 4 degrees at 1 and 2 at 0.25 make 0.75 with 6; what is larger stays."""
    usual = Prior(size=1.0, degrees=4)
    assert usual.better(0.25, 2) == pytest.approx((0.75, 6))
    assert usual.better(2.5, 2) == pytest.approx((2.5, 6))
    assert usual.better(0.0, 0) == (1.0, 4)


def test_a_variance_that_is_none_of_its_kind_keeps_its_own_degrees() -> None:
    """The 99 % quantile of F with 2 and 4 degrees is 18.0: Fisher and Yates, table V."""
    usual = Prior(size=1.0, degrees=4)
    assert usual.better(17.9, 2)[1] == pytest.approx(6)
    assert usual.better(18.1, 2)[1] == 2


def test_without_variances_the_usual_is_all_that_is_known() -> None:
    usual = Prior(size=0.03**2, degrees=5)
    found = learned([], [], usual)
    assert (found.size, found.degrees) == pytest.approx((usual.size, usual.degrees))


@pytest.mark.parametrize("size", [0.01**2, 0.1**2])
def test_of_many_variances_their_size_is_learned(size: float) -> None:
    """Squares of 400 normal values over a variance have the chi-squared distribution: all of one size."""
    chance = random.Random(7)
    variances = [size * sum(chance.gauss(0, 1) ** 2 for _ in range(4)) / 4 for _ in range(400)]
    found = learned(variances, [4] * 400, Prior(size=0.03**2, degrees=5))
    assert found.size == pytest.approx(size, rel=0.1)
    assert found.degrees > 10
