"""One sweep writes to a folder, also on a file system that has no locks."""

import errno
import fcntl
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweep import lock
from sweep.cell import Cell
from sweep.errors import RunFolderTaken
from sweep.isolate.exclusive import MachineLock
from sweep.lock import FolderLock
from sweep.record import RunFolder

MakeCell = Callable[..., Cell]


@pytest.fixture(params=["ENOSYS", "EOPNOTSUPP", "ENOLCK"])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    number = getattr(errno, request.param)

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that takes the lock of `tmp_path` as if there was no flock, says so, and is killed by the test."""
    code = (
        "import errno, fcntl, sys\n"
        "def flock(*_): raise OSError(errno.ENOSYS, '')\n"
        "fcntl.flock = flock\n"
        "from pathlib import Path\n"
        "from sweep.lock import FolderLock\n"
        "assert FolderLock(Path(sys.argv[1])).acquire() is None\n"
        "print('has it', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "has it\n"
        yield process


def test_where_nothing_can_be_locked_no_cell_waits_for_its_machine(without_locks: None, tmp_path: Path) -> None:
    first, second = MachineLock(tmp_path), MachineLock(tmp_path)
    assert first.acquire()
    assert second.acquire()
    for one in (first, second):
        one.release()
        one.close()


def test_of_two_one_has_it_and_it_can_be_given_back(without_locks: None, tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert first.acquire() is None
    assert first.acquire() is None  # it has it already
    assert second.acquire() == (
        f"process {os.getpid()} on {platform.node()}; let it end, or end it; "
        f"if it is gone, remove {tmp_path / '.lock-owner'}"
    )
    second.release()
    assert (tmp_path / ".lock-owner").exists()
    first.release()
    assert second.acquire() is None
    second.release()
    assert not (tmp_path / ".lock-owner").exists()


def test_a_run_folder_says_who_writes_to_it(without_locks: None, tmp_path: Path, make_cell: MakeCell) -> None:
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    first.start([make_cell(id="a")], {})
    with pytest.raises(RunFolderTaken, match=f"another sweep is writing to .*: process {os.getpid()} on"):
        second.resume([make_cell(id="a")], {}, [], anyway=False)
    first.release()
    assert second.resume([make_cell(id="a")], {}, [], anyway=False) == []
    second.release()


def test_what_another_sweep_is_just_starting_in_is_not_removed(
    without_locks: None, tmp_path: Path, make_cell: MakeCell
) -> None:
    starting = FolderLock(tmp_path)
    assert starting.acquire() is None
    RunFolder(tmp_path).discard_unused()
    assert (tmp_path / ".lock-owner").exists()
    starting.release()
    RunFolder(tmp_path).discard_unused()
    assert not tmp_path.exists()


def test_that_of_a_process_that_is_there_is_respected_and_that_of_a_dead_one_taken(
    without_locks: None, tmp_path: Path, ended: subprocess.Popen[str]
) -> None:
    mine = FolderLock(tmp_path)
    held = mine.acquire()
    assert held is not None
    assert held.startswith(f"process {ended.pid} on {platform.node()}")
    ended.kill()
    ended.wait()
    assert mine.acquire() is None
    assert json.loads((tmp_path / ".lock-owner").read_text())["pid"] == os.getpid()
    mine.release()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock"]


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, False),
        ({"started": "1"}, True),  # another process has its number now
        ({"boot": "before"}, True),  # the machine was started again
        ({"host": "elsewhere", "boot": "another"}, False),
        ({"pids": "pid:[1]", "started": "1"}, False),  # in another container, where numbers are others
    ],
)
def test_only_what_is_certainly_dead_is_taken_from(
    without_locks: None, tmp_path: Path, change: dict[str, str], taken: bool
) -> None:
    holder = FolderLock(tmp_path)
    assert holder.acquire() is None
    owner = tmp_path / ".lock-owner"
    owner.write_text(json.dumps(json.loads(owner.read_text()) | change))
    held = FolderLock(tmp_path).acquire()
    assert (held is None) == taken
    if held is not None:
        assert f"on {change.get('host', platform.node())}; let it end" in held


def test_one_that_says_nothing_is_not_taken_and_named(
    without_locks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.001)
    (tmp_path / ".lock-owner").touch()
    assert FolderLock(tmp_path).acquire() == f"{tmp_path / '.lock-owner'} does not say which; if none is, remove it"


def test_where_one_died_while_it_took_over_it_is_said_what_to_remove(
    without_locks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.001)
    dead = FolderLock(tmp_path)
    assert dead.acquire() is None
    owner, taking = tmp_path / ".lock-owner", tmp_path / ".lock-taking-over"
    owner.write_text(json.dumps(json.loads(owner.read_text()) | {"started": "1"}))
    taking.touch()
    held = FolderLock(tmp_path).acquire()
    assert held is not None
    assert held.endswith(f"remove {taking}")
    taking.unlink()
    assert FolderLock(tmp_path).acquire() is None


def test_of_many_that_find_a_dead_one_at_once_one_has_it(without_locks: None, tmp_path: Path) -> None:
    dead = FolderLock(tmp_path)
    assert dead.acquire() is None
    owner = tmp_path / ".lock-owner"
    owner.write_text(json.dumps(json.loads(owner.read_text()) | {"started": "1"}))
    locks = [FolderLock(tmp_path) for _ in range(8)]
    begin, got = threading.Barrier(len(locks)), list[FolderLock]()

    def take(one: FolderLock) -> None:
        begin.wait()
        if one.acquire() is None:
            got.append(one)

    threads = [threading.Thread(target=take, args=[one]) for one in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_another_failure_to_lock_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"):
        FolderLock(tmp_path).acquire()
