"""Which conversion is the fastest, for the page, `sweep.pick` and `Run.best` alike, and why the others are not."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sweep.cell import BASELINE
from sweep.reading import one_line
from sweep.report import matrix, text
from sweep.result import Decision, Quality, Result
from sweep.status import Status


def fastest(rows: Iterable[Result]) -> Result | None:
    """The fastest row of rows that may be compared; None where none can be called that.

    Only what is proved and firm is a candidate; once any candidate is confirmed, only those that are. Of the candidates
    that certainly beat the baseline it is the one that led before confirmation, by `chosen_by`, unless another's whole
    interval lies above its own: the highest of several confirmed figures would again be the one that was luckiest.
    Where none beats the baseline it is the baseline, of which nothing is claimed, so it may be rough, but not
    disturbed. Where that is not there, it is the candidate with the highest speed-up.
    """
    rows = list(rows)
    candidates = _candidates(rows)
    if winner := _leader([row for row in candidates if beats_baseline(row)]):
        return winner
    baseline = [row for row in rows if row.conversion == BASELINE and row.status is Status.OK]
    undisturbed = [row for row in baseline if not text.is_disturbed(row)]
    return next(iter([*undisturbed, *sorted(candidates, key=rank)]), None)


def _candidates(rows: Iterable[Result]) -> list[Result]:
    """The rows but the baseline that are proved and firm: those that are confirmed, where any is."""
    firm = [row for row in rows if _is_firm(row) and row.conversion != BASELINE]
    return [row for row in firm if _is_confirmed(row)] or firm


def _is_firm(row: Result) -> bool:
    """Whether a row is proved and its figures are firm; rows of schema 1 have no quality, and are taken as they are."""
    return row.status is Status.OK and row.quality in {Quality.FIRM, None}


def _is_confirmed(row: Result) -> bool:
    return row.speedup is not None and row.speedup.confirmed


def _leader(rows: Sequence[Result]) -> Result | None:
    """The row that led before confirmation, or one whose whole interval lies above that one's, if there is any."""
    leader = None
    above = list(rows)
    while above:
        leader = min(above, key=lambda row: (-chosen_by(row), row.conversion))
        highest = leader.speedup.high if leader.speedup else 0.0
        above = [row for row in rows if row.speedup and row.speedup.low > highest]
    return leader


def chosen_by(row: Result) -> float:
    """The figure that a row was chosen by: the geometric mean of its undisturbed trials that do not confirm it.

    Where it has no such trials, it is its speed-up.
    """
    quotients = row.speedup.quotients if row.speedup else ()
    values = [quotient.value for quotient in quotients if not quotient.confirms and not quotient.disturbed]
    return statistics.geometric_mean(values) if values else speedup_of(row)


def beats_baseline(row: Result) -> bool:
    """Whether a row is proved and firm, and certainly faster than the baseline. The baseline never beats itself."""
    return _is_firm(row) and row.conversion != BASELINE and text.decision(row) is Decision.FASTER


def rank(row: Result) -> tuple[bool, float, str]:
    """Sorts the row with the highest speed-up first, and what was disturbed or has none last."""
    return text.is_disturbed(row), -speedup_of(row), row.conversion


def headline(rows: Sequence[Result]) -> str:
    """What rows that may be compared come to: the fastest and its speed-up, or why there is none."""
    winner = fastest(rows)
    if winner and beats_baseline(winner):
        return f"Fastest: {one_line(winner.conversion)}, {text.speedup(winner)} ({text.interval(winner)})."
    return no_winner(rows)


def no_winner(rows: Sequence[Result]) -> str:
    """What to say of rows of which none certainly beats the baseline."""
    proved = [row for row in rows if row.status is Status.OK and row.conversion != BASELINE]
    if proved:
        of = "the only conversion that is" if len(proved) == 1 else f"{len(proved)} conversions that are"
        confirming = any(map(_is_confirmed, _candidates(rows)))
        said = Counter(_standing(row, confirming=confirming) for row in proved)
        counts = ", ".join(f"{number} {word}" if len(proved) > 1 else word for word, number in said.most_common())
        return f"Nothing is faster than eager for certain, of {of} proved: {counts}."
    conversions = [row for row in rows if row.conversion != BASELINE]
    counts = ", ".join(f"{number} {status}" for status, number in matrix.counts(conversions).items())
    return f"No conversion is proved here: {counts}." if counts else "There is only eager here."


def _standing(row: Result, *, confirming: bool) -> str:
    """What keeps an ok row from being the fastest, or `faster`; `confirming` is whether any candidate is confirmed."""
    if row.quality in {Quality.DISTURBED, Quality.ROUGH}:
        return str(row.quality)
    decided = text.decision(row)
    if decided is Decision.FASTER and confirming and not _is_confirmed(row):
        return "not confirmed"
    return str(decided)


_REASONS = {
    "disturbed": "disturbed: others used the machine in every trial, or it was throttled",
    "rough": "rough: its interval is wider than asked, and decides nothing",
    "undecided": "undecided: it may be no faster than eager",
    "same": "as fast as eager, within measure.margin",
    "slower": "slower than eager",
    "not confirmed": "not confirmed, as others are: its figure may be luck",
}
"""Reasons why a row is passed over, by its `_standing`."""


def why_not(rows: Sequence[Result]) -> Mapping[str, str]:
    """Why proved rows cannot be the fastest of these, by their ids. The baseline has a reason only where disturbed."""
    confirming = any(map(_is_confirmed, _candidates(rows)))
    proved = [row for row in rows if row.status is Status.OK]
    standings = {
        row.id: _standing(row, confirming=confirming)
        for row in proved
        if row.conversion != BASELINE or text.is_disturbed(row)
    }
    return {id_: _REASONS[word] for id_, word in standings.items() if word in _REASONS}


def speedup_of(row: Result) -> float:
    """The speed-up of a row; 0 where it has none."""
    return row.speedup.value if row.speedup else 0.0
