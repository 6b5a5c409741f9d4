"""What does the harness add to a cell? Runs one that sleeps, in several ways in turn, and takes off its own work.

For each way, medians: milliseconds that a cell takes in all beyond its own work (sweep: beyond the phases of its row;
the others: beyond its sleep), how often that is sweep's forked cell, milliseconds until the process's first line, and
what share of a core the supervising side uses meanwhile. Beside sweep's two ways stand alma's own, as `benchmark_model`
starts a process for each mode with multiprocessing=True: spawned (what it does for CUDA) and forked (for a CPU, from a
caller as it is); and optimum-benchmark's process launcher, if that is installed.

    .venv/bin/python scripts/bench/overhead.py [REPEATS]
"""

import importlib.util
import io
import logging
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweep import isolate
from sweep.cell import Cell, Model
from sweep.child import compat
from sweep.isolate import output, survey
from sweep.plan import validate
from sweep.plan.cells import expand
from sweep.request.compose import compose
from sweep.status import Status

compat.before_import()  # here, so that a process that alma spawns, which reads this file first, can import it too

SLEEP = 1.0
MODEL = """
import time, torch
class Sleepy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        time.sleep(1)
    def forward(self, x):
        return x * 2
"""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Milliseconds beyond the cell's own work and until its first line, and the share of a core while it slept."""

    overhead: float
    first_line: float
    waiting: float


def main(repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder, isolate.Supervisor() as supervisor:
        ways = list(_ways(Path(folder), supervisor))
        for _, start in ways:
            start()  # to warm up
        found: dict[str, list[Start]] = {name: [] for name, _ in ways}
        for _ in range(repeats):  # in turn, so that a change of the machine meets all alike
            for name, start in ways:
                found[name].append(start())
    print(f"medians of {repeats}")
    print(f"{'way':<36} {'overhead ms':>12} {'ratio':>7} {'first line ms':>14} {'waiting':>9}")
    least = statistics.median(start.overhead for start in found[ways[0][0]])
    for name, starts in found.items():
        overhead, first, waiting = (
            statistics.median(getattr(start, figure) for start in starts)
            for figure in ("overhead", "first_line", "waiting")
        )
        print(f"{name:<36} {overhead:>12.1f} {overhead / least:>7.1f} {first:>14.1f} {waiting:>9.2%}")


def _ways(folder: Path, supervisor: isolate.Supervisor) -> Iterator[tuple[str, Callable[[], Start]]]:
    (folder / "sleepy.py").write_text(MODEL)
    cell = _cell(folder)
    yield "sweep, isolate.start=fork", lambda: _by_sweep(replace(cell, start="fork"), supervisor)
    yield "sweep, isolate.start=spawn", lambda: _by_sweep(replace(cell, start="spawn"), supervisor)
    yield "alma, multiprocessing=True, spawned", lambda: _by_alma("cuda", folder)
    yield "alma, multiprocessing=True, forked", lambda: _by_alma("cpu", folder)
    if importlib.util.find_spec("optimum_benchmark"):
        yield "optimum-benchmark, launcher=process", lambda: _by_optimum_benchmark(folder)
    else:
        print("optimum-benchmark is not installed, so it is left out")


def _cell(folder: Path) -> Cell:
    composed = compose(["+model=mlp", "conversion=EAGER", "measure=quick", f"hydra.sweep.dir={folder}/run"])
    assert composed is not None
    here = survey.local()
    (cell,), _ = validate.split_by_eligibility(expand(composed[0], here.modes), [here])
    model = Model(name="sleepy", config={"_target_": "sleepy.Sleepy", "input": {"shape": [8]}})
    measure = replace(cell.measure, seconds=0.0, block_seconds=0.0, budget=0)
    return replace(cell, model=model, python_path=(str(folder),), measure=measure)


def _by_sweep(cell: Cell, supervisor: isolate.Supervisor) -> Start:
    came: list[float] = []
    add = output.Report.add

    def noted(report: output.Report, data: bytes) -> None:
        came.append(time.monotonic())
        add(report, data)

    output.Report.add = noted  # type: ignore[method-assign]
    began, used = time.monotonic(), _used()
    row = isolate.run(cell, supervisor).result
    seconds, used = time.monotonic() - began, _used() - used
    output.Report.add = add  # type: ignore[method-assign]
    assert row.status is Status.OK, row.message
    work = sum(row.seconds[phase] or 0.0 for phase in row.seconds if phase not in {"total", "waited"})
    return Start(overhead=(seconds - work) * 1e3, first_line=(came[0] - began) * 1e3, waiting=used / seconds)


def _used() -> float:
    """CPU seconds of this process; its zygote's come with what ends, so they are not among them."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def _by_alma(device: str, folder: Path) -> Start:
    import torch
    from alma.utils.multiprocessing.multiprocessing import benchmark_process_wrapper

    began, used = time.monotonic(), _used()
    result = benchmark_process_wrapper(True, _note_and_sleep, torch.device(device), str(folder / "alma"))
    assert result["status"] == "success", result
    return _noted(folder / "alma", began, used)


def _by_optimum_benchmark(folder: Path) -> Start:
    from optimum_benchmark.launchers.process.config import ProcessConfig
    from optimum_benchmark.launchers.process.launcher import ProcessLauncher

    logging.disable()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        launcher = ProcessLauncher(ProcessConfig())
        began, used = time.monotonic(), _used()
        launcher.launch(_report_of_optimum_benchmark, [str(folder / "optimum")])
    return _noted(folder / "optimum", began, used)


def _report_of_optimum_benchmark(file: str) -> Any:
    from optimum_benchmark.benchmark.report import BenchmarkReport

    _note_and_sleep(None, file)
    return BenchmarkReport.from_list(targets=[])


def _note_and_sleep(_device: Any, file: str) -> dict[str, str]:
    """What stands for a cell's work: it imports what alma's conversions are in, as a mode does, and sleeps."""
    first = time.monotonic()
    import alma.conversions.select  # noqa: F401

    Path(file).write_text(str(first))
    time.sleep(SLEEP)
    return {"status": "success"}


def _noted(file: Path, began: float, used: float) -> Start:
    seconds, used = time.monotonic() - began, _used() - used
    first = float(file.read_text())
    return Start(overhead=(seconds - SLEEP) * 1e3, first_line=(first - began) * 1e3, waiting=used / seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
