"""What trials found, from the samples that a run folder keeps: of rows of schema 1, which do not say it themselves."""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sweep.result import Quotient
from sweep.verdict import quotient

STRETCHES = 20
"""Samples that were not taken in blocks are cut into so many stretches of time, to tell how sure their quotient is.

Samples near in time are alike: Law, Simulation Modeling and Analysis, 5th ed., 9.5.3, the method of batch means.
"""


def quotients(samples: Any) -> tuple[Quotient, ...]:
    """The quotient of each process in the content of a `samples.json`; none if sweep does not write that of a cell.

    Each process had an eager of its own, as trials with a control each have.
    """
    try:
        if samples["unit"] != "s":
            return ()
        found = [_quotient(process["eager"], process["conversion"]) for process in samples["processes"]]
    except (LookupError, TypeError, ValueError, ArithmeticError):
        return ()
    if not all(math.isfinite(figure) for both in found for figure in both):
        return ()
    return tuple(Quotient(value=value, spread=spread, round=n, control=n) for n, (value, spread) in enumerate(found, 1))


def _quotient(eager: Sequence[float], converted: Sequence[float]) -> tuple[float, float]:
    """The quotient and its standard error as a share."""
    value = statistics.median(eager) / statistics.median(converted)
    math.log(value)  # raises ValueError for what is no quotient
    parts = min(STRETCHES, len(eager), len(converted))
    return value, quotient.quotient(_stretches(eager, parts), _stretches(converted, parts))[1]


def _stretches(samples: Sequence[float], parts: int) -> list[Sequence[float]]:
    """The samples in so many parts of about equal length."""
    ends = [len(samples) * part // parts for part in range(parts + 1)]
    return [samples[begin:end] for begin, end in pairwise(ends)]
