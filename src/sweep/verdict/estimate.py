"""What the trials of a whole sweep say: each row's speed-up, how sure that is and what it decides.

A trial is a fresh process, and its quotient one value: processes, not samples, are the independent repetitions
(Georges, Buytaert and Eeckhout, Statistically Rigorous Java Performance Evaluation, OOPSLA 2007). A row has few of
them, so how much they vary is learned from all rows of the same hardware (Smyth, Linear models and empirical Bayes
methods for assessing differential expression in microarray experiments, 2004).

A sweep looks again after each round, and at many rows, so what decides is an interval of a smaller error. Betting
(Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS B 2024) would allow looking at
any time too, but needs bounds on a quotient, which none has, and more trials than a sweep takes.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace

from scipy import special

from sweep.cell import Cell, Measure
from sweep.moderation import ROUNDING, Prior, learned
from sweep.result import Decision, Quality, Quotient, Result, Speedup
from sweep.verdict import figures
from sweep.verdict.decision import decision, errors, group_key

USUAL = Prior(size=0.03**2, degrees=5)
"""How the logarithms of a cell's quotients vary from trial to trial, before any are seen: by 3 %. Measured between
fresh processes: 1.1 % for EAGER to 4.9 % for ONNX Runtime, and five degrees of freedom are as much spread as that."""


def counting(quotients: Sequence[Quotient]) -> tuple[Quotient, ...]:
    """Those that a row's figure is of: those that confirm, if any do; of these the undisturbed, if any are."""
    confirming = [quotient for quotient in quotients if quotient.confirms]
    return _undisturbed(confirming or quotients)


def estimated(rows: Sequence[Result], cells: Iterable[Cell]) -> list[Result]:
    """The rows of a sweep, each with a speed-up and a quality that agree with the quotients of all of them.

    `cells` are theirs. Rows without quotients stay as they are.
    """
    measures = {cell.id: cell.measure for cell in cells}
    of_hardware: dict[str | None, list[Sequence[Quotient]]] = defaultdict(list)
    of_group: dict[Hashable, dict[str, Sequence[Quotient]]] = defaultdict(dict)
    for row in rows:
        if row.speedup and row.speedup.quotients:
            of_hardware[row.fingerprint].append(row.speedup.quotients)
            of_group[group_key(row)][row.id] = counting(row.speedup.quotients)
    priors = {fingerprint: _prior(quotients) for fingerprint, quotients in of_hardware.items()}
    chances = {id_: chance for group in of_group.values() for id_, chance in errors(group).items()}
    return [
        _estimated(row, row.speedup, measures[row.id], priors[row.fingerprint], chances[row.id])
        if row.speedup and row.speedup.quotients
        else row
        for row in rows
    ]


def _undisturbed(quotients: Sequence[Quotient]) -> tuple[Quotient, ...]:
    """Those that were not disturbed, all where all were."""
    return tuple(quotient for quotient in quotients if not quotient.disturbed) or tuple(quotients)


def _mean_of_logs(quotients: Iterable[Quotient]) -> float:
    return statistics.fmean(math.log(quotient.value) for quotient in quotients)


def _variance(quotients: Sequence[Quotient]) -> tuple[float, int]:
    """The variance of the logarithms from trial to trial, and its degrees of freedom: 0 of one trial.

    Those that confirm vary as the others do, so all count, around one mean.
    """
    logs = [math.log(quotient.value) for quotient in _undisturbed(quotients)]
    mean, degrees = statistics.fmean(logs), len(logs) - 1
    return (math.fsum((log - mean) ** 2 for log in logs) / degrees, degrees) if degrees else (0.0, 0)


def _prior(rows: Iterable[Sequence[Quotient]]) -> Prior:
    """How the trials of rows on the same hardware vary, from the rows that have two or more."""
    found = [(variance, degrees) for variance, degrees in map(_variance, rows) if degrees]
    return learned([variance for variance, _ in found], [degrees for _, degrees in found], USUAL)


def _estimated(row: Result, speedup: Speedup, measure: Measure, prior: Prior, error: float) -> Result:
    """A row with the estimate of its speed-up, whose decision may be wrong with the chance `error`."""
    counted = counting(speedup.quotients)
    mean = _mean_of_logs(counted)
    variance, degrees = prior.better(*_variance(speedup.quotients))
    least = statistics.fmean(quotient.spread**2 for quotient in counted)
    least = max(least, figures.luck(speedup.quotients, row.latency_ms, row.eager) ** 2)
    of_mean = math.sqrt(max(variance, least, ROUNDING) / len(counted))

    def half_width(chance: float) -> float:
        return -float(special.stdtrit(degrees, chance / 2)) * of_mean

    half = half_width(0.05)
    decided = decision(mean, half_width(error), measure.margin)
    if all(quotient.disturbed for quotient in counted):
        quality = Quality.DISTURBED
    elif half > measure.precision and decided is Decision.UNDECIDED:
        quality = Quality.ROUGH
    else:
        quality = Quality.FIRM
    better = replace(
        speedup,
        value=math.exp(mean),
        low=math.exp(mean - half),
        high=math.exp(mean + half),
        trials=len(counted),
        decision=decided,
    )
    return replace(row, speedup=better, quality=quality)
