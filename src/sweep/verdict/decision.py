"""What a speed-up decides, and how sure that must be for a sweep that looks again and again, and at many rows."""

import math
from collections.abc import Hashable, Mapping, Sequence

from sweep.cell import asked
from sweep.result import Decision, Quotient, Result

ERROR = 0.05
"""The chance that anything is decided wrongly about the rows of a group before they are confirmed, and again by
confirming them. Half of each is that something is `faster` which is not: 5 % in all."""

FIRST_CONFIRMATION = 0.9
"""The share of ERROR that the first confirmation of a group takes; each later one takes as much of what is left."""


def group_key(row: Result) -> Hashable:
    """The same for rows that may be compared: model, device, batch size, threads, options, hardware and environment are
    equal. In another environment eager itself may be another, and so what a speed-up is a multiple of.
    """
    options = tuple(sorted(asked(row.overrides).items()))
    return row.model, row.device, row.batch_size, row.threads, options, row.fingerprint, row.environment


def errors(group: Mapping[str, Sequence[Quotient]]) -> dict[str, float]:
    """The chance of a wrong decision that each row of a group may take, by its id.

    `group` holds the quotients, by the row's id, that its figure is of: either all confirm, or none does. Before
    confirmation each row takes an equal part, of which its n-th round of trials is given 6 / (pi² n²), so that all the
    rounds to come take no more together. A confirmation is of a fixed number of trials, with nothing looked at in
    between; what it takes is divided among the rows that are confirmed with it.
    """
    confirmed = {
        id_: max(quotient.round for quotient in quotients) for id_, quotients in group.items() if quotients[0].confirms
    }
    rounds = sorted({quotient.round for id_ in confirmed for quotient in group[id_]})
    found = {}
    for id_, quotients in group.items():
        if last := confirmed.get(id_):
            share = FIRST_CONFIRMATION * (1 - FIRST_CONFIRMATION) ** rounds.index(last)
            together = sum(any(quotient.round == last for quotient in group[other]) for other in confirmed)
            found[id_] = ERROR * share / together
        else:
            looks = len({quotient.round for quotient in quotients})
            found[id_] = ERROR / len(group) * 6 / (math.pi * looks) ** 2
    return found


def decision(mean: float, half: float, margin: float) -> Decision:
    """What a speed-up decides whose logarithm is `mean` ± `half`.

    All above 1 it is `faster`, all below `slower`, even within the margin; `same` if all within the share `margin`.
    """
    if mean - half > 0:
        return Decision.FASTER
    if mean + half < 0:
        return Decision.SLOWER
    return Decision.SAME if abs(mean) + half <= math.log1p(margin) else Decision.UNDECIDED
