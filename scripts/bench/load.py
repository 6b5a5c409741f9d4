"""Which load by others moves a speed-up? Trials of the same cells, quiet and beside a neighbour that is busy at times.

The neighbour keeps one CPU busy for a share of every 20 ms. Quiet trials and those of each share take turns. For each
cell and share: what share of all CPUs the trials saw others use, the geometric mean of their quotients over that of
the quiet ones, and how far the furthest was from that. A trial is disturbed from `verdict.figures.QUIET` on.

    .venv/bin/python scripts/bench/load.py [TRIALS: 6] [OVERRIDES…]
"""

import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sweep import isolate
from sweep.cell import Cell
from sweep.evidence import Further
from sweep.isolate import files, survey
from sweep.plan import validate
from sweep.plan.cells import expand
from sweep.request.compose import compose
from sweep.verdict import figures

CELLS = ("+model=resnet,mlp", "conversion=EAGER,ONNX_CPU", "measure.budget=1")
SHARES = (0.0, 0.05, 0.1, 0.2, 0.4, 1.0)

NEIGHBOUR = """
import signal, sys, time
from sweep import reaper
reaper.end_with_parent(signal.SIGKILL)
share = float(sys.argv[1])
while True:
    ends = time.perf_counter() + 0.02 * share
    while time.perf_counter() < ends:
        pass
    time.sleep(0.02 * (1 - share))
"""


def main(trials: int, asked: Sequence[str]) -> None:
    print(f"{'cell':<24} {'neighbour':>9} {'seen':>6} {'quotient / quiet':>17} {'furthest':>9}")
    for cell in cells(asked or CELLS):
        found: dict[float, list[tuple[float, float]]] = {share: [] for share in SHARES}
        with isolate.Supervisor() as supervisor:
            for number in range(trials):
                for share in SHARES:
                    with neighbour(share):
                        found[share].append(trial(cell, supervisor, number))
        show(f"{cell.model.name} {cell.conversion}", found)


def cells(arguments: Sequence[str]) -> list[Cell]:
    composed = compose([*arguments, f"hydra.sweep.dir={tempfile.gettempdir()}/unused"])
    assert composed is not None
    here = survey.local()
    return validate.split_by_eligibility(expand(composed[0], here.modes), [here])[0]


@contextmanager
def neighbour(share: float) -> Iterator[None]:
    if not share:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR, str(share)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def trial(cell: Cell, supervisor: isolate.Supervisor, number: int) -> tuple[float, float]:
    """The logarithm of one trial's quotient, and the share of the CPUs that others used meanwhile."""
    outcome = isolate.run(cell, supervisor, further=Further(count=1, control=number))
    (found,) = files.trials(outcome.files)
    quotient = figures.quotient(found)
    assert quotient is not None, outcome.result.message
    return math.log(quotient.value), figures.load(found).cpu_by_others


def show(name: str, found: dict[float, list[tuple[float, float]]]) -> None:
    quiet = statistics.fmean(value for value, _ in found[0.0])
    for share, trials in found.items():
        moved = [value - quiet for value, _ in trials]
        seen = statistics.median(others for _, others in trials)
        furthest = math.exp(max(moved, key=abs))
        print(
            f"{name:<24} {share:>9.0%} {seen:>6.1%} {math.exp(statistics.fmean(moved)):>17.3f} {furthest:>9.3f}",
            flush=True,
        )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(int(arguments.pop(0)) if arguments and arguments[0].isdigit() else 6, arguments)
