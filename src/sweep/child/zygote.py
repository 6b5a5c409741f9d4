"""Starts a supervisor's cells and waits for their ends: `python -m sweep.child.zygote SOCKET fork|spawn`.

This process is a nursery. With `fork` it imports what all cells need, once. For each cell that may run at a time the
supervisor has it fork a zygote, which forks cells from itself, one after the other. Neither runs any code of a cell,
so a forked process is like a new interpreter, but is there in milliseconds instead of seconds. With `spawn` a zygote
imports nothing, and each cell is a new interpreter. All of them end when the supervisor does.

Messages are JSON, one a packet. A nursery says `{"ready": fork|spawn}` once, and makes a zygote of each descriptor of a
socket that it is sent. A zygote says `{"zygote": PID}` there. From the supervisor it hears `{"start": {…}}` with three
descriptors, for the report, for its turn and for the log, then any number of `{"signal": NUMBER}`. It says
`{"pid": …}` and, when the process and all it left behind are gone, `{"ended": RETURN CODE, "strays": …}`.
"""

import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sweep import reaper, shared_memory
from sweep.child import preload


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A process to start: `python -m module REPORT GO ZYGOTE arguments…`."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    report: int
    go: int
    log: int

    def run_here(self, zygote: int) -> NoReturn:
        """In a process just forked: take the job's folder, environment and descriptors, run it, and exit."""
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        devnull = os.open(os.devnull, os.O_RDONLY)
        for descriptor, standard in ((devnull, 0), (self.log, 1), (self.log, 2)):
            os.dup2(descriptor, standard)
        os.close(devnull)
        os.close(self.log)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        tempfile.tempdir = None  # Python found it for the old environment; it looks again
        random.seed()
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()
        from sweep.child.__main__ import main, run_and_exit

        run_and_exit(lambda: main(self.report, self.go, zygote, *self.arguments))

    def spawn(self) -> int:
        """Start it as a new interpreter; returns its process id."""
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", self.module),
                *(str(self.report), str(self.go), str(os.getpid()), *self.arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            cwd=self.folder,
            env=self.environment,
            pass_fds=[self.report, self.go],
            start_new_session=True,
        )
        process.returncode = 0  # the process is waited for by its id, not by this object
        return process.pid


class Link:
    """The socket to the supervisor."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)

    def tell(self, **message: Any) -> None:
        with suppress(BrokenPipeError):  # the supervisor is gone, which the next `hear` finds out
            self.socket.send(json.dumps(message).encode())

    def hear(self) -> tuple[dict[str, Any] | None, list[int]]:
        """The next message and its descriptors; None when the supervisor is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 20, 3)
        except ConnectionResetError:
            return None, []
        return (json.loads(data) if data else None), descriptors


def fork_zygotes(nursery: Link) -> Link | None:
    """Fork a zygote for every socket that comes. Returns None when the supervisor is gone, and a Link in each zygote.

    A zygote is forked twice, so that it becomes the supervisor's child and outlives this process.
    """
    while True:
        message, descriptors = nursery.hear()
        if message is None:
            return None
        if not (middle := os.fork()):
            if os.fork():
                os._exit(0)
            nursery.socket.close()
            return Link(descriptors[0])
        for descriptor in descriptors:
            os.close(descriptor)
        os.waitpid(middle, 0)


def serve(link: Link, *, fork: bool) -> Job | None:
    """Run one job after the other. Returns None when the supervisor is gone, and a Job in the process forked for it."""
    while True:
        message, descriptors = link.hear()
        if message is None:
            return None
        if "start" not in message:
            continue  # a signal for a process that has just ended by itself
        report, go, log = descriptors
        job = Job(**message["start"], report=report, go=go, log=log)
        if fork and not (pid := os.fork()):
            link.socket.close()
            return job
        if not fork:
            pid = job.spawn()
        for descriptor in descriptors:
            os.close(descriptor)
        link.tell(pid=pid)
        if not supervise(link, pid):
            return None


def supervise(link: Link, pid: int) -> bool:
    """Pass signals on to a process's group until the process is gone, then end what it left behind.

    Returns False if the supervisor is gone.
    """
    supervisor_alive, shared_before = True, shared_memory.names()
    pidfd = os.pidfd_open(pid)
    with selectors.DefaultSelector() as selector:
        selector.register(pidfd, selectors.EVENT_READ)
        selector.register(link.socket, selectors.EVENT_READ)
        while pidfd not in {key.fd for key, _ in selector.select()}:
            message, _ = link.hear()
            if message is None:
                supervisor_alive = False
                selector.unregister(link.socket)
            number = message["signal"] if message else signal.SIGKILL
            try:
                os.killpg(pid, number)
            except ProcessLookupError:  # just forked, it has no group of its own yet
                os.kill(pid, number)
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    strays = reaper.end_all() if _has_children() else 0
    if not supervisor_alive:  # which would have done so
        shared_memory.remove_unused(shared_memory.left_since(shared_before))
    link.tell(ended=os.waitstatus_to_exitcode(status), strays=strays)
    return supervisor_alive


def _has_children() -> bool:
    """Whether a process that has just ended left others behind: they are children of this process now."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def set_process_name(name: str) -> None:
    Path("/proc/self/comm").write_text(name)


def main(descriptor: int, start: str) -> int:
    set_process_name("sweep-nursery")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor handles a terminal's Ctrl-C
    reaper.end_with_parent(signal.SIGKILL)
    nursery = Link(descriptor)
    if start == "fork":
        preload.import_for_all_cells()
        if not preload.is_pristine():
            start = "spawn"  # some library of the cells' environment starts threads when it is imported
    reaper.end_with_parent(None)  # from now on the socket says when the supervisor is gone
    nursery.tell(ready=start)
    link = fork_zygotes(nursery)
    if link is None:
        return 0
    set_process_name("sweep-zygote")
    os.setsid()
    reaper.adopt_orphans()
    zygote = os.getpid()
    link.tell(zygote=zygote)
    job = serve(link, fork=start == "fork")
    if job:
        job.run_here(zygote)
    return 0


if __name__ == "__main__":
    code = main(int(sys.argv[1]), sys.argv[2])
    os._exit(code)  # nothing is left to do, and freeing the objects of torch takes a while
