"""Whether times of two sweeps differ: moderated t-tests on their logarithms, corrected for the number of tests."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scipy import special

from sweep import stats
from sweep.moderation import holm, moderated

SIGNIFICANCE = 0.05
"""The share of comparisons of unchanged sweeps in which some difference may be found by chance."""


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
