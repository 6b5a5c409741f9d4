"""The supervisor's end of a zygote (`sweep.child.zygote`): asks it for processes, and hears how they ended."""

import atexit
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from sweep import reaper
from sweep.errors import BadEnvironment

Start = Literal["fork", "spawn"]

_READY_SECONDS = 300

MARK = "SWEEP_ZYGOTE"
"""The variable by which what a zygote started is known, should it die before its cells."""


class ZygoteLost(Exception):
    """Something killed the zygote, and with it the process it was to see off."""


class NotBegun(ZygoteLost):
    """It was dead before it started anything."""


class Zygote:
    """A zygote and the process it runs, one at a time. Raises BadEnvironment if it cannot start."""

    def __init__(self, start: Start, environment: Mapping[str, str]) -> None:
        self.asked, self.start, self.environment = start, start, dict(environment)
        self._name = uuid.uuid4().hex
        self._pid = 0
        reaper.adopt_orphans()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, tempfile.TemporaryFile() as said:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sweep.child.zygote", str(theirs.fileno()), start],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**self.environment, MARK: self._name},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            theirs.close()
            try:
                self._socket.settimeout(_READY_SECONDS)
                self.start = self.hear()["ready"]
                self._socket.settimeout(None)
            except (ZygoteLost, TimeoutError) as error:
                self.close()
                said.seek(0)
                text = said.read().decode(errors="replace").strip()
                raise BadEnvironment(f"cannot start a process for cells. It said:\n{text[-2000:]}") from error
            except BaseException:
                self._process.kill()
                self.close()
                raise

    def fileno(self) -> int:
        """Readable when there is something to hear."""
        return self._socket.fileno()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def begin(self, job: Mapping[str, Any], report: int, log: int) -> int:
        """Start a process with the fields of `child.zygote.Job`, whose ends of pipes are closed here; returns its id.

        Raises NotBegun.
        """
        try:
            environment = {**job["environment"], MARK: self._name}
            request = json.dumps({"start": {**job, "environment": environment}})
            socket.send_fds(self._socket, [request.encode()], [report, log])
            self._pid = self.hear()["pid"]
        except (OSError, ZygoteLost) as error:
            raise NotBegun from error
        except BaseException:
            self.close()  # whether it has begun is not known
            raise
        finally:
            os.close(report)
            os.close(log)
        return self._pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group."""
        with suppress(OSError):  # whoever listens next finds out that it is gone
            self._socket.send(json.dumps({"signal": int(number)}).encode())

    def hear(self) -> dict[str, Any]:
        """The next message. Raises ZygoteLost."""
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError as error:
            raise ZygoteLost from error
        if not data:
            raise ZygoteLost
        message: dict[str, Any] = json.loads(data)
        return message

    def end(self, grace: float) -> None:
        """TERM, grace, KILL to the process that runs; returns when it, and all it left, is gone. Raises ZygoteLost."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            self.signal(signal.SIGTERM)
            until = time.monotonic() + grace
            if not selector.select(max(0.0, until - time.monotonic())):
                self.signal(signal.SIGKILL)
            while "ended" not in self.hear():
                pass

    def close(self) -> None:
        """Let it go: it ends what it still runs, and then itself. What it cannot end any more ends here."""
        self._socket.close()
        self._process.wait()
        reaper.end_all(f"{MARK}={self._name}")
        if self._pid:
            with suppress(ChildProcessError):  # if the zygote was killed, its last process has come to us
                os.waitpid(self._pid, 0)


_KEPT: list[Zygote] = []
"""This process's zygote, if it has one."""


def zygote(start: Start, environment: Mapping[str, str]) -> Zygote:
    """This process's zygote; a new one where it died, or was started for another environment."""
    for kept in _KEPT:
        if kept.alive and (kept.asked, kept.environment) == (start, environment):
            return kept
    close()
    _KEPT.append(Zygote(start, environment))
    return _KEPT[0]


def close() -> None:
    """End this process's zygote, and what it runs."""
    while _KEPT:
        _KEPT.pop().close()


atexit.register(close)
