"""The answer to what was asked, group by group: the fastest conversion that is proved, and what it costs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweep.cell import BASELINE
from sweep.reading import one_line
from sweep.report import matrix, text
from sweep.report.best import beats_baseline, fastest
from sweep.result import Result, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """A figure that a conversion is paid for with, in words."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What is known of a group.

    `best` is the `fastest` row, where that beats the baseline for certain, else None. `doubts` are
    what its message and the group's EAGER cell say against it, `unproved` the fastest row that is not ok and yet
    came out faster, of `more_unproved` + 1 such.
    """

    title: str
    best: Result | None
    verdict: str
    costs: tuple[Cost, ...] = ()
    doubts: tuple[str, ...] = ()
    unproved: Result | None = None
    more_unproved: int = 0


def answers(groups: Sequence[tuple[str, Sequence[Result]]]) -> Iterator[Answer]:
    """An answer for each group of `matrix.groups`, in their order."""
    for title, rows in groups:
        proved = [row for row in rows if row.status is Status.OK]
        winner = fastest(rows)
        best = winner if winner and beats_baseline(winner) else None
        reached = best.speedup.value if best and best.speedup else 1.0
        faster = [row for row in rows if row.status is not Status.OK and row.speedup and row.speedup.value > reached]
        faster.sort(key=lambda row: row.speedup.value if row.speedup else 0.0, reverse=True)
        yield Answer(
            title=title,
            best=best,
            verdict=_verdict(rows, proved),
            costs=tuple(_costs(best)) if best else (),
            doubts=tuple(_doubts(best, proved)) if best else (),
            unproved=faster[0] if faster else None,
            more_unproved=max(0, len(faster) - 1),
        )


def _verdict(rows: Sequence[Result], proved: Sequence[Result]) -> str:
    """What there is to say where no row is the best."""
    if others := sum(row.conversion != BASELINE for row in proved):
        said = "the only conversion that is" if others == 1 else f"{others} conversions that are"
        return f"Nothing is faster than eager beyond noise, of {said} proved."
    counted = Counter(row.status for row in rows)
    said = ", ".join(f"{counted[status]} {status}" for status in Status if counted[status])
    return f"No conversion is proved here: {said}."


def _costs(best: Result) -> Iterator[Cost]:
    if best.fidelity:
        error, cosine = best.fidelity.rel_l2, best.fidelity.cosine
        yield Cost(name="rel. error", value="–" if error is None else f"{error:.1e}")
        yield Cost(name="cosine", value="–" if cosine is None else f"{cosine:.6f}")
    if best.memory_mb:
        cuda = best.memory_mb.cuda_peak
        yield Cost(name="memory", value=f"{best.memory_mb.rss_peak:,.0f} MB")
        if cuda is not None:
            yield Cost(name="CUDA memory", value=f"{cuda:,.0f} MB")
    convert = best.seconds.get("convert")
    yield Cost(name="to convert", value="–" if convert is None else f"{convert:.1f} s")
    calls = text.pays_off(best)
    yield Cost(name="pays off after", value=f"{calls} calls" if calls[:1].isdigit() else calls)


def _doubts(best: Result, proved: Sequence[Result]) -> Iterator[str]:
    """What a reader should know before believing it."""
    yield from filter(None, best.message.split("; "))
    assert best.speedup is not None
    wider = [row for row in proved if row.conversion != BASELINE and row.speedup and not beats_baseline(row)]
    for row in wider:
        if row.speedup and row.speedup.value > best.speedup.value:
            name = one_line(row.conversion)
            yield f"{name} came out at {row.speedup.value:.2f}x, but its interval holds 1"
    floor = matrix.noise_floor(proved)
    if floor is not None and best.speedup.value - 1 <= floor:
        yield f"EAGER against itself came out {floor:.1%} from 1.00x here: this is no more than that"
