"""What is left when a whole sweep was killed goes, and what belongs to others stays."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweep import reaper, shared_memory

HOLDING = """
import os, sys, time
segment = open(f"/dev/shm/held-by-{os.getpid()}", "w")
print(segment.name, flush=True)
time.sleep(1000)
"""

Hold = Callable[..., tuple[subprocess.Popen[str], Path]]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Starts a process with some more in its environment that holds a segment of shared memory."""
    started: list[tuple[subprocess.Popen[str], Path]] = []

    def start(**more: str) -> tuple[subprocess.Popen[str], Path]:
        environment = {**os.environ, **more}
        process = subprocess.Popen([sys.executable, "-c", HOLDING], stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout
        started.append((process, Path(process.stdout.readline().strip())))
        return started[-1]

    yield start
    for process, segment in started:
        process.kill()
        process.communicate()
        segment.unlink(missing_ok=True)


def test_a_guard_removes_the_shared_memory_that_those_held_whom_it_kills(
    hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, before = hold(LC_MARK="ours")
    begun = threading.Event()
    names = shared_memory.names

    def looked() -> set[str]:
        found = names()
        begun.set()
        return found

    monkeypatch.setattr(shared_memory, "names", looked)
    theirs, ours = os.pipe()
    guard = threading.Thread(target=reaper.guard, args=(theirs, "LC_MARK=ours"))
    guard.start()
    begun.wait()
    marked, segment = hold(LC_MARK="ours")
    other, of_other = hold()
    os.close(ours)
    guard.join()
    os.close(theirs)
    assert not segment.exists()
    assert (of_other.exists(), before.exists()) == (True, True)
    assert other.poll() is None
    assert not Path(f"/proc/{marked.pid}").exists()
