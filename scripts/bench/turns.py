"""By turns or one after the other? How far estimates of one speed-up scatter, and whether they agree with long runs.

For each conversion of one model, from the very same trials: the quotient by turns; the quotient of the two halves of
its blocks that lie furthest apart, as if eager had been measured before the conversion; and, beside them, that of long
runs of each alone: LONG processes of eager and as many of the conversion, in turn, 20 s each. Processes differ by luck,
so the last column is how the two means agree, with its standard error. `measure.block_seconds=…` tries other blocks.

    .venv/bin/python scripts/bench/turns.py [TRIALS: 10] [OVERRIDES…]
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict

from sweep import isolate
from sweep.cell import Cell
from sweep.evidence import Further, Trial
from sweep.isolate import files, survey
from sweep.plan import validate
from sweep.plan.cells import expand
from sweep.request.compose import compose
from sweep.verdict.quotient import quotient

CELLS = (
    "+model=resnet",
    "conversion=EAGER,EXPORT+EAGER,JIT_TRACE,ONNX_CPU,COMPILE_INDUCTOR_DEFAULT,EXPORT+AOT_INDUCTOR,COMPILE_OPENVINO,"
    "BF16+EAGER",
)
LONG = 3

ALONE = """
import json, sys
from sweep import reading
from sweep.cell import Cell
from sweep.child import threads
cell = reading.of(Cell).validate_python(json.loads(sys.argv[1]))
threads.pin(cell.threads)
import torch
from torch.utils import benchmark
from sweep.child import convert
from sweep.child.benchmark import Baseline, Conversion
from sweep.child.measure import Timer
device = torch.device("cpu")
convert.prepare(cell.threads)
baseline = Baseline(cell, device, Timer(device))
forward, data = baseline.model.forward, baseline.example
if sys.argv[2] == "converted":
    conversion = Conversion(baseline)
    conversion.convert()
    forward, data = conversion.forward, conversion.data
with torch.no_grad():
    for _ in range(20):
        forward(data)
    names = {"forward": forward, "data": data}
    timer = benchmark.Timer("forward(data)", globals=names, num_threads=torch.get_num_threads())
    print(timer.blocked_autorange(min_run_time=float(sys.argv[3])).median)
"""


def main(trials: int, asked: Sequence[str]) -> None:
    print(f"{'conversion':<26} {'by turns':>9} {'sd':>6} {'one after the other':>20} {'sd':>6} {'long runs':>10} ratio")
    for cell in cells(asked or CELLS):
        measured = measure(cell, trials)
        turns = [quotient(t.evidence.eager.blocks, t.evidence.converted.blocks)[0] for t in measured if both(t)]
        halves = [one_after_the_other(trial) for trial in measured if both(trial)]
        long = [alone(cell, "eager") / alone(cell, "converted") for _ in range(LONG)]
        error = math.hypot(spread(turns) / math.sqrt(len(turns)), spread(long) / math.sqrt(LONG))
        print(
            f"{cell.conversion:<26} {middle(turns):>8.3f}x {spread(turns):>6.1%} {middle(halves):>19.3f}x "
            f"{spread(halves):>6.1%} {middle(long):>9.3f}x {middle(turns) / middle(long):.3f} ± {error:.3f}",
            flush=True,
        )


def cells(arguments: Sequence[str]) -> list[Cell]:
    composed = compose([*arguments, f"hydra.sweep.dir={tempfile.gettempdir()}/unused"])
    assert composed is not None
    here = survey.local()
    return validate.split_by_eligibility(expand(composed[0], here.modes), [here])[0]


def measure(cell: Cell, trials: int) -> tuple[Trial, ...]:
    """Trials, each with a control of its own."""
    found: tuple[Trial, ...] = ()
    with isolate.Supervisor() as supervisor:
        for number in range(trials):
            outcome = isolate.run(cell, supervisor, further=Further(earlier=found, count=1, control=number))
            found = files.trials(outcome.files)
    return found


def both(trial: Trial) -> bool:
    return trial.evidence.eager is not None and trial.evidence.converted is not None


def one_after_the_other(trial: Trial) -> float:
    """From the first half of eager's blocks and the last of the conversion's."""
    assert trial.evidence.eager and trial.evidence.converted
    before, after = trial.evidence.eager.blocks, trial.evidence.converted.blocks
    return quotient(before[: len(before) // 2], after[-(len(before) // 2) :])[0]


def alone(cell: Cell, which: str) -> float:
    """Median seconds of a call in a long run, in a process of its own."""
    described = json.dumps(asdict(cell))
    ended = subprocess.run(
        [sys.executable, "-c", ALONE, described, which, "20"], capture_output=True, text=True, check=True
    )
    return float(ended.stdout.split()[-1])


def middle(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def spread(values: Sequence[float]) -> float:
    return statistics.stdev(map(math.log, values))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(int(arguments.pop(0)) if arguments and arguments[0].isdigit() else 10, arguments)
