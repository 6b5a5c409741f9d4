"""While one cell measures, what could disturb it stands still, and it is nobody's loss."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from sweep import isolate
from sweep.cell import Cell, Exclusive, Limits, Measure, Model
from sweep.isolate.exclusive import MeasureLock, Turn
from sweep.isolate.process import Tally

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


def descendants(pid: int) -> list[int]:
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*found, *(below for child in found for below in descendants(child))]


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def until(pids: list[int], *, stand_still: bool) -> None:
    """A signal is heard when the kernel gets to it: wait for that, or for ever."""
    while any(stopped(pid) is not stand_still for pid in pids):
        time.sleep(0.001)


class Table:
    """Turns on a lock, each with a pipe on which it hears that the lock is its own."""

    def __init__(self, cpus: int = 2) -> None:
        self.lock = MeasureLock(cpus)
        self.ears: dict[int, tuple[int, int]] = {}
        self.there = ExitStack()

    def turn(self, exclusive: Exclusive = "device", gpu: int | None = None) -> Turn:
        turn = Turn(exclusive=exclusive, gpu=gpu)
        self.there.enter_context(self.lock.entered(turn, nothing))
        self.ears[id(turn)] = os.pipe()
        os.set_blocking(self.ears[id(turn)][0], False)
        return turn

    def ask(self, turn: Turn) -> bool:
        """Ask for the lock; whether it was granted at once."""
        self.lock.ask(turn, self.ears[id(turn)][1])
        return self.has(turn)

    def has(self, turn: Turn) -> bool:
        try:
            return os.read(self.ears[id(turn)][0], 10) == b"."
        except BlockingIOError:
            return False


def test_the_others_stand_still_with_all_they_started_and_then_go_on(family: subprocess.Popen[str]) -> None:
    table = Table()
    measuring, other = table.turn(), table.turn()
    other.zygote = family.pid
    below = descendants(family.pid)
    assert len(below) == 2
    assert table.ask(measuring)
    until(below, stand_still=True)
    assert not stopped(family.pid)  # it would not hear that its cell ended
    table.lock.leave(measuring)
    until(below, stand_still=False)


def test_a_process_that_begins_during_a_measurement_stands_still(family: subprocess.Popen[str]) -> None:
    table = Table()
    measuring, other = table.turn(), table.turn()
    assert table.ask(measuring)
    other.zygote = family.pid
    table.lock.began(other)
    until(descendants(family.pid), stand_still=True)
    table.lock.withdraw(other)
    until(descendants(family.pid), stand_still=False)


def test_the_floor_is_granted_in_the_order_of_asking_and_comes_back_from_the_dead() -> None:
    table = Table()
    first, second, third = (table.turn() for _ in range(3))
    assert table.ask(first)
    assert not table.ask(second)
    assert not table.ask(third)
    table.lock.withdraw(first)  # it died
    assert table.has(second)
    assert not table.has(third)
    table.lock.leave(second)
    assert table.has(third)


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
    table = Table()
    first, second = (table.turn(exclusive, gpu) for gpu in gpus)
    assert table.ask(first)
    assert table.ask(second) is together


def test_beside_a_measurement_on_a_gpu_half_of_the_cpus_stay_idle() -> None:
    table = Table(cpus=4)
    measuring, *others = table.turn("device", 0), *(table.turn("device", 1) for _ in range(4))
    assert table.ask(measuring)
    assert [turn.stopped is None for turn in others] == [True, True, False, False]
    table.lock.leave(measuring)
    assert all(turn.stopped is None for turn in others)


def test_who_comes_during_a_measurement_waits_outside() -> None:
    table = Table()
    measuring = table.turn()
    assert table.ask(measuring)
    inside = threading.Event()

    def enter() -> None:
        with table.lock.entered(Turn(exclusive="device", gpu=None), nothing):
            inside.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not inside.wait(0.3)
    table.lock.leave(measuring)
    assert inside.wait(10)
    thread.join()


def test_the_time_of_waiting_is_known_to_the_part_that_was_in_question() -> None:
    turn = Turn(exclusive="device", gpu=None)
    turn.pauses = [(10.0, 12.0), (20.0, 21.0)]
    assert turn.paused(0, 100) == pytest.approx(3)
    assert turn.paused(11, 20.5) == pytest.approx(1.5)
    turn.paused_since = 90.0
    assert turn.paused(80, 100) == pytest.approx(10)


def test_a_cell_that_holds_the_most_goes_when_all_hold_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.reaper.machine_memory", lambda: 1000)
    tally = Tally()
    small, large = (Turn(exclusive="device", gpu=None) for _ in range(2))
    assert not tally.too_much(large, 800)  # alone, its own limit speaks
    assert not tally.too_much(small, 150)
    assert tally.too_much(large, 800)
    tally.forget(small)
    assert not tally.too_much(large, 800)


QUICK = Measure(min_seconds=0, max_seconds=0.2, max_warmup_seconds=0.2, processes=1)


def behaving(make_cell: MakeCell, id_: str, how: str, marker: Path | None = None, **changes: object) -> Cell:
    config = {"_target_": "misbehaving.Misbehaving", "how": how, "marker": str(marker or ""), "input": {"shape": [8]}}
    return make_cell(id=id_, model=Model(name="m", config=config), **{"measure": QUICK} | changes)


def test_waiting_for_the_floor_counts_against_no_deadline(make_cell: MakeCell, tmp_path: Path) -> None:
    """One cell has the lock for longer than the other may take in all."""
    marker = tmp_path / "has the lock"
    supervisor = isolate.Supervisor(cells=2)
    with ThreadPoolExecutor() as threads:
        holder = threads.submit(isolate.run, behaving(make_cell, "a", "hold its turn", marker), supervisor=supervisor)
        while not marker.exists():
            assert not holder.done(), holder.result().result.message
            time.sleep(0.01)
        patient = make_cell(id="b", measure=QUICK, limits=Limits(total=4))
        row = threads.submit(isolate.run, patient, supervisor=supervisor).result().result
    assert holder.result().result.status == "ok"
    supervisor.close()
    assert row.status == "ok", row.message
    waited, total = row.seconds["waited"], row.seconds["total"]
    assert waited is not None
    assert total is not None
    assert waited > total


def test_cells_that_die_with_the_floor_leave_it_to_the_others(make_cell: MakeCell) -> None:
    supervisor = isolate.Supervisor(cells=3)
    ways = ["segfault", "well", "os._exit", "well", "kill the zygote", "well", "raise", "well"]
    cells = [behaving(make_cell, f"{number}", how) for number, how in enumerate(ways)]
    with ThreadPoolExecutor(3) as threads:
        rows = [outcome.result for outcome in threads.map(lambda cell: isolate.run(cell, supervisor=supervisor), cells)]
    supervisor.close()
    said = [row.reason or row.status for row in rows]
    assert said == ["signal", "ok", "no-report", "ok", "lost", "ok", "raised", "ok"]


def test_cells_are_at_work_at_the_same_time(make_cell: MakeCell, tmp_path: Path) -> None:
    """Each waits, while its model is built, until the other is there."""
    supervisor = isolate.Supervisor(cells=2)
    cells = [behaving(make_cell, name, "wait for company", tmp_path / "marker") for name in ("a", "b")]
    with ThreadPoolExecutor(2) as threads:
        rows = [outcome.result for outcome in threads.map(lambda cell: isolate.run(cell, supervisor=supervisor), cells)]
    supervisor.close()
    assert [row.status for row in rows] == ["ok", "ok"], rows[0].message


def test_a_site_that_ends_ends_its_cells(make_cell: MakeCell, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    supervisor = isolate.Supervisor(cells=2)
    with ThreadPoolExecutor() as threads:
        hanging = threads.submit(
            isolate.run, behaving(make_cell, "a", "leave a grandchild and hang", marker), supervisor=supervisor
        )
        while not marker.exists():
            time.sleep(0.01)
        waiting = threads.submit(isolate.run, make_cell(id="b", measure=QUICK), supervisor=supervisor)
        supervisor.end()
        for running in (hanging, waiting):
            with pytest.raises(isolate.Withdrawn):
                running.result()
    supervisor.close()
