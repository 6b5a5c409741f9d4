"""While one cell measures, what could disturb it stands still, and it is nobody's loss."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import marked_processes

from sweep import isolate
from sweep.cell import Cell, Exclusive, Limits, Measure, Model
from sweep.isolate.exclusive import MeasureLock, Turn
from sweep.isolate.process import NodeMemory

MakeCell = Callable[..., Cell]

FAMILY = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
if os.fork():
    print("ready", flush=True)
while True:
    time.sleep(0.01)
"""


def nothing() -> None:
    pass


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A process that stands for a zygote, with a child, and a grandchild in a session of its own."""
    process = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    below = descendants(process.pid)
    yield process
    for pid in (*below, process.pid):
        os.kill(pid, 9)
    process.wait()
    process.stdout.close()
    while marked_processes().keys() & {*below}:  # a signal is heard when the kernel gets to it
        time.sleep(0.001)


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(below for child in children for below in descendants(child))]


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def until(pids: list[int], *, stand_still: bool) -> None:
    """A signal is heard when the kernel gets to it: wait for that, or for ever."""
    while any(stopped(pid) is not stand_still for pid in pids):
        time.sleep(0.001)


class Node:
    """A lock and the turns of cells, each with a pipe on which the cell is told that it has its turn."""

    def __init__(self, cpus: int = 2) -> None:
        self.lock = MeasureLock(cpus)
        self.pipes: dict[int, tuple[int, int]] = {}
        self.present = ExitStack()

    def turn(self, exclusive: Exclusive = "device", gpu: int | None = None) -> Turn:
        turn = Turn(exclusive=exclusive, gpu=gpu)
        self.present.enter_context(self.lock.present(turn, nothing))
        self.pipes[id(turn)] = os.pipe()
        os.set_blocking(self.pipes[id(turn)][0], False)
        return turn

    def ask(self, turn: Turn) -> bool:
        """A cell asks for its turn; whether it has it at once."""
        self.lock.ask(turn, self.pipes[id(turn)][1])
        return self.has(turn)

    def has(self, turn: Turn) -> bool:
        """Whether a cell was told that it has its turn, since it was asked last."""
        try:
            return os.read(self.pipes[id(turn)][0], 10) == b"."
        except BlockingIOError:
            return False


def test_the_others_stand_still_with_all_they_started_and_then_go_on(family: subprocess.Popen[str]) -> None:
    node = Node()
    measuring, other = node.turn(), node.turn()
    other.zygote = family.pid
    below = descendants(family.pid)
    assert len(below) == 2
    assert node.ask(measuring)
    until(below, stand_still=True)
    assert not stopped(family.pid)  # it would not hear that its cell ended
    node.lock.leave(measuring)
    until(below, stand_still=False)


def test_a_process_that_begins_during_a_measurement_stands_still(family: subprocess.Popen[str]) -> None:
    node = Node()
    measuring, other = node.turn(), node.turn()
    assert node.ask(measuring)
    other.zygote = family.pid
    node.lock.began(other)
    until(descendants(family.pid), stand_still=True)
    node.lock.remove(other)
    until(descendants(family.pid), stand_still=False)


def test_turns_come_in_the_order_of_asking_and_the_dead_lose_theirs() -> None:
    node = Node()
    first, second, third = (node.turn() for _ in range(3))
    assert node.ask(first)
    assert not node.ask(second)
    assert not node.ask(third)
    node.lock.remove(first)  # it died
    assert node.has(second)
    assert not node.has(third)
    node.lock.leave(second)
    assert node.has(third)


@pytest.mark.parametrize(
    ("exclusive", "gpus", "together"),
    [
        ("device", (0, 1), True),
        ("device", (0, 0), False),
        ("device", (0, None), False),  # what is measured on the CPUs wants all of them
        ("node", (0, 1), False),
        ("none", (None, None), True),
    ],
)
def test_what_may_be_measured_together(
    exclusive: Exclusive, gpus: tuple[int | None, int | None], together: bool
) -> None:
    node = Node()
    first, second = (node.turn(exclusive, gpu) for gpu in gpus)
    assert node.ask(first)
    assert node.ask(second) is together


def test_beside_a_measurement_on_a_gpu_half_of_the_cpus_stay_idle() -> None:
    node = Node(cpus=4)
    measuring, *others = node.turn("device", 0), *(node.turn("device", 1) for _ in range(4))
    assert node.ask(measuring)
    assert [turn.stopped is None for turn in others] == [True, True, False, False]
    node.lock.leave(measuring)
    assert all(turn.stopped is None for turn in others)


def test_who_comes_during_a_measurement_waits_outside() -> None:
    node = Node()
    measuring = node.turn()
    assert node.ask(measuring)
    inside = threading.Event()

    def enter() -> None:
        with node.lock.present(Turn(exclusive="device", gpu=None), nothing):
            inside.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not inside.wait(0.3)
    node.lock.leave(measuring)
    assert inside.wait(10)
    thread.join()


def test_the_time_of_waiting_is_known_for_any_span() -> None:
    turn = Turn(exclusive="device", gpu=None)
    turn.pauses = [(10.0, 12.0), (20.0, 21.0)]
    assert turn.paused(0, 100) == pytest.approx(3)
    assert turn.paused(11, 20.5) == pytest.approx(1.5)
    turn.paused_since = 90.0
    assert turn.paused(80, 100) == pytest.approx(10)


def test_a_cell_that_holds_the_most_goes_when_all_hold_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.machine.memory", lambda: 1000)
    memory = NodeMemory()
    small, large = (Turn(exclusive="device", gpu=None) for _ in range(2))
    assert not memory.too_much(large, 800)  # alone, its own limit speaks
    assert not memory.too_much(small, 150)
    assert memory.too_much(large, 800)
    memory.forget(small)
    assert not memory.too_much(large, 800)


QUICK = Measure(max_warmup_seconds=0.2, block_seconds=0.03, seconds=0.15, budget=0)


def behaving(make_cell: MakeCell, id_: str, how: str, marker: Path | None = None, **changes: object) -> Cell:
    config = {"_target_": "misbehaving.Misbehaving", "how": how, "marker": str(marker or ""), "input": {"shape": [8]}}
    return make_cell(id=id_, model=Model(name="m", config=config), **{"measure": QUICK} | changes)


def test_waiting_for_its_turn_counts_against_no_deadline(make_cell: MakeCell, tmp_path: Path) -> None:
    """One cell measures for longer than the other may take in all."""
    marker = tmp_path / "has its turn"
    with isolate.Supervisor(cells=2) as supervisor, ThreadPoolExecutor() as threads:
        patient = make_cell(id="b", measure=QUICK, limits=Limits(total=4))
        isolate.run(patient, supervisor)  # to have its control
        holder = threads.submit(isolate.run, behaving(make_cell, "a", "hold its turn", marker), supervisor)
        while not marker.exists():
            assert not holder.done(), holder.result().result.message
            time.sleep(0.01)
        row = threads.submit(isolate.run, patient, supervisor).result().result
    assert holder.result().result.status == "ok"
    assert row.status == "ok", row.message
    waited, total = row.seconds["waited"], row.seconds["total"]
    assert waited is not None
    assert total is not None
    assert waited > total


def test_cells_that_die_in_their_turn_leave_the_others_theirs(make_cell: MakeCell) -> None:
    ways = ["segfault", "well", "os._exit", "well", "kill the zygote", "well", "raise", "well"]
    cells = [behaving(make_cell, f"{number}", how) for number, how in enumerate(ways)]
    with isolate.Supervisor(cells=3) as supervisor, ThreadPoolExecutor(3) as threads:
        rows = [outcome.result for outcome in threads.map(lambda cell: isolate.run(cell, supervisor), cells)]
    reasons = [row.reason or row.status for row in rows]
    assert reasons == ["signal", "ok", "no-report", "ok", "lost", "ok", "raised", "ok"]


def test_cells_are_at_work_at_the_same_time(make_cell: MakeCell, tmp_path: Path) -> None:
    """Each waits, while its model is built, until the other is there: two controls, for two seeds."""
    marker = tmp_path / "marker"
    cells = [replace(behaving(make_cell, str(seed), "wait for company", marker), seed=seed) for seed in (1, 2)]
    with isolate.Supervisor(cells=2) as supervisor, ThreadPoolExecutor(2) as threads:
        rows = [outcome.result for outcome in threads.map(lambda cell: isolate.run(cell, supervisor), cells)]
    assert [row.status for row in rows] == ["ok", "ok"], rows[0].message


def test_a_supervisor_that_ends_ends_its_cells(make_cell: MakeCell, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with isolate.Supervisor(cells=2) as supervisor, ThreadPoolExecutor() as threads:
        hanging = threads.submit(
            isolate.run, behaving(make_cell, "a", "leave a grandchild and hang", marker), supervisor
        )
        while not marker.exists():
            time.sleep(0.01)
        waiting = threads.submit(isolate.run, make_cell(id="b", measure=QUICK), supervisor)
        supervisor.end()
        for running in (hanging, waiting):
            with pytest.raises(isolate.Withdrawn):
                running.result()
