"""Finds and ends what descends from this process, whatever group or session it went to.

As a program, `python -m sweep.reaper DESCRIPTOR NAME=VALUE`, it is a `guard`.
"""

import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from sweep import shared_memory

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal this process gets when its parent dies."""

PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
"""prctl(2): orphans among our descendants become our children instead of init's."""


DYING_SECONDS = 5.0
"""How long a process may take to be gone once it was killed. One that waits for a dead disk or driver (state D), or is
in a frozen control group, may never be."""


def adopt_orphans(adopt: bool = True) -> bool:
    """Take orphans among our descendants for children, or no longer; returns whether that was so before."""
    before = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(adopt))
    return bool(before.value)


class OrphanAdoption:
    """Has this process adopt orphans for as long as somebody holds it.

    The kernel knows this of a process as a whole, while several supervisors may be in one process, and overlap: the
    first who holds it turns it on, and the last who releases it restores what was before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._before = False

    def hold(self) -> None:
        with self._lock:
            if self._holders == 0:
                self._before = adopt_orphans()
            self._holders += 1

    def release(self) -> None:
        """To be called once for each `hold`."""
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                adopt_orphans(self._before)


ORPHAN_ADOPTION = OrphanAdoption()
"""This process's: all its supervisors hold and release this one, so that none ends what another needs."""


def end_with_parent(number: signal.Signals | None) -> None:
    """Get that signal when the parent dies, or None."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number or 0)


def descendants(*roots: int) -> set[int]:
    """The ids of all processes below `roots`, which are not among them; ended ones that nobody waited for count."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    below_roots: set[int] = set()
    ahead = list(roots)
    while ahead:
        children = parents.get(ahead.pop(), [])
        below_roots.update(children)
        ahead += children
    return below_roots


def end_all(mark: str | None = None, spare: Collection[int] = (), shared_before: Collection[str] | None = None) -> int:
    """KILL all descendants of this process and wait for them; returns how many there were.

    With a `mark`, those processes instead that have it in their environment, `NAME=value`, and what is below them.
    Not those in `spare`, nor what is below these. They are stopped first, until none is new, so that nothing that
    forks as fast as it is killed gets away. What is not gone DYING_SECONDS after it was killed is given up.

    With `shared_before`, names of POSIX shared memory, what they hold of it and is not among these goes with them.
    """
    ended: set[int] = set()
    held: set[str] = set()
    given_up: set[int] = set()

    def to_end() -> set[int]:
        found = _marked(mark) if mark else descendants(os.getpid())
        return found - {*spare, *descendants(*spare)} - given_up

    while stopped := _stop_all(to_end):
        ended |= stopped
        if shared_before is not None:
            held |= shared_memory.held_by(stopped)
        _send(stopped, signal.SIGKILL)
        ends = time.monotonic() + DYING_SECONDS
        given_up |= {pid for pid in stopped if not wait_for(pid, ends)}
    shared_memory.remove_unused(held - {*(shared_before or ())})
    return len(ended)


def wait_for(pid: int, ends: float) -> bool:
    """Wait for a killed process, until a moment of the monotonic clock; returns whether it is gone.

    If its parent was killed too it comes to us, but that may take a moment.
    """
    while Path(f"/proc/{pid}").exists():
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0]:
                return True
        if time.monotonic() >= ends:
            return False
        time.sleep(0.001)
    return True


def stop_below(pid: int) -> set[int]:
    """Stop all that descends from a process; returns what was stopped, for `resume`."""
    return _stop_all(lambda: set(_family(pid)) - {pid})


def resume(stopped: set[int]) -> None:
    _send(stopped, signal.SIGCONT)


def _stop_all(find: Callable[[], set[int]]) -> set[int]:
    """Stop all processes that `find` returns, until it returns none that is new twice in a row; returns them all.

    Once is not enough, for a process that gets another parent while /proc is read can be missed.
    """
    stopped: set[int] = set()
    quiet = 0
    while quiet < 2:
        fresh = find() - stopped
        _send(fresh, signal.SIGSTOP)
        stopped |= fresh
        quiet = 0 if fresh else quiet + 1
    return stopped


def memory(pid: int, enough: float) -> float:
    """Bytes that a process and all below it hold in memory and swap, mapped files apart.

    Pages that several share count once if that matters: as long as the total stays below `enough`, counting them
    for each, which costs less, will do.
    """
    family = _family(pid)
    total = sum(map(_resident, family))
    return total if total < enough else sum(map(_proportional, family))


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    family, ahead = [], [pid]
    while ahead:
        family.append(ahead.pop())
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{family[-1]}/task"):  # noqa: PTH208 - this is done often
                with open(f"/proc/{family[-1]}/task/{thread}/children") as children:
                    ahead += map(int, children.read().split())
    return family


def _resident(pid: int) -> int:
    return _kilobytes(f"/proc/{pid}/status", ("RssAnon:", "RssShmem:", "VmSwap:")) * 1024


def _proportional(pid: int) -> int:
    return _kilobytes(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")) * 1024


def _kilobytes(file: str, fields: tuple[str, ...]) -> int:
    with suppress(OSError):
        lines = Path(file).read_text(errors="replace").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(fields))
    return 0


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _marked(mark: str) -> set[int]:
    """All processes that have a mark in their environment, and what is below them."""
    marked = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _has(entry, mark)}
    return marked | descendants(*marked)


def _has(process: Path, mark: str) -> bool:
    try:
        return mark.encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _send(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def guard(descriptor: int, mark: str) -> None:
    """Wait until the other end of a pipe is closed, then KILL all that have or had `mark`, and what is below them.

    A process that writes over its environment, as Ray's do to change their title, is known by having been below one
    that has the mark. What they hold of POSIX shared memory, and was not there before, goes with them.
    """
    known: dict[int, str] = {}
    shared_before = shared_memory.names()
    while not select.select([descriptor], [], [], 2)[0]:
        known |= {pid: _began(pid) for pid in _marked(mark)}
    left = {pid for pid, began in known.items() if began and _began(pid) == began}
    held = shared_memory.held_by(left) - shared_before
    end_all(mark, shared_before=shared_before)
    _send(left, signal.SIGKILL)
    ends = time.monotonic() + DYING_SECONDS
    for pid in left:
        wait_for(pid, ends)
    shared_memory.remove_unused(held)


def _began(pid: int) -> str:
    """When a process started, in ticks since the machine did: with its id, who it is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return ""


if __name__ == "__main__":
    guard(int(sys.argv[1]), sys.argv[2])
