import math

import pytest

from sweep import moderation


def test_p_values_are_corrected_as_by_hand() -> None:
    """Holm 1979: of 0.01, 0.04, 0.03 the least counts three times, the next twice, the last at least as much."""
    assert moderation.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert moderation.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert moderation.holm([]) == []


@pytest.mark.parametrize(("value", "x"), [(math.pi**2 / 6, 1), (math.pi**2 / 2, 0.5), (math.pi**2 / 6 - 1, 2)])
def test_trigamma_is_inverted_where_its_value_is_known(value: float, x: float) -> None:
    """Abramowitz and Stegun, 6.4.2, 6.4.4 and 6.4.6: of 1 it is π²/6, of 1/2 π²/2, of 2 π²/6 less 1."""
    assert moderation.trigamma_inverse(value) == pytest.approx(x)


def test_the_prior_is_fitted_as_by_hand() -> None:
    """Smyth 2004, 6.2, of 20 variances with 2 degrees of freedom each, whose logarithms are 3 and -3 by turns.

    digamma(1) is -γ and trigamma(1) π²/6, so for the prior's trigamma 9 * 20/19 - π²/6 is left.
    """
    spread = 3.0
    variances = [math.exp(spread), math.exp(-spread)] * 10
    degrees, size = moderation.fitted(variances, [2] * 20)
    left = spread**2 * 20 / 19 - math.pi**2 / 6
    assert _trigamma(degrees / 2) == pytest.approx(left, rel=1e-6)
    assert math.log(size) == pytest.approx(0.5772156649 + _digamma(degrees / 2) - math.log(degrees / 2), rel=1e-6)


def _trigamma(x: float) -> float:
    """The series of 1/(x+k)², and the integral of what is left of it."""
    n = 20_000
    return math.fsum(1 / (x + k) ** 2 for k in range(n)) + 1 / (x + n - 0.5)


def _digamma(x: float) -> float:
    h = 1e-5
    return (math.lgamma(x + h) - math.lgamma(x - h)) / (2 * h)


def test_variances_that_spread_by_chance_alone_become_one() -> None:
    """Their prior has infinite degrees, and is exp(log s² - digamma(2) + log 2), with digamma(2) = 1 - γ."""
    found = moderation.moderated([0.01] * 20, [4] * 20)
    assert {degrees for _, degrees in found} == {80}
    assert [better for better, _ in found] == pytest.approx([0.01 * 2 / math.exp(1 - 0.5772156649)] * 20)


def test_a_variance_is_drawn_to_the_others_but_never_lowered() -> None:
    variances = [0.0001, 0.0002, 0.0004, 0.0008] * 5 + [0.5]
    prior_degrees, prior = moderation.fitted(variances, [4] * 21)
    found = moderation.moderated(variances, [4] * 21)
    for (better, degrees), variance in zip(found, variances, strict=True):
        assert degrees == pytest.approx(prior_degrees + 4)
        if variance < prior:
            assert better == pytest.approx((prior_degrees * prior + 4 * variance) / (prior_degrees + 4))
        else:
            assert better == variance


def test_fewer_than_twenty_variances_are_left_as_they_are() -> None:
    assert moderation.moderated([0.01, 0.04], [4, 2]) == [(0.01, 4), (0.04, 2)]
