"""Models that fail in every way a process can."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch


class Misbehaving(torch.nn.Module):
    """A linear layer whose forward, or constructor, does what `how` says."""

    def __init__(self, how: str, marker: str = "") -> None:
        super().__init__()
        self.how, self.marker = how, marker
        self.layer = torch.nn.Linear(8, 4)
        if how == "constructor raises":
            raise ValueError("cannot be built")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how in WAYS:
            WAYS[self.how](self)
        output: torch.Tensor = self.layer(x)
        return output


def _raise(model: Misbehaving) -> None:
    raise RuntimeError(f"{model.how} on purpose")


def _leave_a_grandchild(model: Misbehaving) -> None:
    grandchild = subprocess.Popen(["sleep", "1000"])
    Path(model.marker).write_text(str(grandchild.pid))
    os.kill(os.getpid(), signal.SIGSEGV)


def _leave_a_grandchild_and_hang(model: Misbehaving) -> None:
    grandchild = subprocess.Popen(["sleep", "1000"])
    Path(model.marker).write_text(str(grandchild.pid))
    time.sleep(1000)


def _kill_the_supervisor(model: Misbehaving) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1000)


def _ignore_term(model: Misbehaving) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)


def _report_garbage(model: Misbehaving) -> None:
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b'{"evidence": 3}\n[]\nnot json\n{"phase": "nowhere"}\n')
        except OSError:
            continue


def _tell_environment(model: Misbehaving) -> None:
    Path(model.marker).write_text("\n".join([str(Path.cwd()), *(f"{k}={v}" for k, v in os.environ.items())]))


WAYS: dict[str, Callable[[Misbehaving], object]] = {
    "raise": _raise,
    "segfault": lambda model: ctypes.string_at(0),
    "abort": lambda model: os.abort(),
    "kill itself": lambda model: os.kill(os.getpid(), signal.SIGKILL),
    "sys.exit": lambda model: sys.exit(7),
    "os._exit": lambda model: os._exit(0),
    "hang": lambda model: time.sleep(1000),
    "ignore TERM": _ignore_term,
    "leave a grandchild": _leave_a_grandchild,
    "leave a grandchild and hang": _leave_a_grandchild_and_hang,
    "kill the supervisor": _kill_the_supervisor,
    "report garbage": _report_garbage,
    "print": lambda model: print("noise\x1b[2J" * 1000),
    "tell environment": _tell_environment,
    "read stdin": lambda model: sys.stdin.read(),
}
