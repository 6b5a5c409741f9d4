"""The answer of each group of rows: the fastest conversion that is proved, and what it costs."""

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
    """A cost of a conversion, in words: error, memory, or time to convert."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer of a group.

    `best` is the `fastest` row where that certainly beats the baseline, else None; `verdict` is what to say then.
    `doubts` are remarks of its message and of the group's EAGER cell. `unproved` is the fastest row that is not ok and
    has a higher speed-up, `more_unproved` how many more of them there are.
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
        to_beat = best.speedup.value if best and best.speedup else 1.0
        faster = [row for row in rows if row.status is not Status.OK and row.speedup and row.speedup.value > to_beat]
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
    """What to say where no row certainly beats the baseline."""
    if number := sum(row.conversion != BASELINE for row in proved):
        conversions = "the only conversion that is" if number == 1 else f"{number} conversions that are"
        return f"Nothing is faster than eager beyond noise, of {conversions} proved."
    by_status = Counter(row.status for row in rows)
    counts = ", ".join(f"{by_status[status]} {status}" for status in Status if by_status[status])
    return f"No conversion is proved here: {counts}."


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
    """What a reader should know before relying on the best row."""
    yield from filter(None, best.message.split("; "))
    assert best.speedup is not None
    uncertain = [row for row in proved if row.conversion != BASELINE and row.speedup and not beats_baseline(row)]
    for row in uncertain:
        if row.speedup and row.speedup.value > best.speedup.value:
            name = one_line(row.conversion)
            yield f"{name} came out at {row.speedup.value:.2f}x, but its interval holds 1"
    noise_floor = matrix.noise_floor(proved)
    if noise_floor is not None and best.speedup.value - 1 <= noise_floor:
        yield f"EAGER against itself came out {noise_floor:.1%} from 1.00x here: this is no more than that"
