"""Does a sweep announce what is luck, and find what is not? Simulates sweeps with sweep's own estimates and rounds.

In each sweep 45 conversions and EAGER are measured, whose true speed-ups are known; trials differ by 3 % or 6 %. It
prints in how many sweeps something is decided or announced to be faster, how far the figure of what is announced is
from the truth, how often 95 % intervals hold the truth, how wide they are, and how long the rounds take. The way before
was three processes each, Student's t on them, and the highest whose interval is above 1.

    .venv/bin/python scripts/bench/luck.py [SWEEPS] [SEED]
"""

import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sweep.cell import BASELINE, Cell, Device, Measure, Model
from sweep.dispatch.rounds import Next, Rounds
from sweep.evidence import Engine
from sweep.report import best
from sweep.result import Decision, Eager, Fidelity, Latency, Quotient, Result, Speedup
from sweep.status import Status
from sweep.verdict import estimate

CONVERSIONS = 45
SECONDS = 5.0
"""What a trial takes: a light conversion of resnet18, or one whose compile cache is filled."""

WITHIN = 0.4
"""The standard error within a trial, as a share of the standard deviation between trials."""

OWN = 0.022
"""Half of a process's own interval, which the way before did not go below."""

DEFAULT = Measure()

Draw = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A simulated sweep: its rows at the end, the true speed-ups by their ids, and how many further trials it took."""

    rows: Sequence[Result]
    truth: dict[str, float]
    further: int

    @property
    def found(self) -> Result | None:
        """What is announced as the fastest; None for EAGER."""
        fastest = best.fastest(self.rows)
        return fastest if fastest and fastest.conversion != BASELINE and best.beats_baseline(fastest) else None


def simulated(
    truth: Sequence[float], spread: float, draw: Draw, measure: Measure = DEFAULT, *, unlike: float = 0.0
) -> Sweep:
    """One sweep of conversions with these true speed-ups; `draw` returns standard normal numbers.

    Trials of a conversion have the standard deviation `spread` (of the logarithm), which differs from conversion to
    conversion by a factor with a standard deviation of `unlike` (of its logarithm).
    """
    cells = [_cell(number, measure) for number in range(len(truth) + 1)]
    true = {cell.id: value for cell, value in zip(cells, (1.0, *truth), strict=True)}
    spreads = {cell.id: spread * math.exp(unlike * draw()) for cell in cells}

    def trials(asked: Next) -> Iterator[Quotient]:
        for _ in range(asked.count):
            value = true[asked.id] * math.exp(spreads[asked.id] * draw())
            yield Quotient(value=value, spread=WITHIN * spreads[asked.id], round=asked.round, confirms=asked.confirms)

    rows = {cell.id: _row(cell, tuple(trials(Next(id=cell.id, round=1, count=measure.trials)))) for cell in cells}
    rounds, seconds_left, further = Rounds(cells), measure.budget * 60, 0
    while True:
        rows = {row.id: row for row in estimate.estimated(list(rows.values()), cells)}
        asked = rounds.next(rows, seconds_left, lambda _: SECONDS)
        if not asked:
            return Sweep(rows=list(rows.values()), truth=true, further=further)
        for one in asked:
            rows[one.id] = _with(rows[one.id], tuple(trials(one)))
            seconds_left -= one.count * SECONDS
            further += one.count


def _cell(number: int, measure: Measure) -> Cell:
    conversion = f"CONVERSION_{number}" if number else BASELINE
    return Cell(
        id=conversion,
        conversion=conversion,
        mode=None,
        model=Model(name="m", config={}),
        device=Device(name="cpu"),
        measure=measure,
    )


def _row(cell: Cell, quotients: tuple[Quotient, ...]) -> Result:
    latency = Latency(p50=1, p90=1, p99=1, mean=1, std=0, min=1, max=1, n=9, p50_low=1, p50_high=1)
    return Result(
        id=cell.id,
        model="m",
        conversion=cell.conversion,
        device="cpu",
        batch_size=1,
        threads=1,
        status=Status.OK,
        latency_ms=latency,
        eager=Eager(p50_ms=1, n=9),
        speedup=Speedup(value=1, low=1, high=1, quotients=quotients),
        fidelity=Fidelity(rel_l2=0, cosine=1, max_abs=0, top1_agreement=1, inputs=8, tolerance_class="fp32"),
        engine=Engine(requested="e", actual="e", precision="fp32"),
        fingerprint="f",
    )


def _with(row: Result, quotients: tuple[Quotient, ...]) -> Result:
    assert row.speedup is not None
    return replace(row, speedup=replace(row.speedup, quotients=row.speedup.quotients + quotients))


def the_way_before(truth: Sequence[float], spread: float, draw: Draw) -> float | None:
    """The speed-up that is announced, over the truth; None for EAGER."""
    found = []
    for true in truth:
        logs = [math.log(true) + spread * draw() for _ in range(3)]
        middle, half = statistics.median(logs), 4.303 * statistics.stdev(logs) / math.sqrt(3)
        if min(statistics.fmean(logs) - half, min(logs) - OWN) > 0:
            found.append((middle, true))
    return math.exp(max(found)[0]) / max(found)[1] if found else None


def share(count: int, of: int) -> str:
    """A share with its standard error."""
    part = count / of
    return f"{part:.1%} ±{math.sqrt(max(part * (1 - part), 1 / of) / of):.1%}"


def decided_faster(sweep: Sweep) -> bool:
    """Whether a row that is no faster is decided to be."""
    return any(
        row.speedup is not None and row.speedup.decision is Decision.FASTER and sweep.truth[row.id] <= 1
        for row in sweep.rows
    )


def luck(sweeps: int, spread: float, chance: random.Random, *, unlike: float = 0.0) -> None:
    """Prints what comes of conversions that are all truly at 1.00."""
    truth = [1.0] * CONVERSIONS

    def draw() -> float:
        return chance.gauss(0, 1)

    found = [simulated(truth, spread, draw, unlike=unlike) for _ in range(sweeps)]
    announced = [one.found for one in found]
    figures = [row.speedup.value if row and row.speedup else 1.0 for row in announced]
    before = [the_way_before(truth, spread, draw) for _ in range(sweeps)]
    own = f", those of each conversion by × or ÷ {math.exp(unlike):.1f} more or less" if unlike else ""
    print(f"trials differ by {spread:.0%}{own}")
    print(f"  something decided `faster`        {share(sum(map(decided_faster, found)), sweeps)}")
    print(f"  something announced as fastest    {share(sum(row is not None for row in announced), sweeps)}")
    print(f"    the way before                  {share(sum(value is not None for value in before), sweeps)}")
    print(f"  its figure is too high by         {statistics.fmean(figures) - 1:.2%}, at most {max(figures) - 1:.1%}")
    print(f"    the way before                  {statistics.fmean(value or 1 for value in before) - 1:.2%}")
    intervals = [row.speedup for one in found for row in one.rows if row.speedup]
    confirmed = [speedup for speedup in intervals if speedup.confirmed]
    print(f"  95 % intervals that hold 1.00     {held(intervals)}")
    print(f"    of confirmed rows               {held(confirmed)}")
    print(f"  further trials                    {statistics.fmean(one.further for one in found):.0f}", flush=True)


def held(intervals: Sequence[Speedup]) -> str:
    """How many intervals hold 1.00."""
    return share(sum(speedup.low <= 1 <= speedup.high for speedup in intervals), len(intervals))


def power(sweeps: int, spread: float, speedup: float, chance: random.Random) -> None:
    """Prints how often one conversion is found that is truly faster, among others at 1.00."""
    truth = [1.0] * (CONVERSIONS - 1) + [speedup]
    found = [simulated(truth, spread, lambda: chance.gauss(0, 1)) for _ in range(sweeps)]
    right = [one.found for one in found if one.found and one.truth[one.found.id] == speedup]
    wrong = sum(one.found is not None and one.truth[one.found.id] != speedup for one in found)
    figures = [row.speedup.value / speedup - 1 for row in right if row.speedup]
    bias = f", its figure {statistics.fmean(figures):+.1%}" if figures else ""
    announced = f"announced {share(len(right), sweeps)}{bias}; another one {share(wrong, sweeps)}"
    print(f"  {speedup:.2f}x, trials differ by {spread:.0%}: {announced}", flush=True)


def widths(spread: float, chance: random.Random) -> None:
    """Prints how wide 95 % intervals of rows with so many trials are, and how many hold the truth."""
    cells = [_cell(number, DEFAULT) for number in range(CONVERSIONS)]
    of_root: dict[int, float] = {}
    for trials in (3, 5, 10, 20):
        speedups = []
        for _ in range(40):
            values = [[math.exp(chance.gauss(0, spread)) for _ in range(trials)] for _ in cells]
            rows = [
                _row(cell, tuple(Quotient(value=value, spread=WITHIN * spread) for value in row))
                for cell, row in zip(cells, values, strict=True)
            ]
            speedups += [row.speedup for row in estimate.estimated(rows, cells) if row.speedup]
        half = statistics.median(math.log(speedup.high / speedup.low) / 2 for speedup in speedups)
        of_root[trials] = half * math.sqrt(trials)
        shrunk = of_root[trials] / of_root[3]
        print(f"  {trials:>2} trials: ±{half:.2%}, {shrunk:.2f} of the root's; {held(speedups)} hold")


def main(sweeps: int, seed: int) -> None:
    chance = random.Random(seed)
    print(f"{sweeps} sweeps of {CONVERSIONS} conversions truly at 1.00x, {DEFAULT.budget:g} minutes of further trials")
    for spread in (0.03, 0.06):
        luck(sweeps, spread, chance)
    luck(sweeps, 0.03, chance, unlike=0.5)
    print(f"{sweeps // 5} sweeps each, of one conversion that is faster and {CONVERSIONS - 1} at 1.00x")
    for speedup in (1.05, 1.1, 1.5):
        for spread in (0.01, 0.03, 0.06):
            power(sweeps // 5, spread, speedup, chance)
    print("95 % intervals, trials differ by 3 %")
    widths(0.03, chance)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
