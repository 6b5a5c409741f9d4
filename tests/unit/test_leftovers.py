"""What a killed process leaves in the temporary folder goes with the next start, and nothing else does."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.leftovers import OwnFolder, claim, sweep_up

MAKES_ONE = "from sweep.leftovers import OwnFolder; import sys, time; own = OwnFolder(); print(own.path, flush=True)"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def started(more: str) -> tuple[subprocess.Popen[str], Path]:
    """A process that has made a folder, and that folder."""
    process = subprocess.Popen([sys.executable, "-c", f"{MAKES_ONE}; {more}"], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_the_folder_of_a_killed_process_goes_when_the_next_is_made(temporary: Path) -> None:
    killed, left = started("time.sleep(600)")
    alive, used = started("time.sleep(600)")
    (temporary / "sweep-of-somebody-else").mkdir()
    (left / "cell" / "cache").mkdir(parents=True)
    killed.kill()
    killed.wait()
    own = OwnFolder()
    assert {path.name for path in temporary.iterdir()} == {used.name, own.path.name, "sweep-of-somebody-else"}
    own.close()
    own.close()
    assert not own.path.exists()
    alive.kill()
    alive.wait()
    for process in (killed, alive):
        assert process.stdout
        process.stdout.close()


def test_a_process_that_ends_takes_its_folder_with_it(temporary: Path) -> None:
    ended, left = started("pass")
    assert ended.wait() == 0
    assert ended.stdout
    ended.stdout.close()
    assert not left.exists()


def test_a_folder_that_is_just_being_claimed_is_not_swept_up(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock

    def after_another_swept(descriptor: int, kind: int) -> None:
        sweep_up(temporary.iterdir())
        lock(descriptor, kind)

    with monkeypatch.context() as patch:
        patch.setattr("sweep.leftovers.fcntl.flock", after_another_swept)
        own = OwnFolder()
    assert own.path.exists()
    own.close()


def test_a_folder_of_another_machine_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("platform.node", lambda: "another")
        killed = temporary / "sweep-killed"
        killed.mkdir()
        descriptor = claim(killed)
    assert descriptor is not None
    os.close(descriptor)
    sweep_up([killed])
    assert killed.exists()


def test_where_nothing_can_be_locked_nothing_is_removed(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(38, "Function not implemented")

    first = OwnFolder()
    monkeypatch.setattr("sweep.leftovers.fcntl.flock", refuse)
    second = OwnFolder()
    assert first.path.exists()
    assert second.path.exists()
