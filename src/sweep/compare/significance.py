"""Whether speed-ups of two sweeps differ: moderated t-tests on logarithms of what trials found, corrected for many."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from scipy import special

from sweep.moderation import ROUNDING, Prior, holm, learned
from sweep.result import Quotient
from sweep.verdict.estimate import USUAL

SIGNIFICANCE = 0.05
"""The share of comparisons of unchanged sweeps in which some difference may be found by chance."""

CONTROL_SPREAD = 0.008
"""How the unconverted model varies from process to process, as a share: quotients of two of its processes vary by
1.1 %, which is sqrt(2) times as much. Trials that had the same control cannot show how controls differ."""

NORMAL = 1e6
"""Degrees of freedom with which Student's distribution is the normal one."""


def compared(base: Sequence[Quotient], new: Sequence[Quotient]) -> tuple[Sequence[Quotient], Sequence[Quotient]]:
    """The trials of a cell that are compared, of either side: those that confirm where both sides have some, else all.

    None of them was disturbed. What led its group was lucky in the trials that it was chosen by, and the more so the
    slower it has become: those would hide a loss. Where one side alone is confirmed, leaving out the others of that
    side alone would make its luck a difference.
    """
    sides = _undisturbed(base), _undisturbed(new)
    confirming = tuple([quotient for quotient in side if quotient.confirms] for side in sides)
    return (confirming[0], confirming[1]) if all(confirming) else sides


def _undisturbed(quotients: Iterable[Quotient]) -> list[Quotient]:
    return [quotient for quotient in quotients if not quotient.disturbed]


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """What is known of a cell from one sweep: the `mean` of the logarithms of the `trials` that are compared.

    `shared` is the share of a control's variance that the mean has: 1 if all these trials had the same, 1/n if each
    of n had its own. `spread` is the mean of the trials' own variances. `squares` and `degrees` are of all its
    undisturbed trials: the sum of their squares around their own mean, and its degrees of freedom.
    """

    mean: float
    trials: int
    shared: float
    spread: float
    squares: float
    degrees: int


def side(trials: Sequence[Quotient], every: Sequence[Quotient], luck: float = 0.0) -> Side:
    """What the `trials` that are compared, at least one, and `every` trial of a cell tell. Quotients are above 0.

    `luck` is how far each of them may be off besides, as a share.
    """
    mean = statistics.fmean(math.log(quotient.value) for quotient in trials)
    logs = [math.log(quotient.value) for quotient in _undisturbed(every)]
    return Side(
        mean=mean,
        trials=len(trials),
        shared=sum((n / len(trials)) ** 2 for n in Counter(quotient.control for quotient in trials).values()),
        spread=max(statistics.fmean(quotient.spread**2 for quotient in trials), luck**2),
        squares=sum((log - statistics.fmean(logs)) ** 2 for log in logs),
        degrees=len(logs) - 1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A cell in the base and in the new sweep. The trials of pairs of one `kind`, such as hardware, vary alike."""

    base: Side
    new: Side
    kind: Hashable = None

    @property
    def difference(self) -> float:
        """How much the logarithm of the speed-up grew."""
        return self.new.mean - self.base.mean

    @property
    def degrees(self) -> int:
        return self.base.degrees + self.new.degrees

    @property
    def variance(self) -> float:
        """The variance from trial to trial within the sides, pooled over both; 0 where neither has two trials."""
        return (self.base.squares + self.new.squares) / self.degrees if self.degrees else 0.0

    def error(self, prior: Prior) -> tuple[float, float]:
        """The standard error of the difference, and its degrees of freedom.

        The variance of a trial is moderated, and not less than what the trials know of themselves; that of controls is
        taken for known: Satterthwaite, An approximate distribution of estimates of variance components, 1946.
        """
        variance, degrees = prior.better(self.variance, self.degrees)
        least = (self.base.spread + self.new.spread) / 2
        of_trials = max(variance, least, ROUNDING) * (1 / self.base.trials + 1 / self.new.trials)
        of_both = of_trials + CONTROL_SPREAD**2 * (self.base.shared + self.new.shared)
        return math.sqrt(of_both), min(degrees * (of_both / of_trials) ** 2, NORMAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """The test of a pair: `difference` of logarithms (new less base), its 95 % interval, and `p`, corrected.

    `least_difference` is the smallest difference that would have been significant as the only one among as many tests:
    a smaller one could not have been found. `borrowed` is whether neither side has two trials, so that how they vary is
    known from other cells only.
    """

    difference: float
    low: float
    high: float
    p: float
    least_difference: float
    borrowed: bool

    @property
    def significant(self) -> bool:
        return self.p <= SIGNIFICANCE


def tested(pairs: Sequence[Pair]) -> list[Tested]:
    """Each pair's two-sided t-test: its variance moderated over the pairs of its kind, p corrected over all pairs.

    The interval is not corrected: it says how large the difference of this pair may be, and p whether there is one.
    """
    priors = _priors(pairs)
    errors = [pair.error(priors[pair.kind]) for pair in pairs]
    single = [
        2 * float(special.stdtr(degrees, -abs(pair.difference) / error))
        for pair, (error, degrees) in zip(pairs, errors, strict=True)
    ]

    def half_width(number: int, alpha: float) -> float:
        error, degrees = errors[number]
        return -float(special.stdtrit(degrees, alpha / 2)) * error

    return [
        Tested(
            difference=pair.difference,
            low=pair.difference - half_width(number, 0.05),
            high=pair.difference + half_width(number, 0.05),
            p=p,
            # Holm's first step, which a single changed cell must pass
            least_difference=half_width(number, SIGNIFICANCE / len(pairs)),
            borrowed=not pair.degrees,
        )
        for number, (pair, p) in enumerate(zip(pairs, holm(single), strict=True))
    ]


def _priors(pairs: Iterable[Pair]) -> dict[Hashable, Prior]:
    """How the trials of each kind of pairs vary, from those that have two on a side; as usual where none has."""
    found: dict[Hashable, list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[pair.kind].append(pair)
    return {
        kind: learned(
            [pair.variance for pair in alike if pair.degrees], [pair.degrees for pair in alike if pair.degrees], USUAL
        )
        for kind, alike in found.items()
    }
