"""What does isolation cost? Starts a process for a cell in several ways, in turn, and watches what waiting takes.

For each way, the medians: milliseconds from the request until the process's first line and until torch is there, and
what share of a core the supervising side uses while the process sleeps. Beside sweep's two ways stand alma's own
multiprocessing, which forks the caller as it is, with all it has run, and optimum-benchmark's process launcher, if
that is installed.

    .venv/bin/python scripts/bench/isolation.py [REPEATS]
"""

import importlib.util
import io
import logging
import os
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

from sweep import inventory, isolate, plan, validate
from sweep.cell import Cell, Model, Status
from sweep.compose import compose
from sweep.isolate import process
from sweep.isolate.zygote import _KEPT

SLEEP = 3.0
MODEL = """
import time, torch
class Sleepy(torch.nn.Module):
    def forward(self, x):
        time.sleep(0.05)
        return x * 2
"""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Milliseconds from the request, and the share of a core."""

    first_line: float
    torch: float
    waiting: float


def main(repeats: int) -> None:
    print(f"medians of {repeats}, after one to warm up")
    print(f"{'way':<36} {'first line ms':>14} {'torch ms':>10} {'waiting':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name, start in _ways(Path(folder)):
            _, *starts = [start() for _ in range(repeats + 1)]
            first = statistics.median(start.first_line for start in starts)
            torch = statistics.median(start.torch for start in starts)
            waiting = statistics.median(start.waiting for start in starts)
            print(f"{name:<36} {first:>14.1f} {torch:>10.1f} {waiting:>9.2%}", flush=True)
    isolate.close()


def _ways(folder: Path) -> Iterator[tuple[str, Callable[[], Start]]]:
    (folder / "sleepy.py").write_text(MODEL)
    cell = _cell(folder)
    yield "sweep, isolate.start=fork", lambda: _by_sweep(replace(cell, start="fork"))
    yield "sweep, isolate.start=spawn", lambda: _by_sweep(replace(cell, start="spawn"))
    yield "alma, multiprocessing=True", lambda: _by_alma(folder)
    if importlib.util.find_spec("optimum_benchmark"):
        yield "optimum-benchmark, launcher=process", lambda: _by_optimum_benchmark(folder)
    else:
        print("optimum-benchmark is not installed, so it is left out")


def _cell(folder: Path) -> Cell:
    composed = compose(["+model=mlp", "conversion=EAGER", "measure=quick", f"hydra.sweep.dir={folder}/run"])
    assert composed is not None
    here = inventory.local()
    (cell,), _ = validate.split(plan.expand(composed[0], here.modes), here)
    model = Model(name="sleepy", config={"_target_": "sleepy.Sleepy", "input": {"shape": [8]}})
    return replace(cell, model=model, python_path=(str(folder),))


def _by_sweep(cell: Cell) -> Start:
    came: list[float] = []
    add = process.Report.add

    def noted(report: process.Report, data: bytes) -> None:
        came.append(time.monotonic())
        add(report, data)

    process.Report.add = noted  # type: ignore[method-assign]
    began, used = time.monotonic(), _used()
    row = isolate.run(cell).result
    share = (_used() - used) / (time.monotonic() - began)
    process.Report.add = add  # type: ignore[method-assign]
    assert row.status is Status.OK, row.message
    return Start(first_line=(came[0] - began) * 1e3, torch=(came[1] - began) * 1e3, waiting=share)


def _used() -> float:
    """CPU seconds of this process and of its zygote, without what they started."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    total = own.ru_utime + own.ru_stime
    for kept in _KEPT:
        user, system = Path(f"/proc/{kept._process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        total += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return total


def _by_alma(folder: Path) -> Start:
    import torch

    from sweep.child import compat

    compat.before_import()
    from alma.utils.multiprocessing.multiprocessing import benchmark_process_wrapper

    began, used = time.monotonic(), _used()
    benchmark_process_wrapper(True, _note_and_sleep, torch.device("cpu"), str(folder / "alma"))
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
    first = time.monotonic()
    import torch  # noqa: F401

    Path(file).write_text(f"{first} {time.monotonic()}")
    time.sleep(SLEEP)
    return {"status": "success"}


def _noted(file: Path, began: float, used: float) -> Start:
    first, torch = (float(moment) for moment in file.read_text().split())
    share = (_used() - used) / (time.monotonic() - began)
    return Start(first_line=(first - began) * 1e3, torch=(torch - began) * 1e3, waiting=share)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
