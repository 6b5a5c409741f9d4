"""Whether times of two sweeps differ: moderated t-tests on their logarithms, corrected for the number of tests."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scipy import special

from sweep import stats

SIGNIFICANCE = 0.05
"""The share of comparisons of unchanged sweeps in which some difference may be found by chance."""

FEWEST_VARIANCES = 20
"""Fewer variances do not show how variances are distributed; they are then used as they are."""

ROUNDING = 1e-18
"""A variance of logarithms that is smaller comes from rounding, not from the machine."""


class Unit(StrEnum):
    """What a test takes for independent repetitions."""

    PROCESS = "process"
    BLOCK = "block"


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Logarithms of median latencies: of each process, and of the blocks of samples where there is one process only."""

    processes: tuple[float, ...]
    blocks: tuple[float, ...] = ()


def timings(samples: object) -> Timings | None:
    """The timings in the content of a `samples.json`, None if sweep does not write that of a cell that was measured."""
    try:
        if samples["unit"] != "s":  # type: ignore[index]
            return None
        processes = [process["conversion"] for process in samples["processes"]]  # type: ignore[index]
        timings = Timings(
            processes=tuple(math.log(statistics.median(process)) for process in processes),
            blocks=tuple(_blocks(processes[0])) if len(processes) == 1 else (),
        )
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return timings if all(map(math.isfinite, (*timings.processes, *timings.blocks))) and processes else None


def _blocks(samples: Sequence[float]) -> Iterable[float]:
    """Logarithms of the medians of the blocks that `stats.median_interval` cuts samples into."""
    size = max(1, len(samples) // stats.BLOCKS)
    for at in range(0, len(samples) - size + 1, size):
        yield math.log(statistics.median(samples[at : at + size]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """The logarithms to compare: those of the base, and those of the new sweep."""

    base: tuple[float, ...]
    new: tuple[float, ...]
    unit: Unit

    @property
    def difference(self) -> float:
        return statistics.fmean(self.new) - statistics.fmean(self.base)

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the variance."""
        return len(self.base) + len(self.new) - 2

    @property
    def variance(self) -> float:
        """The variance within the sides, pooled over both."""
        squares = sum(
            (value - middle) ** 2
            for side in (self.base, self.new)
            for middle in (statistics.fmean(side),)
            for value in side
        )
        return squares / self.degrees


def paired(base: Timings, new: Timings) -> Pair | None:
    """The two sides in the same unit, None if they have too few values to show how much these vary.

    The unit is the process as soon as one side has two, because that side shows how processes differ. Otherwise it is
    the block, and how processes differ is unknown.
    """
    if max(len(base.processes), len(new.processes)) > 1:
        sides = Pair(base=base.processes, new=new.processes, unit=Unit.PROCESS)
    else:
        sides = Pair(base=base.blocks, new=new.blocks, unit=Unit.BLOCK)
    return sides if sides.base and sides.new and sides.degrees else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """The test of a pair: `difference` of logarithms (new less base), its 95 % interval, and `p`, corrected.

    `least_difference` is the smallest difference that would have been significant as the only one among as many tests:
    a smaller one could not have been found.
    """

    difference: float
    low: float
    high: float
    p: float
    unit: Unit
    least_difference: float

    @property
    def significant(self) -> bool:
        return self.p <= SIGNIFICANCE


def tested(pairs: Sequence[Pair]) -> list[Tested]:
    """Each pair's two-sided t-test: its variance moderated over the pairs of its unit, p corrected over all pairs.

    The interval is not corrected: it says how large the difference of this pair may be, and p whether there is one.
    """
    variances: dict[int, tuple[float, float]] = {}
    for unit in Unit:
        numbers = [number for number, pair in enumerate(pairs) if pair.unit is unit]
        better = moderated(
            [pairs[number].variance for number in numbers], [pairs[number].degrees for number in numbers]
        )
        variances |= dict(zip(numbers, better, strict=True))
    errors = [
        math.sqrt(variances[number][0] * (1 / len(pair.base) + 1 / len(pair.new))) for number, pair in enumerate(pairs)
    ]
    single = [
        2 * float(special.stdtr(variances[number][1], -abs(pair.difference) / error))
        for number, (pair, error) in enumerate(zip(pairs, errors, strict=True))
    ]

    def half_width(number: int, alpha: float) -> float:
        return float(special.stdtrit(variances[number][1], 1 - alpha / 2)) * errors[number]

    return [
        Tested(
            difference=pair.difference,
            low=pair.difference - half_width(number, 0.05),
            high=pair.difference + half_width(number, 0.05),
            p=p,
            unit=pair.unit,
            # Holm's first step, which a single changed cell must pass
            least_difference=half_width(number, SIGNIFICANCE / len(pairs)),
        )
        for number, (pair, p) in enumerate(zip(pairs, holm(single), strict=True))
    ]


def moderated(variances: Sequence[float], degrees: Sequence[int]) -> list[tuple[float, float]]:
    """For each variance a better estimate and its degrees of freedom, using the distribution of all of them.

    Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray experiments,
    2004, sections 3 and 6.2; degrees are never more than those of all together, nor variances less than 1e-5 of their
    median, as in limma. Unlike there, no variance is lowered: among 71 steady cells one that is four times as noisy
    would be taken for steady too, and give a false alarm in 18 of 100 sweeps instead of in 5.
    """
    if not variances:
        return []
    smallest = max(ROUNDING, 1e-5 * statistics.median(variances))
    floored = [max(variance, smallest) for variance in variances]
    if len(floored) < FEWEST_VARIANCES:
        return [(variance, float(df)) for variance, df in zip(floored, degrees, strict=True)]
    prior_degrees, prior = fitted(floored, degrees)
    better = []
    for variance, df in zip(floored, degrees, strict=True):
        share = df / (prior_degrees + df)  # 0 where the prior's degrees are infinite
        shrunk = share * variance + (1 - share) * prior
        better.append((max(variance, shrunk), min(prior_degrees + df, float(sum(degrees)))))
    return better


def fitted(variances: Sequence[float], degrees: Sequence[int]) -> tuple[float, float]:
    """Degrees of freedom and size of the prior that variances come from: Smyth 2004, section 6.2.

    Degrees are infinite where variances differ no more than by chance.
    """
    logs = [
        math.log(variance) - float(special.digamma(df / 2)) + math.log(df / 2)
        for variance, df in zip(variances, degrees, strict=True)
    ]
    excess = statistics.variance(logs) - statistics.fmean(float(special.polygamma(1, df / 2)) for df in degrees)
    if excess <= 0:
        return math.inf, math.exp(statistics.fmean(logs))
    half = trigamma_inverse(excess)
    return 2 * half, math.exp(statistics.fmean(logs) + float(special.digamma(half)) - math.log(half))


def trigamma_inverse(value: float) -> float:
    """The x above 0 whose trigamma is `value`, by Newton's method on its reciprocal: Smyth 2004, appendix."""
    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, x))
        x += step
        if -step / x < 1e-10:
            break
    return x


def holm(single: Sequence[float]) -> list[float]:
    """p-values corrected so that all together hold one level: Holm, Scandinavian Journal of Statistics 6, 1979."""
    corrected, most = [0.0] * len(single), 0.0
    for rank, number in enumerate(sorted(range(len(single)), key=single.__getitem__)):
        most = max(most, min(1.0, (len(single) - rank) * single[number]))
        corrected[number] = most
    return corrected
