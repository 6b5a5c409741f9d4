"""What one trial found: the latency of eager over that of its conversion, from blocks measured by turns."""

import itertools
import math
import statistics
from collections.abc import Sequence

from sweep import stats

Blocks = Sequence[Sequence[float]]
"""Latencies in seconds, in blocks of calls in a row."""

CALLS, BLOCKS, FEWEST_WINDOWS = 10, 3, 4
"""Calls and blocks of a window at least, as long as there are so many windows."""

DEFAULT_SPREAD = 0.05
"""The standard error, as a share, of a quotient of too few blocks to tell it: a call that takes a second leaves one
block. Ten estimates of 3 s each differed by 1.3 % (EAGER) to 5.8 % (ONNX Runtime)."""


def quotient(eager: Blocks, converted: Blocks) -> tuple[float, float]:
    """The speed-up that a trial found, and its standard error as a share; the blocks are those of eager and conversion.

    With one block of eager (A) more than of the conversion (B) they were measured by turns, A B A B … A. So many blocks
    in a row make a window, m, that it has CALLS calls and BLOCKS blocks of each:

        d_i = (log q(A_i … A_i+m-1) + log q(A_i+1 … A_i+m)) / 2 - log q(B_i … B_i+m-1)

    where q is the lower quartile of the calls: what else a machine does only ever makes calls longer (Chen and Revels,
    Robust benchmarking in noisy environments, 2016). The speed-up is exp(middle of d), so a steady drift of the machine
    cancels, and a window that something else disturbed counts no more than any other: Abedi and Brecht, Conducting
    Repeatable Experiments in Highly Variable Cloud Computing Environments, ICPE 2017, for trials by turns. Between 28
    trials of a model against itself, resnet18 and mobilenet, on two CPUs, that differed by 2.7 and 4.2 % at 1.5 s of
    blocks, and by 2.6 and 2.1 % at 3 s; medians of single blocks, which hold three calls of resnet18, by 18 and 6 %.

    A call of microseconds takes one of two times for a block or more (mlp: 15 or 24 µs), so a window finds the shorter
    in several blocks: 12 trials of mlp's EAGER differed by 0.4 % with windows of three, by 3.1 % with single blocks.

    With any other number of blocks eager was measured before, and it is the quotient of the middles of the blocks' own
    quartiles. Raises ValueError for no blocks, for an empty block, and for a quartile that is not above 0.
    """
    if not eager or not converted or not all(map(len, (*eager, *converted))):
        raise ValueError("a quotient needs blocks of both eager and the conversion, none of them empty")
    if len(eager) != len(converted) + 1:
        before, after = ([_log_quartile([block]) for block in blocks] for blocks in (eager, converted))
        error = math.hypot(_error(before), _error(after))
        return math.exp(_middle(before) - _middle(after)), error
    calls = min(statistics.median(map(len, blocks)) for blocks in (eager, converted))
    size = max(1, min(max(BLOCKS, math.ceil(CALLS / calls)), len(converted) // FEWEST_WINDOWS))
    differences = [
        (_log_quartile(eager[at : at + size]) + _log_quartile(eager[at + 1 : at + size + 1])) / 2
        - _log_quartile(converted[at : at + size])
        for at in range(0, len(converted) - size + 1, size)
    ]
    return math.exp(_middle(differences)), _error(differences, shared=1 / 6 / size)


def _log_quartile(blocks: Blocks) -> float:
    """The logarithm of the lower quartile of all calls in these."""
    return math.log(stats.percentile(sorted(itertools.chain.from_iterable(blocks)), 0.25))


def _middle(values: Sequence[float]) -> float:
    """The median of the means of all pairs, each value with itself among them: nearly as precise as the mean, and as
    little moved by a few wild ones as a median. Hodges and Lehmann, Estimates of Location Based on Rank Tests, 1963.
    """
    return statistics.median((one + other) / 2 for one, other in itertools.combinations_with_replacement(values, 2))


def _error(values: Sequence[float], *, shared: float = 0.0) -> float:
    """The standard error of the middle of these; DEFAULT_SPREAD for fewer than two.

    It is that of a mean with normal values, times sqrt(pi/3) for this middle. Of so few values no estimate that leaves
    out the furthest can tell two states of a process from an outlier, and their interval would be too narrow. `shared`
    is the correlation of neighbours: 1/6 for two d that share a block of eager, if the blocks of both sides vary alike
    (var d = 3/2 var, cov = 1/4 var).
    """
    n = len(values)
    if n < 2:
        return DEFAULT_SPREAD
    return statistics.stdev(values) * math.sqrt(math.pi / 3 / n * (1 + 2 * shared * (n - 1) / n))
