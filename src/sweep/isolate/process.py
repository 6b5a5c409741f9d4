"""Sees one process of a cell from its start to its end: phases, deadlines, memory, what it reports and prints."""

import json
import os
import selectors
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from sweep import reaper
from sweep.cell import Exit, Limits, Phase
from sweep.isolate.zygote import Zygote

GLANCE = 0.2
"""Seconds to wait at a time: memory is looked at, and a worker that is told to stop hears of it, between two waits."""

REPORT_MOST = 64_000_000
"""Bytes of a report: some three million samples."""


Echo = Callable[[bytes], None]


class Log:
    """The first and the last of what is printed; what lies between is counted and dropped."""

    KEEP = 500_000

    def __init__(self, echo: Echo | None = None) -> None:
        self._head, self._tail, self._dropped = bytearray(), bytearray(), 0
        self._echo = echo

    def add(self, data: bytes) -> None:
        if self._echo:
            self._echo(data)
        room = self.KEEP - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self.KEEP:
            self._dropped += len(self._tail) - self.KEEP
            del self._tail[: -self.KEEP]

    @property
    def text(self) -> str:
        gap = f"\n[{self._dropped} bytes left out]\n".encode() if self._dropped else b""
        return (self._head + gap + self._tail).decode(errors="replace")


class Report:
    """The JSON lines of a report, as far as it is one; a line that is none is left out."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.phase = Phase.START
        self._size = 0
        self._rest = bytearray()

    @property
    def too_long(self) -> bool:
        return self._size > REPORT_MOST

    def add(self, data: bytes) -> None:
        self._size += len(data)
        if self.too_long:
            return
        self._rest += data
        if b"\n" in data:
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                self._take(bytes(line))

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return
        if isinstance(message, dict):
            self.messages.append(message)
            with suppress(ValueError):
                self.phase = Phase(str(message.get("phase")))


class Watch:
    """One process, from its start to its end; it is ended when it takes too long or too much."""

    def __init__(self, zygote: Zygote, limits: Limits, cell_started: float, echo: Echo | None = None) -> None:
        """`limits.total` counts from `cell_started`, on the monotonic clock."""
        self._zygote, self._limits, self._cell_started = zygote, limits, cell_started
        self.log, self.report = Log(echo), Report()
        self._memory_most = limits.memory * 1e6 if limits.memory else 0.9 * reaper.machine_memory()
        self._ended_in: Phase | None = None
        self._timeout: str | None = None
        self._memory: str | None = None

    def see_through(self, module: str, arguments: Sequence[str], folders: Path, environment: Mapping[str, str]) -> Exit:
        """Run `python -m module … arguments` until it, and all it leaves behind, is gone. Raises ZygoteLost.

        Its working and temporary folders are made in `folders`.
        """
        job = {"module": module, "arguments": list(arguments), **_folders(folders, environment)}
        started, killed_before = time.monotonic(), _oom_kills()
        with ExitStack() as stack, selectors.DefaultSelector() as selector:
            ends = []
            selector.register(self._zygote, selectors.EVENT_READ)
            for take in (self.report.add, self.log.add):
                ours, theirs = os.pipe()
                stack.callback(os.close, ours)
                os.set_blocking(ours, False)
                selector.register(ours, selectors.EVENT_READ, take)
                ends.append(theirs)
            pid = self._zygote.begin(job, *ends)
            try:
                code, strays = self._until_gone(selector, pid, started)
            except BaseException:
                self._zygote.end(self._limits.grace)
                raise
            for key in list(selector.get_map().values()):  # nobody writes any more
                while key.data and (data := _read(key.fd)):
                    key.data(data)
        return Exit(
            code=code,
            phase=self._ended_in or self.report.phase,
            seconds=time.monotonic() - started,
            timeout=self._timeout,
            memory=self._memory,
            report_too_long=self.report.too_long,
            oom_killed=_oom_kills() > killed_before,
            strays=strays,
        )

    def _until_gone(self, selector: selectors.BaseSelector, pid: int, started: float) -> tuple[int, int]:
        """The return code, and how many processes it left behind."""
        phase, phase_started = Phase.START, started
        ending: list[tuple[float, signal.Signals]] | None = None
        while True:
            for key, _ in selector.select(GLANCE):
                if key.fileobj is self._zygote:
                    message = self._zygote.hear()
                    return message["ended"], message["strays"]
                data = _read(key.fd)
                if data:
                    key.data(data)
                elif data is not None:
                    selector.unregister(key.fd)
            now = time.monotonic()
            if self.report.phase is not phase:
                phase, phase_started = self.report.phase, now
            if ending is None and self._too_much(pid, phase, now - phase_started, now - self._cell_started):
                self._ended_in = phase
                # QUIT has it print its stack (faulthandler); TERM and KILL follow whatever it makes of that
                last = now + GLANCE + (self._limits.grace if self._timeout else 0)
                ending = [(now, signal.SIGQUIT), (now + GLANCE, signal.SIGTERM), (last, signal.SIGKILL)]
            while ending and ending[0][0] <= now:
                self._zygote.signal(ending.pop(0)[1])

    def _too_much(self, pid: int, phase: Phase, seconds: float, in_all: float) -> bool:
        limits = self._limits
        if in_all >= limits.total:
            self._timeout = f"took more than limits.total={limits.total:g} s"
        elif seconds >= limits.of(phase):
            self._timeout = f"took more than limits.{phase.value.replace('-', '_')}={limits.of(phase):g} s"
        elif (used := reaper.memory(pid, self._memory_most)) > self._memory_most:
            self._memory = (
                f"used {used / 1e6:.0f} MB of memory, more than limits.memory={self._memory_most / 1e6:.0f} MB"
            )
        return bool(self._timeout or self._memory or self.report.too_long)


def _folders(parent: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    home, temporary = tempfile.mkdtemp(prefix="home-", dir=parent), tempfile.mkdtemp(prefix="tmp-", dir=parent)
    return {"folder": home, "environment": {**environment, "TMPDIR": temporary}}


def _read(descriptor: int) -> bytes | None:
    """Some of what there is to read: nothing at the end, None where there is nothing now."""
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return None


def _oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started, on this machine."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
