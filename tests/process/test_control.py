"""A cell beside its control: two processes, by turns."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from sweep import isolate, reaper
from sweep.cell import Cell, Measure, Model
from sweep.evidence import Further
from sweep.isolate import control, files
from sweep.isolate.exclusive import MachineLock
from sweep.isolate.scratch import Scratch

MakeCell = Callable[..., Cell]
BRIEF = Measure(max_warmup_seconds=0.2, block_seconds=0.02, seconds=0.1, verify_after_calls=0)


@pytest.fixture
def telling(make_cell: MakeCell, tmp_path: Path) -> Callable[..., Cell]:
    """Makes a cell whose model writes down each call: process, beginning and end."""

    def make(**changes: object) -> Cell:
        config = {"_target_": "misbehaving.Misbehaving", "how": "tell each call", "marker": str(tmp_path / "calls")}
        model = Model(name="telling", config={**config, "input": {"shape": [8]}})
        return make_cell(**{"model": model, "measure": BRIEF, **changes})

    return make


def calls(tmp_path: Path) -> list[tuple[int, float, float]]:
    lines = (line.split() for line in (tmp_path / "calls").read_text().splitlines())
    return sorted(((int(pid), float(began), float(ended)) for pid, began, ended in lines), key=lambda call: call[1])


def test_of_two_processes_one_stands_still(
    telling: Callable[..., Cell], supervisor: isolate.Supervisor, tmp_path: Path
) -> None:
    outcome = isolate.run(telling(), supervisor)
    assert outcome.result.status == "ok", outcome.result.message
    of_pid = calls(tmp_path)
    assert len({pid for pid, _, _ in of_pid}) == 2
    assert all(ended <= began for (_, _, ended), (_, began, _) in pairwise(of_pid))  # no two calls at a time
    turns = [pid for (pid, _, _), (other, _, _) in pairwise(of_pid) if pid != other]
    (trial,) = files.trials(outcome.files)
    assert trial.evidence.eager is not None
    assert trial.evidence.converted is not None
    assert len(turns) >= 2 * len(trial.evidence.converted.blocks)
    assert len(trial.evidence.eager.blocks) == len(trial.evidence.converted.blocks) + 1
    assert trial.by_turns


def test_one_control_serves_all_cells_of_its_kind_until_another_is_asked_for(
    telling: Callable[..., Cell], supervisor: isolate.Supervisor, tmp_path: Path
) -> None:
    def controls_of(*cells: tuple[Cell, Further]) -> list[int]:
        """The process that calls first in each: a subject calls only once its control is there."""
        first = []
        for cell, further in cells:
            (tmp_path / "calls").write_text("")
            assert isolate.run(cell, supervisor, further=further).result.status == "ok"
            first += [{pid for pid, _, _ in calls(tmp_path)}]
        return [min(pids) for pids in first]

    eager, traced = telling(id="eager"), telling(id="traced", conversion="JIT_TRACE")
    other = telling(id="other", batch_size=3)
    first, again, larger, second = controls_of(
        (eager, Further()), (traced, Further()), (other, Further()), (eager, Further(control=1))
    )
    assert first == again
    assert len({first, larger, second}) == 3
    assert not Path(f"/proc/{first}").exists()  # the one before has gone
    supervisor.close()
    assert not Path(f"/proc/{larger}").exists()
    assert not Path(f"/proc/{second}").exists()


def test_a_control_that_is_killed_is_replaced(
    telling: Callable[..., Cell], supervisor: isolate.Supervisor, tmp_path: Path
) -> None:
    cell = telling(measure=replace(BRIEF, seconds=1.0))
    killed: list[int] = []

    def kill_when_it_has_its_turns() -> None:
        while len({pid for pid, _, _ in calls(tmp_path)} if (tmp_path / "calls").exists() else ()) < 2:
            time.sleep(0.01)
        time.sleep(0.3)
        killed.append(calls(tmp_path)[0][0])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill_when_it_has_its_turns)
    thread.start()
    row = isolate.run(cell, supervisor).result
    thread.join()
    assert row.status == "ok", row.message
    assert calls(tmp_path)[-1][0] not in killed
    assert len({pid for pid, _, _ in calls(tmp_path)}) == 4  # both were run again


def test_a_model_that_does_not_run_is_tried_once(make_cell: MakeCell, tmp_path: Path) -> None:
    config = {"_target_": "misbehaving.Misbehaving", "how": "count and raise", "marker": str(tmp_path / "marker")}
    model = Model(name="broken", config={**config, "input": {"shape": [8]}})
    with isolate.Supervisor() as supervisor:
        rows = [
            isolate.run(make_cell(id=name, conversion=name, model=model), supervisor).result
            for name in ("EAGER", "JIT_TRACE")
        ]
    assert [(row.reason, row.phase) for row in rows] == [("raised", "eager")] * 2
    assert len((tmp_path / "marker").read_text().split()) == 1


def test_without_memory_for_two_eager_is_measured_before(
    telling: Callable[..., Cell], supervisor: isolate.Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "WITH_ANOTHER", 1e9)
    outcome = isolate.run(telling(seed=5), supervisor)
    assert outcome.result.status == "ok", outcome.result.message
    assert "eager was measured before it, not by turns" in outcome.result.message
    pids = [pid for pid, _, _ in calls(tmp_path)]
    assert len([pid for pid, after in pairwise(pids) if pid != after]) == 1
    assert [trial.by_turns for trial in files.trials(outcome.files)] == [False]


def test_a_supervisor_that_rests_has_no_process_and_keeps_the_folders_of_cells(
    telling: Callable[..., Cell], supervisor: isolate.Supervisor
) -> None:
    cell = telling(seed=6, measure=replace(BRIEF, budget=1))
    first = isolate.run(cell, supervisor)
    with supervisor.slot(cell, None):  # it is here, between two of its trials
        supervisor.rest()
        nurseries = {nursery.pid for nursery in supervisor._pool._nurseries.values()}
        assert nurseries & reaper.descendants(os.getpid())
    supervisor.rest()
    assert not nurseries & reaper.descendants(os.getpid())
    with supervisor.scratch.folder(cell.id, fresh=False, keep=True) as folder:
        assert (folder / "cell.json").exists()
    further = Further(earlier=files.trials(first.files), round=2, count=1, control=1)
    second = isolate.run(cell, supervisor, further=further)
    assert second.result.speedup is not None, second.result.message
    assert len(second.result.speedup.quotients) == 2


def test_further_trials_add_to_those_there_are(telling: Callable[..., Cell], supervisor: isolate.Supervisor) -> None:
    first = isolate.run(telling(), supervisor)
    further = Further(earlier=files.trials(first.files), round=2, confirms=True, count=2)
    second = isolate.run(telling(), supervisor, further=further)
    assert first.result.speedup is not None
    assert second.result.speedup is not None
    assert second.result.speedup.quotients[:1] == first.result.speedup.quotients
    assert [(q.round, q.confirms) for q in second.result.speedup.quotients] == [(1, False), (2, True), (2, True)]
    assert second.result.speedup.trials == 2


def test_the_memory_of_a_conversion_is_its_own(make_cell: MakeCell, supervisor: isolate.Supervisor) -> None:
    """100 MB of weights, and outputs that are small beside them: neither eager's nor the reference's."""
    config = {"_target_": "torch.nn.Linear", "in_features": 5000, "out_features": 5000, "input": {"shape": [5000]}}
    row = isolate.run(make_cell(model=Model(name="large", config=config), measure=BRIEF), supervisor).result
    assert row.memory_mb is not None
    assert 95 < row.memory_mb.rss_peak < 150


def test_compile_caches_stay_for_further_trials_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = Scratch()
    with scratch.folder("a", fresh=True, keep=True) as first:
        (first / "cache").touch()
    with scratch.folder("a", fresh=False, keep=True) as again:
        assert (again / "cache").exists()
    with scratch.folder("b", fresh=True, keep=False) as unwanted:
        pass
    assert not unwanted.exists()
    with scratch.folder("a", fresh=True, keep=True) as anew:
        assert not (anew / "cache").exists()
    assert not again.exists()
    monkeypatch.setattr("sweep.isolate.scratch.FREE_SHARE", 1.1)  # as on a full disk
    with scratch.folder("c", fresh=True, keep=True):
        assert not anew.exists()
    scratch.close()
    assert not anew.parent.exists()


def test_sweeps_of_a_machine_measure_one_at_a_time_and_by_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MachineLock, "POLITE_SECONDS", 3600.0)
    one, other = MachineLock(tmp_path), MachineLock(tmp_path)
    assert one.acquire()
    one.release()
    assert one.acquire()  # nobody waits for it
    assert not other.acquire()
    one.release()
    assert not one.acquire()  # the other one waits for it
    assert other.acquire()
    one.release()  # nobody here wants it any more
    other.release()
    assert other.acquire()
    other.close()
    third = MachineLock(tmp_path)
    assert third.acquire()
    third.close()
    one.close()


def test_a_machine_without_a_place_for_the_lock_can_measure(tmp_path: Path) -> None:
    assert MachineLock(tmp_path / "nowhere").acquire()
