"""By turns or one after the other? How far estimates of one speed-up scatter, and whether turns bias them.

For each conversion of one model, from the very same trials: the quotient by turns; and the quotient of the two halves
of its blocks that lie furthest apart, as if eager had been measured before the conversion.

Beside them pairs of processes, one of eager and one of the conversion, which are measured by turns in short blocks, and
each for LONG_SECONDS on end, while the other stands still. Processes differ by luck, by 5 % and more, but no process
differs from itself; so the last columns, the quotient by turns over that of the long runs, show a bias of taking turns,
with its standard error over pairs: by the lower quartile, as a trial's quotient is, and then with the long runs by
their medians, as torch.utils.benchmark has them; and how much longer eager itself takes by turns.
`measure.block_seconds=…` tries other blocks.

    .venv/bin/python scripts/bench/turns.py [TRIALS: 10] [OVERRIDES…]
"""

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

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
PAIRS, LONG_SECONDS, SHORT_BLOCKS = 5, 5.0, 24
"""Pairs of processes; the seconds of a long run, of which each process has two; and its blocks by turns before each."""

PROCESS = """
import json, sys
from dataclasses import replace
from sweep import reading
from sweep.cell import Cell
from sweep.child import threads
cell = reading.of(Cell).validate_python(json.loads(sys.argv[1]))
allowed = threads.wanted(cell.threads)
threads.pin(allowed)
import torch
from sweep.child import convert
from sweep.child.benchmark import Baseline, Conversion
from sweep.child.measure import Subject, Timer
device = torch.device("cpu")
timer = Timer(device)
convert.prepare(allowed)
baseline = Baseline(cell, device, timer)
forward, data = baseline.model.forward, baseline.example
if sys.argv[2] == "converted":
    conversion = Conversion(baseline)
    conversion.convert()
    forward, data = conversion.forward, conversion.data
with torch.no_grad():
    Subject(forward, lambda: data, timer, cell.measure).warm_up()
    print("[]", flush=True)
    for line in sys.stdin:
        measure = replace(cell.measure, block_seconds=float(line))
        print(json.dumps(Subject(forward, lambda: data, timer, measure).take_block()), flush=True)
"""


def main(trials: int, asked: Sequence[str]) -> None:
    titles = f"{'conversion':<26} {'by turns':>9} {'sd':>6} {'one after the other':>20} {'sd':>6}"
    print(f"{titles} {'long runs':>10} {'bias':<13} {'by medians':<13} of eager", flush=True)
    for cell in cells(asked or CELLS):
        measured = measure(cell, trials)
        turns = [quotient(t.evidence.eager.blocks, t.evidence.converted.blocks)[0] for t in measured if both(t)]
        halves = [one_after_the_other(trial) for trial in measured if both(trial)]
        pairs = [pair(cell) for _ in range(PAIRS)]
        biases, by_median = ([pair[0] / pair[way] for pair in pairs] for way in (1, 2))
        print(
            f"{cell.conversion:<26} {middle(turns):>8.3f}x {spread(turns):>6.1%} {middle(halves):>19.3f}x "
            f"{spread(halves):>6.1%} {middle(pair[1] for pair in pairs):>9.3f}x "
            f"{with_error(biases)} {with_error(by_median)} {with_error([pair[3] for pair in pairs])}",
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


PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}


class Process:
    """A process of a cell, of eager or of its conversion, that stands still unless it is asked for a block."""

    def __init__(self, cell: Cell, which: str) -> None:
        command = [sys.executable, "-c", PROCESS, json.dumps(asdict(cell)), which]
        self._process = subprocess.Popen(command, text=True, **PIPES)

    def ready(self) -> None:
        """Wait until it has warmed up."""
        self._answer()
        os.kill(self._process.pid, signal.SIGSTOP)

    def block(self, seconds: float) -> list[float]:
        assert self._process.stdin
        os.kill(self._process.pid, signal.SIGCONT)
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        found = self._answer()
        os.kill(self._process.pid, signal.SIGSTOP)
        return found

    def _answer(self) -> list[float]:
        assert self._process.stdout
        for line in self._process.stdout:  # conversions may print, too
            if line.startswith("["):
                found: list[float] = json.loads(line)
                return found
        raise RuntimeError("a process of the pair ended")

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def pair(cell: Cell) -> tuple[float, float, float, float]:
    """The speed-up in one pair of processes, by turns and in long runs, of these by quartiles and by medians; and by
    how much eager itself takes longer by turns than in long runs."""
    eager, converted = (Process(cell, which) for which in ("eager", "converted"))
    blocks: dict[str, tuple[list[list[float]], list[list[float]]]] = {"short": ([], []), "long": ([], [])}
    try:
        eager.ready(), converted.ready()
        lengths = [*["short"] * SHORT_BLOCKS, "long"] * 2
        for number, length in enumerate(lengths):
            seconds = cell.measure.block_seconds if length == "short" else LONG_SECONDS
            sides = list(zip((eager, converted), blocks[length], strict=True))
            for process, found in sides if number % 2 else reversed(sides):
                found.append(process.block(seconds))
    finally:
        eager.end(), converted.end()
    short, long = (quotient(*blocks[length])[0] for length in ("short", "long"))
    medians = [statistics.median(call for block in side for call in block) for side in blocks["long"]]
    own = quotient(blocks["short"][0], blocks["long"][0])[0]
    return short, long, medians[0] / medians[1], own


def with_error(quotients: Sequence[float]) -> str:
    return f"{middle(quotients):.3f} ± {spread(quotients) / math.sqrt(len(quotients)):.3f}"


def middle(values: Iterable[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def spread(values: Sequence[float]) -> float:
    return statistics.stdev(map(math.log, values))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(int(arguments.pop(0)) if arguments and arguments[0].isdigit() else 10, arguments)
