"""How large may a grid or a cluster be? Plans and validates 1,000 to 100,000 cells, then records and reports them.

For each size: seconds to compose the request, to plan, to validate; to hand out, record and report every cell, with
outcomes that are there at once, so that what is timed is the parent; microseconds of it all, per cell, and KB of memory
that the driver grew by. Then as many cells that can run nowhere: seconds to write their rows, to show them, to have the
page of them, and to show the matrix.

Then 250, 500 and 1,000 nodes, of which a tenth is busy at first, with 20 cells each: seconds to ask them what they
have, to plan, to hand out the cells as they have room, and for the page. Ray is a stand-in, so what is timed is the
driver; the last line has how many times as long it takes for four times the nodes.

At last 1,000 cells go the real way: EAGER on a small model, each in a process of its own, on a local Ray, and come out
at so many a second from the first to the last.

    .venv/bin/python scripts/bench/scale.py [CELLS FOR REAL: 1000, 0 for none]
"""

import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import patch

import scale_nodes
from rich.console import Console

from sweep import app, dispatch, plan
from sweep.cell import Cell
from sweep.dispatch.backlog import Backlog
from sweep.evidence import Engine, Evidence
from sweep.isolate import survey
from sweep.plan import validate
from sweep.plan.cells import expand
from sweep.plan.inventory import Inventory
from sweep.record import RunFolder
from sweep.report.live import Live
from sweep.report.terminal import Board
from sweep.request.compose import compose
from sweep.result import Eager, Fidelity, Latency, Outcome, Result, Speedup, not_run
from sweep.status import Reason, Status

STEPS = ("probing", "planning", "placing", "page")


def main(for_real: int) -> None:
    survey.local()
    print("  cells  compose s   plan s  validate s  the rest s  µs a cell     KB")
    for size in (1_000, 10_000, 100_000):
        # each in a process of its own, so that one's memory is not another's
        subprocess.run([sys.executable, __file__, "planned", str(size)], check=True)
    print("refused  write s  show s  page s  matrix s")
    for size in (1_000, 10_000, 100_000):
        subprocess.run([sys.executable, __file__, "refused", str(size)], check=True)
    print("  nodes   cells  " + "  ".join(f"{step} s" for step in STEPS))
    took = []
    for count in (250, 500, 1_000):
        ran = subprocess.run([sys.executable, __file__, "nodes", str(count)], check=True, capture_output=True)
        took.append(json.loads(ran.stdout))
        seconds = "  ".join(f"{took[-1][step]:>{len(step) + 2}.2f}" for step in STEPS)
        print(f"{count:>7} {took[-1]['cells']:>7}  {seconds}", flush=True)
    times = "  ".join(f"{took[-1][step] / took[0][step]:>{len(step) + 1}.1f}x" for step in STEPS)
    print(f"4 times the nodes{times}")
    if for_real:
        print(f"{for_real} cells for real:", real(for_real), flush=True)


def planned(size: int) -> None:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        here = survey.local()
        batches = math.ceil(size / len(here.modes) / 2)
        before, began = memory(), time.monotonic()
        arguments = ["+model=mlp,resnet", "conversions=all", f"batch_size=range(1,{batches + 1})"]
        composed = compose([*arguments, f"hydra.sweep.dir={folder}/run"])
        assert composed is not None
        requests, settings = composed
        composing, began = time.monotonic() - began, time.monotonic()
        cells = expand(requests, here.modes)
        planning, began = time.monotonic() - began, time.monotonic()
        validate.split_by_eligibility(cells, [here])
        validating, began = time.monotonic() - began, time.monotonic()
        count = len(cells)
        del cells
        with open("/dev/null", "w") as nowhere, patch.object(dispatch, "create", lambda _options: AtOnce(here)):
            app.run(requests, settings, Board(Console(file=nowhere)))
        rest = time.monotonic() - began
        grown = (peak() - before) / count
        each = (composing + planning + validating + rest) / count * 1e6
    print(
        f"{count:>7} {composing:>10.2f} {planning:>8.2f} {validating:>11.2f} {rest:>11.1f} {each:>10.0f} {grown:>6.2f}"
    )


