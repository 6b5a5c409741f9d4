"""What cells are forked from stays as fresh as a new interpreter, and gives the same rows."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sweep import isolate, reaper
from sweep.cell import Cell, Measure, Model, Tolerance
from sweep.isolate.pool import ZygotePool
from sweep.isolate.zygote import Nursery
from sweep.result import Result

MakeCell = Callable[..., Cell]
QUICK = Measure(max_warmup_seconds=0.3, block_seconds=0.03, seconds=0.15, budget=0)


def of_this_process() -> int:
    """The process id of the zygote that the last cell was forked from, and not its control."""
    (pid,) = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_ours(entry)]
    return pid


def _is_ours(process: Path) -> bool:
    try:
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        children = (process / "task" / process.name / "children").read_text().split()
        below = {Path(f"/proc/{child}/comm").read_text() for child in children}
        zygote = parent == os.getpid() and (process / "comm").read_text() == "sweep-zygote\n"
        return zygote and "sweep-control\n" not in below
    except OSError:
        return False


def without_times(row: Result) -> dict[str, object]:
    """All of a row that is not a time."""
    assert row.engine is not None
    parts = ("status", "reason", "threads", "fidelity", "node", "hardware", "versions", "compat", "phase")
    return {part: getattr(row, part) for part in parts} | {
        "requested": row.engine.requested,
        "actual": row.engine.actual,
        "precision": row.engine.precision,
        "evidence": {key: value for key, value in row.engine.evidence.items() if key != "cache_hits"},
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "conversion",
    [
        *("EAGER", "EXPORT+EAGER", "JIT_TRACE", "COMPILE_INDUCTOR_DEFAULT", "ONNX_CPU"),
        *("COMPILE_OPENVINO", "OPTIMUM_QUANTO_WI8", "BF16+EAGER", "EXPORT+AI8WI8_STATIC_QUANTIZED"),
    ],
)
def test_a_forked_cell_gives_the_row_of_a_spawned_one(
    make_cell: MakeCell, supervisor: isolate.Supervisor, conversion: str
) -> None:
    layers = [{"_target_": "torch.nn.Linear", "in_features": 64, "out_features": 64}, {"_target_": "torch.nn.ReLU"}]
    config = {"_target_": "torch.nn.Sequential", "_args_": layers * 2, "input": {"shape": [64]}}
    tolerance = dict.fromkeys(("fp32", "bf16", "int8", "int8_static"), Tolerance(rel_l2=0.7))
    values = {"measure": QUICK, "tolerance": tolerance, "batch_size": 8}
    cell = make_cell(conversion=conversion, model=Model(name="m", config=config), **values)
    forked, spawned = (isolate.run(replace(cell, start=start), supervisor).result for start in ("fork", "spawn"))
    assert forked.status == "ok", forked.message
    assert without_times(forked) == without_times(spawned)


def test_a_zygote_stays_single_threaded_whatever_its_cells_do(
    make_cell: MakeCell, supervisor: isolate.Supervisor
) -> None:
    for conversion in ("EAGER", "ONNX_CPU", "COMPILE_OPENVINO"):
        isolate.run(make_cell(conversion=conversion, measure=QUICK, threads=None), supervisor)
        assert len(list(Path(f"/proc/{of_this_process()}/task").iterdir())) == 1


def test_a_zygote_that_died_is_replaced(make_cell: MakeCell, supervisor: isolate.Supervisor) -> None:
    isolate.run(make_cell(measure=QUICK), supervisor)
    before = of_this_process()
    isolate.run(make_cell(measure=QUICK), supervisor)
    assert of_this_process() == before
    os.kill(before, signal.SIGKILL)
    assert isolate.run(make_cell(measure=QUICK), supervisor).result.status == "ok"
    assert of_this_process() != before


def test_cells_that_see_another_environment_get_another_zygote(
    make_cell: MakeCell, supervisor: isolate.Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate.run(make_cell(measure=QUICK), supervisor)
    before = of_this_process()
    monkeypatch.setenv("LC_SOMETHING", "else")
    isolate.run(make_cell(measure=QUICK), supervisor)
    assert of_this_process() != before


@pytest.mark.slow
def test_where_imports_start_threads_cells_are_spawned(
    make_cell: MakeCell, supervisor: isolate.Supervisor, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    )
    cell = make_cell(measure=QUICK, python_path=(str(tmp_path),))
    assert isolate.run(cell, supervisor).result.status == "ok"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    nursery = Nursery("fork", environment)
    assert nursery.start == "spawn"
    nursery.close()


def test_what_a_cell_changes_does_not_reach_the_next(
    make_cell: MakeCell, supervisor: isolate.Supervisor, tmp_path: Path
) -> None:
    """Each cell counts its processes in a module of its own; forked from one another they would count on."""
    (tmp_path / "counting.py").write_text(
        "import os, torch\ncalls = []\n"
        "class Counting(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        calls.append(torch.rand(1).item())\n"
        "        torch.set_default_dtype(torch.float32)\n"
        "        os.environ['LC_LEFT_BEHIND'] = 'yes'\n"
        "        if len(calls) > 1: raise RuntimeError('not fresh')\n"
        "    def forward(self, x): return x * 2\n"
    )
    model = Model(name="counting", config={"_target_": "counting.Counting", "input": {"shape": [8]}})
    for _ in range(2):
        cell = make_cell(model=model, measure=QUICK, python_path=(str(tmp_path),))
        assert isolate.run(cell, supervisor).result.status == "ok"
    assert "LC_LEFT_BEHIND" not in Path(f"/proc/{of_this_process()}/environ").read_text()


def test_a_zygote_serves_one_cell_and_one_environment_at_a_time() -> None:
    pool = ZygotePool(reaper.ORPHAN_ADOPTION)
    first = pool.acquire("spawn", {"PATH": "/usr/bin"})
    second = pool.acquire("spawn", {"PATH": "/usr/bin"})
    assert first is not second
    pool.release(first)
    assert pool.acquire("spawn", {"PATH": "/usr/bin"}) is first
    pool.release(first)
    pool.acquire("spawn", {"PATH": "/bin"})
    assert not first.alive
    assert second.alive
    pool.close()
    assert not second.alive


def test_what_a_killed_zygote_leaves_is_ended_and_nothing_else(
    make_cell: MakeCell, supervisor: isolate.Supervisor, tmp_path: Path
) -> None:
    isolate.run(make_cell(measure=QUICK), supervisor)
    marker = tmp_path / "marker"
    config = {"_target_": "misbehaving.Misbehaving", "how": "leave a daemon and kill the zygote", "marker": str(marker)}
    model = Model(name="m", config={**config, "input": {"shape": [8]}})
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        row = isolate.run(make_cell(model=model, measure=QUICK), supervisor).result
        there = bystander.poll() is None
        bystander.kill()
    assert row.reason == "lost", row.message
    assert not Path(f"/proc/{marker.read_text()}").exists()
    assert there


def test_a_signal_reaches_a_process_however_soon_it_comes(tmp_path: Path) -> None:
    pool = ZygotePool(reaper.ORPHAN_ADOPTION)
    zygote = pool.acquire("fork", {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ})
    codes = set()
    for _ in range(50):
        job = {"module": "sweep.child", "arguments": ["no such cell"], "folder": str(tmp_path), "environment": {}}
        with open(os.devnull, "r+b") as nothing:
            zygote.begin(job, [os.dup(nothing.fileno()) for _ in range(3)])
        zygote.signal(signal.SIGKILL)
        codes.add(zygote.hear()["ended"])
    pool.close()
    assert codes == {-signal.SIGKILL}


@pytest.fixture
def adopts_no_orphans() -> Iterator[None]:
    """This process, whatever supervisors it has, adopts no orphans during a test."""
    before = reaper.adopt_orphans(False)
    yield
    reaper.adopt_orphans(before)


def adopts() -> bool:
    now = reaper.adopt_orphans()
    reaper.adopt_orphans(now)
    return now


@pytest.mark.usefixtures("adopts_no_orphans")
def test_a_process_without_zygotes_adopts_nobodys_orphans() -> None:
    """As a notebook that has run a sweep: what it starts later is not the sweep's."""
    pool = ZygotePool(reaper.OrphanAdoption())
    assert not adopts()
    pool.release(pool.acquire("spawn", {"PATH": "/usr/bin"}))
    assert adopts()
    pool.close()
    assert not adopts()


@pytest.mark.usefixtures("adopts_no_orphans")
@pytest.mark.parametrize("before", [False, True])
def test_orphans_are_adopted_until_the_last_of_several_pools_is_closed(before: bool) -> None:
    reaper.adopt_orphans(before)
    adoption = reaper.OrphanAdoption()
    first, second = ZygotePool(adoption), ZygotePool(adoption)
    for pool in (first, second):
        pool.release(pool.acquire("spawn", {"PATH": "/usr/bin"}))
    first.close()
    first.close()  # which ends nothing of the other's
    assert adopts()
    second.close()
    assert adopts() is before
