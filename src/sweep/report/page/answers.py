"""The answer of each group of rows: the fastest conversion that is proved, and what it costs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweep.cell import BASELINE
from sweep.reading import one_line
from sweep.report import matrix, text
from sweep.report.best import beats_baseline, fastest, no_winner, rank, speedup_of, why_not
from sweep.result import Result
from sweep.status import Status

MOST_PASSED_OVER = 3
"""How many rows with a higher figure have their reason in an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """A cost of a conversion, in words: error, memory, or time to convert."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer of a group.

    `best` is the `fastest` row where that certainly beats the baseline, else None; `verdict` is what to say then.
    `doubts` are remarks of its message and of the group's EAGER cell, `passed_over` why rows with a higher figure are
    not the best, of which there are `more_passed_over`. `unproved` is the fastest row that is not ok and has a higher
    speed-up, `more_unproved` how many more of them there are.
    """

    title: str
    best: Result | None
    verdict: str
    costs: tuple[Cost, ...] = ()
    doubts: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    more_passed_over: int = 0
    unproved: Result | None = None
    more_unproved: int = 0


def answers(groups: Sequence[tuple[str, Sequence[Result]]]) -> Iterator[Answer]:
    """An answer for each group of `matrix.groups`, in their order."""
    for title, rows in groups:
        winner = fastest(rows)
        best = winner if winner and beats_baseline(winner) else None
        to_beat = speedup_of(best) if best else 1.0
        higher = sorted((row for row in rows if speedup_of(row) > to_beat), key=rank)
        unproved = [row for row in higher if row.status is not Status.OK]
        passed_over = list(_passed_over(rows, higher))
        yield Answer(
            title=title,
            best=best,
            verdict=no_winner(rows),
            costs=tuple(_costs(best)) if best else (),
            doubts=tuple(_doubts(best, rows)) if best else (),
            passed_over=tuple(passed_over[:MOST_PASSED_OVER]),
            more_passed_over=len(passed_over[MOST_PASSED_OVER:]),
            unproved=unproved[0] if unproved else None,
            more_unproved=max(0, len(unproved) - 1),
        )


def _passed_over(rows: Sequence[Result], higher: Sequence[Result]) -> Iterator[str]:
    """Why each proved row with a higher figure than the best is not the best."""
    reasons = why_not(rows)
    for row in higher:
        if row.id in reasons and row.conversion != BASELINE:
            yield f"{one_line(row.conversion)} ({speedup_of(row):.2f}x): {reasons[row.id]}"


def _costs(best: Result) -> Iterator[Cost]:
    if best.fidelity:
        error, cosine = best.fidelity.rel_l2, best.fidelity.cosine
        yield Cost(name="rel. error", value="–" if error is None else f"{error:.1e}")
        yield Cost(name="cosine", value="–" if cosine is None else f"{cosine:.6f}")
    if best.memory_mb:
        cuda = best.memory_mb.cuda_peak
        yield Cost(name="memory", value=f"{best.memory_mb.rss_peak:,.0f} MB")
        if cuda is not None:
            yield Cost(name="device memory", value=f"{cuda:,.0f} MB")
    convert = best.seconds.get("convert")
    yield Cost(name="to convert", value="–" if convert is None else f"{convert:.1f} s")
    calls = text.pays_off(best)
    yield Cost(name="pays off after", value=f"{calls} calls" if calls[:1].isdigit() else calls)


def _doubts(best: Result, rows: Sequence[Result]) -> Iterator[str]:
    """What a reader should know before relying on the best row."""
    yield from filter(None, best.message.split("; "))
    floor = matrix.noise_floor(rows)
    if floor is not None and speedup_of(best) - 1 <= floor.share:
        yield f"A trial of EAGER against itself differs by {text.percent(floor.share)} here: this is no more than that"