def refused(size: int) -> None:
    """One line of the second table, of batch sizes of conversions that nobody knows."""
    with tempfile.TemporaryDirectory() as name, open(os.devnull, "w") as nowhere:
        here, folder, board = survey.local(), RunFolder(Path(name)), Board(Console(file=nowhere))
        unknown = ",".join(f"NO_SUCH_{number}" for number in range(size // 100))
        composed = compose(["+model=mlp", f"conversion={unknown}", "batch_size=range(1,101)"])
        assert composed is not None
        planned = plan.make(composed[0], [here])
        folder.start(planned.cells, {})
        laps = [time.monotonic()]
        rows = folder.append_all(planned.refused)
        laps.append(time.monotonic())
        board.planned(planned, [], {})
        with board:
            board.refused(rows)
        laps.append(time.monotonic())
        live = Live(name, folder.write)
        live.planned(planned, [], folder.about())
        live.refused(rows)
        live.done(folder.about())
        laps.append(time.monotonic())
        board.show_matrix(rows, folder.path)
        laps.append(time.monotonic())
    writing, showing, paging, of_matrix = (after - before for before, after in itertools.pairwise(laps))
    print(f"{len(rows):>7} {writing:>8.2f} {showing:>7.2f} {paging:>7.2f} {of_matrix:>9.2f}")


class AtOnce:
    """A dispatcher whose cells are all ok before they start."""

    def __init__(self, here: Inventory) -> None:
        self._here = here

    def nodes(self) -> list[Inventory]:
        return [self._here]

    def close(self) -> None:
        pass

    def run(self, backlog: Backlog, started: Callable[[Cell], None]) -> Generator[Outcome, None, None]:
        while cell := backlog.take():
            started(cell)
            yield validate.with_fingerprint(Outcome(result=row(cell, self._here)), cell, self._here)


def row(cell: Cell, here: Inventory) -> Result:
    latency = Latency(p50=1.0, p90=1.1, p99=1.2, mean=1.0, std=0.1, min=0.9, max=1.3, n=30, p50_low=0.95, p50_high=1.05)
    values = asdict(not_run(cell, Reason.LOST, "…")) | {
        "status": Status.OK,
        "reason": None,
        "message": "",
    }
    return replace(
        Result(**values | {"latency_ms": latency, "eager": Eager(p50_ms=1.0, n=30)} | _proof()),
        hardware=here.hardware,
        node=here.node,
        versions=dict(here.versions),
    )


def _proof() -> dict[str, object]:
    return {
        "speedup": Speedup(value=1.0, low=0.9, high=1.1),
        "fidelity": Fidelity(rel_l2=0.0, cosine=1.0, max_abs=0.0, top1_agreement=1.0, inputs=8, tolerance_class="fp32"),
        "engine": Engine(requested="eager", actual="eager", precision="fp32", evidence=asdict(Evidence())),
    }


def memory() -> float:
    """KB that this process holds."""
    return _status("VmRSS")


def peak() -> float:
    """KB that it held at the most."""
    return _status("VmHWM")


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field + ":"))


def real(count: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        measure = [
            f"measure.{name}=0" for name in ("seconds", "block_seconds", "max_warmup_seconds", "verify_after_calls")
        ]
        command = ["+model=mlp", "conversion=EAGER", f"seed=range(0,{count})", "measure=quick", *measure]
        sweep = subprocess.Popen(
            [sys.executable, "-u", "-m", "sweep", *command, f"hydra.sweep.dir={folder}/run"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert sweep.stdout is not None
        began = time.monotonic()
        times = [time.monotonic() for line in sweep.stdout if re.match(r" *\d+/\d+ ", line)]
        whole = time.monotonic() - began
        sweep.wait()
        rows = [json.loads(line) for line in (Path(folder) / "run" / "results.jsonl").read_text().splitlines()]
    ok = sum(row["status"] == "ok" for row in rows)
    rate = (count - 1) / (times[count - 1] - times[0])
    return f"{ok} ok, {rate:.1f} a second, {whole:.0f} s with Ray's start and the report"


if __name__ == "__main__":
    if sys.argv[1:2] == ["planned"]:
        planned(int(sys.argv[2]))
    elif sys.argv[1:2] == ["refused"]:
        refused(int(sys.argv[2]))
    elif sys.argv[1:2] == ["nodes"]:
        print(json.dumps(scale_nodes.seconds(survey.local(), int(sys.argv[2]), row)))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
