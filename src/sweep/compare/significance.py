"""Whether times found in two sweeps differ: moderated t-tests on their logarithms, corrected for how many there are."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scipy import special

from sweep import stats

SIGNIFICANCE = 0.05
"""Of all comparisons of unchanged cells, in how many may a difference be told anywhere."""

FEWEST = 20
"""Fewer variances than that do not show how variances spread; each is then taken as it was found."""

ROUNDING = 1e-18
"""Variance of logarithms below which floating point, not the machine, makes the difference."""


class Unit(StrEnum):
    """What was repeated: what a test takes for independent of another."""

    PROCESS = "process"
    BLOCK = "block"


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Logarithms of median latencies: of every process, and where there is one only, of its consecutive blocks."""

    processes: tuple[float, ...]
    blocks: tuple[float, ...] = ()


def timings(samples: object) -> Timings | None:
    """Those of what a `samples.json` says, or None if that is not what sweep writes of a cell that was measured."""
    try:
        if samples["unit"] != "s":  # type: ignore[index]
            return None
        processes = [process["conversion"] for process in samples["processes"]]  # type: ignore[index]
        found = Timings(
            processes=tuple(math.log(statistics.median(process)) for process in processes),
            blocks=tuple(_blocks(processes[0])) if len(processes) == 1 else (),
        )
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return found if all(map(math.isfinite, (*found.processes, *found.blocks))) and processes else None


def _blocks(samples: Sequence[float]) -> Iterable[float]:
    """Logarithms of the medians of the stretches that `stats.median_interval` cuts samples into."""
    size = max(1, len(samples) // stats.BLOCKS)
    for at in range(0, len(samples) - size + 1, size):
        yield math.log(statistics.median(samples[at : at + size]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """What was found on either side of a comparison, as logarithms."""

    base: tuple[float, ...]
    new: tuple[float, ...]
    unit: Unit

    @property
    def difference(self) -> float:
        return statistics.fmean(self.new) - statistics.fmean(self.base)

    @property
    def degrees(self) -> int:
        return len(self.base) + len(self.new) - 2

    @property
    def variance(self) -> float:
        """Pooled over both sides, with `degrees` degrees of freedom."""
        squares = sum(
            (value - middle) ** 2
            for side in (self.base, self.new)
            for middle in (statistics.fmean(side),)
            for value in side
        )
        return squares / self.degrees


def pair(base: Timings, new: Timings) -> Pair | None:
    """The two sides in the unit both have, or None if they are too few to say how much they vary.

    It is the process as soon as one side has two, for that side tells how processes differ. Where neither does, it is
    the block, and how processes differ is unknown.
    """
    if max(len(base.processes), len(new.processes)) > 1:
        sides = Pair(base=base.processes, new=new.processes, unit=Unit.PROCESS)
    else:
        sides = Pair(base=base.blocks, new=new.blocks, unit=Unit.BLOCK)
    return sides if sides.base and sides.new and sides.degrees else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """A difference of logarithms, new less base, its 95 % interval, and its p, corrected for all that were tested.

    `least` is the smallest difference that would have been significant by itself, among as many tests: what lies below
    that could not have been told.
    """

    difference: float
    low: float
    high: float
    p: float
    unit: Unit
    least: float

    @property
    def significant(self) -> bool:
        return self.p <= SIGNIFICANCE


def tested(pairs: Sequence[Pair]) -> list[Tested]:
    """Each pair's two-sided t-test, variances moderated over the pairs of its unit, p corrected over all pairs.

    The interval is its own, not corrected: it says how large a difference may be, p whether there is one.
    """
    known: dict[int, tuple[float, float]] = {}
    for unit in Unit:
        alike = [number for number, one in enumerate(pairs) if one.unit is unit]
        found = moderated([pairs[n].variance for n in alike], [pairs[n].degrees for n in alike])
        known |= dict(zip(alike, found, strict=True))
    errors = [math.sqrt(known[number][0] * (1 / len(one.base) + 1 / len(one.new))) for number, one in enumerate(pairs)]
    single = [
        2 * float(special.stdtr(known[number][1], -abs(one.difference) / error))
        for number, (one, error) in enumerate(zip(pairs, errors, strict=True))
    ]

    def half(number: int, alpha: float) -> float:
        return float(special.stdtrit(known[number][1], 1 - alpha / 2)) * errors[number]

    return [
        Tested(
            difference=one.difference,
            low=one.difference - half(number, 0.05),
            high=one.difference + half(number, 0.05),
            p=p,
            unit=one.unit,
            least=half(number, SIGNIFICANCE / len(pairs)),  # Holm's first step, which the only change must pass
        )
        for number, (one, p) in enumerate(zip(pairs, holm(single), strict=True))
    ]


def moderated(variances: Sequence[float], degrees: Sequence[int]) -> list[tuple[float, float]]:
    """For each variance a better one, and its degrees of freedom, by what all of them have in common.

    Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray experiments,
    2004, sections 3 and 6.2; degrees are never more than those of all together, nor variances less than 1e-5 of their
    median, as in limma. Unlike there, no variance is lowered: among 71 steady cells one that is four times as noisy
    would be taken for steady too, and give a false alarm in 18 of 100 sweeps instead of in 5.
    """
    if not variances:
        return []
    least = max(ROUNDING, 1e-5 * statistics.median(variances))
    own = [max(variance, least) for variance in variances]
    if len(own) < FEWEST:
        return [(variance, float(df)) for variance, df in zip(own, degrees, strict=True)]
    prior_degrees, prior = fitted(own, degrees)
    better = []
    for variance, df in zip(own, degrees, strict=True):
        share = df / (prior_degrees + df)  # 0 where the prior's degrees are infinite
        shrunk = share * variance + (1 - share) * prior
        better.append((max(variance, shrunk), min(prior_degrees + df, float(sum(degrees)))))
    return better


def fitted(variances: Sequence[float], degrees: Sequence[int]) -> tuple[float, float]:
    """Degrees of freedom and size of the prior that variances come from: Smyth 2004, section 6.2.

    Degrees are infinite where variances spread no more than chance alone makes them.
    """
    logs = [
        math.log(variance) - float(special.digamma(df / 2)) + math.log(df / 2)
        for variance, df in zip(variances, degrees, strict=True)
    ]
    spread = statistics.variance(logs) - statistics.fmean(float(special.polygamma(1, df / 2)) for df in degrees)
    if spread <= 0:
        return math.inf, math.exp(statistics.fmean(logs))
    half = trigamma_inverse(spread)
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
