"""What one trial found: the latency of eager over that of its conversion, from blocks measured by turns."""

import math
import statistics
from collections.abc import Sequence
from itertools import combinations_with_replacement

Blocks = Sequence[Sequence[float]]
"""Latencies in seconds, in blocks of calls in a row."""

DEFAULT_SPREAD = 0.05
"""The standard error, as a share, of a quotient of too few blocks to tell it: a call that takes a second leaves one
block. Ten estimates of 3 s each differed by 1.3 % (EAGER) to 5.8 % (ONNX Runtime)."""

NORMAL_MAD = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""


def quotient(eager: Blocks, converted: Blocks) -> tuple[float, float]:
    """The speed-up that a trial found, and its standard error as a share; the blocks are those of eager and conversion.

    With one block of eager (A) more than of the conversion (B) they were measured by turns, A B A B … A:

        d_i = (log median A_i + log median A_i+1) / 2 - log median B_i

    The speed-up is exp(middle of d), so a steady drift of the machine cancels, and a block that something else
    disturbed counts no more than any other: Abedi and Brecht, Conducting Repeatable Experiments in Highly Variable
    Cloud Computing Environments, ICPE 2017, for trials by turns. With any other number of blocks eager was measured
    before, and it is the quotient of the middles of the blocks' medians. Raises ValueError for no blocks, for an empty
    block, and for a median that is not above 0.
    """
    if not eager or not converted or not all(map(len, (*eager, *converted))):
        raise ValueError("a quotient needs blocks of both eager and the conversion, none of them empty")
    before, after = ([math.log(statistics.median(block)) for block in blocks] for blocks in (eager, converted))
    if len(before) != len(after) + 1:
        error = math.hypot(_error(before), _error(after))
        return math.exp(_middle(before) - _middle(after)), error
    pairs = zip(before[:-1], before[1:], after, strict=True)
    differences = [(left + right) / 2 - middle for left, right, middle in pairs]
    return math.exp(_middle(differences)), _error(differences, shared=1 / 6)


def _middle(values: Sequence[float]) -> float:
    """The median of the means of all pairs, each value with itself among them: nearly as precise as the mean, and as
    little moved by a few wild ones as a median. Hodges and Lehmann, Estimates of Location Based on Rank Tests, 1963.
    """
    return statistics.median((one + other) / 2 for one, other in combinations_with_replacement(values, 2))


def _error(values: Sequence[float], *, shared: float = 0.0) -> float:
    """The standard error of the middle of these; DEFAULT_SPREAD for fewer than two.

    The standard deviation comes from the median absolute deviation, with the correction for few values of Croux and
    Rousseeuw, Time-Efficient Algorithms for Two Highly Robust Estimators of Scale, 1992; the middle's error is
    sqrt(pi/3) times a mean's. `shared` is the correlation of neighbours: 1/6 for two d that share a block of eager, if
    the blocks of both sides vary alike (var d = 3/2 var, cov = 1/4 var).
    """
    n = len(values)
    if n < 2:
        return DEFAULT_SPREAD
    middle = statistics.median(values)
    deviation = statistics.median(abs(value - middle) for value in values) * NORMAL_MAD * n / (n - 0.8)
    if deviation == 0:  # more than half are equal, as a coarse clock makes them
        deviation = statistics.stdev(values)
    return deviation * math.sqrt(math.pi / 3 / n * (1 + 2 * shared * (n - 1) / n))
