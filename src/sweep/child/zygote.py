"""Starts a supervisor's cells, sees them off, and ends with it: `python -m sweep.child.zygote SOCKET fork|spawn`.

With `fork` it imports what all cells need and forks each from itself. It runs nothing of a cell's, so that what is
forked is as fresh as a new interpreter, in milliseconds instead of seconds. With `spawn` each is a new interpreter.

Messages are JSON, one a packet. From the supervisor: `{"start": {…}}` with two descriptors, for the report and for
the log, then any number of `{"signal": NUMBER}`. From here: `{"ready": true}` once, `{"pid": …}` and, when the
process and all it left behind are gone, `{"ended": RETURN CODE, "strays": …}`.
"""

import gc
import importlib
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
from typing import Any

from sweep import reaper


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A process to start: `python -m module REPORT ZYGOTE arguments…`."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    report: int
    log: int

    def begin(self, zygote: int) -> int:
        """In a process just forked: take on the job's folder, environment and descriptors, and do it."""
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, standard in ((nothing, 0), (self.log, 1), (self.log, 2)):
            os.dup2(descriptor, standard)
        os.close(nothing)
        os.close(self.log)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        tempfile.tempdir = None  # as if nobody had asked for it yet
        random.seed()
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()
        from sweep.child.__main__ import main

        return main(self.report, zygote, *self.arguments)

    def spawn(self) -> int:
        """Start it as a new interpreter; returns its process id."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", self.module, str(self.report), str(os.getpid()), *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            cwd=self.folder,
            env=self.environment,
            pass_fds=[self.report],
            start_new_session=True,
        )
        process.returncode = 0  # it is waited for by its id, not by this object
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
            data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 20, 2)
        except ConnectionResetError:
            return None, []
        return (json.loads(data) if data else None), descriptors


NEUTRAL = (
    *("torch._dynamo", "torch._inductor.compile_fx", "torch.profiler", "optimum.quanto", "onnx"),
    *(f"sweep.child.{name}" for name in ("__main__", "attest", "convert", "engines", "survey", "threads")),
)
"""Imported beforehand: nearly all that a cell would.

Not onnxruntime, and so not alma's dispatcher, for it starts a thread when it is imported; not openvino.torch, which
changes a setting of dynamo's; and no code of the user's.
"""


def preload() -> None:
    """Import what is the same for every cell, as far as it may be forked from."""
    from sweep.child import compat

    compat.before_import()
    for name in NEUTRAL:
        with suppress(ImportError):  # then a cell that needs it says so
            importlib.import_module(name)
    if not os.fork():  # OpenBLAS, which numpy starts threads with, ends them before a fork until they are needed again
        os._exit(0)
    os.wait()
    gc.collect()
    gc.freeze()  # forked cells need not copy what they never change


def pristine() -> bool:
    """Whether a process forked from this one is like a new one: one thread, and no context on a GPU."""
    torch = sys.modules.get("torch")
    return len(list(Path("/proc/self/task").iterdir())) == 1 and not (torch and torch.cuda.is_initialized())


def serve(link: Link, *, fork: bool) -> Job | None:
    """Start and see off one job after the other; None when the supervisor is gone, a Job in what is forked for it."""
    while True:
        message, descriptors = link.hear()
        if message is None:
            return None
        if "start" not in message:
            continue  # a signal for what has just ended by itself
        report, log = descriptors
        job = Job(**message["start"], report=report, log=log)
        if fork and not (pid := os.fork()):
            link.socket.close()
            return job
        if not fork:
            pid = job.spawn()
        os.close(report)
        os.close(log)
        link.tell(pid=pid)
        if not see_off(link, pid):
            return None


def see_off(link: Link, pid: int) -> bool:
    """Pass signals on to a process's group until it is gone, then end what it left; False if the supervisor is gone."""
    supervised = True
    alive = os.pidfd_open(pid)
    with selectors.DefaultSelector() as selector:
        selector.register(alive, selectors.EVENT_READ)
        selector.register(link.socket, selectors.EVENT_READ)
        while alive not in {key.fd for key, _ in selector.select()}:
            message, _ = link.hear()
            if message is None:
                supervised = False
                selector.unregister(link.socket)
            number = message["signal"] if message else signal.SIGKILL
            try:
                os.killpg(pid, number)
            except ProcessLookupError:  # just forked, it has no group of its own yet
                os.kill(pid, number)
    os.close(alive)
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # its id, and its group's, stay taken until the end
    assert ended is not None
    strays = reaper.end_all() - 1
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    link.tell(ended=code, strays=strays)
    return supervised


def main(descriptor: int, start: str) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the supervisor's to hear
    reaper.adopt_orphans()
    reaper.end_with_parent(signal.SIGKILL)
    link = Link(descriptor)
    if start == "fork":
        preload()
        if not pristine():
            start = "spawn"  # some library of the cells' environment starts threads when it is imported
    reaper.end_with_parent(None)  # from now on it notices by the socket, and ends what it runs first
    link.tell(ready=start)
    me = os.getpid()
    job = serve(link, fork=start == "fork")
    return job.begin(me) if job else 0


if __name__ == "__main__":
    Path("/proc/self/comm").write_text("sweep-zygote")
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
