"""The supervisor's end of a nursery and its zygotes (`sweep.child.zygote`): processes, and how they ended."""

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
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal

from sweep import reaper
from sweep.errors import BadEnvironment

Start = Literal["fork", "spawn"]

_READY_SECONDS = 300

ANSWER_SECONDS = 60
"""How long one that has only to fork may take to answer, on a machine that swaps: what does not is as good as dead."""

MARK = "SWEEP_ZYGOTE"
"""The variable by which what a nursery started is known, should a zygote die before its cell."""


class ZygoteLost(Exception):
    """Something killed the zygote, and with it the process that it ran."""


class NotBegun(ZygoteLost):
    """It was dead before it started anything."""


class _Link:
    """A socket to another process, on which JSON goes to and fro."""

    def __init__(self) -> None:
        self.socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def hear(self) -> dict[str, Any]:
        """The next message. Raises ZygoteLost."""
        try:
            data = self.socket.recv(1 << 16)
        except (ConnectionResetError, TimeoutError) as error:
            raise ZygoteLost from error
        if not data:
            raise ZygoteLost
        message: dict[str, Any] = json.loads(data)
        return message


class Nursery:
    """A process that forks zygotes, which become children of who adopts orphans: of the supervisor.

    Raises BadEnvironment if it cannot start. `mark` is the value of `MARK` for all that comes from it.
    """

    def __init__(self, start: Start, environment: Mapping[str, str]) -> None:
        self.mark = uuid.uuid4().hex
        self._link = _Link()
        with self._link.theirs as theirs, tempfile.TemporaryFile() as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sweep.child.zygote", str(theirs.fileno()), start],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment, MARK: self.mark},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            theirs.close()
            try:
                self._link.socket.settimeout(_READY_SECONDS)
                self.start: Start = self._link.hear()["ready"]
                self._link.socket.settimeout(ANSWER_SECONDS)
            except ZygoteLost as error:
                self._process.kill()
                self.close()
                output.seek(0)
                text = output.read().decode(errors="replace").strip()
                raise BadEnvironment(f"cannot start a process for cells. It said:\n{text[-2000:]}") from error
            except BaseException:
                self._process.kill()
                self.close()
                raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def zygote(self) -> "Zygote":
        """A new one. Raises ZygoteLost."""
        link = _Link()
        try:
            with link.theirs:
                socket.send_fds(self._link.socket, [b"{}"], [link.theirs.fileno()])
            return Zygote(link, link.hear()["zygote"], self.mark)
        except (OSError, ZygoteLost) as error:
            link.socket.close()
            self._process.kill()  # one that does not answer would be asked again
            raise ZygoteLost from error
        except BaseException:
            link.socket.close()
            raise

    def close(self) -> None:
        """Close its socket, on which it ends; its zygotes stay."""
        self._link.socket.close()
        for number in (signal.SIGCONT, signal.SIGKILL):
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(reaper.DYING_SECONDS)
                return


class Zygote:
    """Forks the processes of cells, one at a time."""

    def __init__(self, link: _Link, pid: int, mark: str) -> None:
        self._link, self.pid, self.mark = link, pid, mark
        self._cell = 0
        self.abandoned = False
        """Whether what it ran could not be killed, so that it is of no use any more."""
        link.socket.settimeout(ANSWER_SECONDS)

    def fileno(self) -> int:
        """Readable when there is something to hear."""
        return self._link.socket.fileno()

    @property
    def alive(self) -> bool:
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def begin(self, job: Mapping[str, Any], descriptors: Iterable[int]) -> int:
        """Start a process with the fields of `child.zygote.Job`, and return its id.

        The descriptors are its ends of pipes: report, turn and log; they are closed here. Raises NotBegun.
        """
        theirs = list(descriptors)
        try:
            environment = {**job["environment"], MARK: self.mark}
            request = json.dumps({"start": {**job, "environment": environment}})
            socket.send_fds(self._link.socket, [request.encode()], theirs)
            self._cell = self._link.hear()["pid"]
        except (OSError, ZygoteLost) as error:
            raise NotBegun from error
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        return self._cell

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group."""
        with suppress(OSError):  # whoever listens next finds out that it is gone
            self._link.socket.send(json.dumps({"signal": int(number)}).encode(), socket.MSG_DONTWAIT)

    def wake(self) -> None:
        """Have it go on if somebody stopped it: only its cell could, which it would then not see end."""
        with suppress(OSError):
            os.kill(self.pid, signal.SIGCONT)

    def hear(self) -> dict[str, Any]:
        """The next message. Raises ZygoteLost."""
        return self._link.hear()

    def end(self, grace: float) -> None:
        """TERM, grace, KILL to the process that runs; returns when it, and all it left, is gone.

        Raises ZygoteLost, also where it cannot be killed.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            self.wake()
            for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, reaper.DYING_SECONDS)):
                self.signal(number)
                ends = time.monotonic() + seconds
                while selector.select(max(0.0, ends - time.monotonic())):
                    if "ended" in self.hear():
                        return
        self.abandoned = True
        raise ZygoteLost

    def close(self) -> None:
        """Close its socket, on which it ends what it still runs, and then itself; one that is abandoned is killed."""
        self._link.socket.close()
        if self.abandoned:
            with suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
        self.wake()
        ends = time.monotonic() + reaper.DYING_SECONDS
        reaper.wait_for(self.pid, ends)
        if self._cell:
            with suppress(ChildProcessError):  # if it was killed, its last process has come to us
                os.waitid(os.P_PID, self._cell, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                reaper.wait_for(self._cell, ends)
