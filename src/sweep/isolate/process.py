"""Sees one process of a cell from its start to its end: phases, deadlines, memory, what it reports and prints."""

import json
import math
import os
import selectors
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep import reaper
from sweep.cell import Limits, Phase
from sweep.evidence import Exit
from sweep.isolate.exclusive import GLANCE, MeasureLock, Turn
from sweep.isolate.zygote import Zygote

REPORT_MOST = 64_000_000
"""Bytes of a report: some three million samples."""


Echo = Callable[[bytes], None]


class Tally:
    """What the cells of a node hold in memory together."""

    def __init__(self) -> None:
        self._held: dict[Turn, float] = {}
        self._most = 0.9 * reaper.machine_memory()

    def too_much(self, turn: Turn, used: float) -> bool:
        """Whether all cells hold 90 % of the memory, and this one, which holds so many bytes, the most of it."""
        self._held[turn] = used
        held = list(self._held.values())
        return len(held) > 1 and sum(held) > self._most and used >= max(held)

    def forget(self, turn: Turn) -> None:
        self._held.pop(turn, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where on its node a cell runs: its turn, what it shares with the others, and who listens to what it prints.

    `check` is called now and then, and raises when the cell is to end.
    """

    turn: Turn
    lock: MeasureLock
    tally: Tally
    check: Callable[[], None] = lambda: None
    echo: Echo | None = None


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
        self.began: dict[Phase, float] = {}
        self.turns: list[str] = []
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
            if "turn" in message:
                self.turns.append(message["turn"])
            with suppress(ValueError, TypeError):  # whatever it is that was sent
                self.phase = Phase(str(message.get("phase")))
                self.began[self.phase] = float(message.get("at", math.nan))


class Watch:
    """One process, from its start to its end; it is ended when it takes too long or too much."""

    def __init__(self, zygote: Zygote, limits: Limits, place: Place, cell_started: float) -> None:
        """`limits.total` counts from `cell_started`, on the monotonic clock."""
        self._zygote, self._limits, self._place, self._cell_started = zygote, limits, place, cell_started
        self.log, self.report = Log(place.echo), Report()
        self._memory_most = limits.memory * 1e6 if limits.memory else 0.9 * reaper.machine_memory()
        self._look_again = 0.0
        self._ended_in: Phase | None = None
        self._timeout: str | None = None
        self._memory: str | None = None

    def see_through(self, module: str, arguments: Sequence[str], folders: Path, environment: Mapping[str, str]) -> Exit:
        """Run `python -m module … arguments` until it, and all it leaves behind, is gone. Raises ZygoteLost, Withdrawn.

        Its working and temporary folders are made in `folders`.
        """
        job = {"module": module, "arguments": list(arguments), **_folders(folders, environment)}
        turn = self._place.turn
        turn.zygote, came = self._zygote.pid, time.monotonic()
        with ExitStack() as stack, selectors.DefaultSelector() as selector:
            ends = []
            stack.enter_context(self._place.lock.entered(turn, self._place.check))
            selector.register(self._zygote, selectors.EVENT_READ)
            go, grant = os.pipe()
            stack.callback(os.close, grant)
            for take in (self.report.add, self.log.add):
                ours, theirs = os.pipe()
                stack.callback(os.close, ours)
                os.set_blocking(ours, False)
                selector.register(ours, selectors.EVENT_READ, take)
                ends.append(theirs)
            started, killed_before = time.monotonic(), _oom_kills()
            pid = self._zygote.begin(job, (ends[0], go, ends[1]))
            try:
                self._place.lock.began(turn)
                code, strays = self._until_gone(selector, pid, started, grant)
            except BaseException:
                self._place.lock.withdraw(turn)  # what is stopped would not hear of its end
                self._zygote.end(self._limits.grace)
                raise
            for key in list(selector.get_map().values()):  # nobody writes any more
                while key.data and (data := _read(key.fd)):
                    key.data(data)
        ended = time.monotonic()
        return Exit(
            code=code,
            phase=self._ended_in or self.report.phase,
            seconds=ended - started - turn.paused(started, ended),
            waited=turn.paused(came, ended),
            timeout=self._timeout,
            memory=self._memory,
            report_too_long=self.report.too_long,
            oom_killed=_oom_kills() > killed_before,
            strays=strays,
        )

    def _until_gone(self, selector: selectors.BaseSelector, pid: int, started: float, grant: int) -> tuple[int, int]:
        """The return code, and how many processes it left behind."""
        turn = self._place.turn
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
            self._place.check()
            while self.report.turns:
                if self.report.turns.pop(0) == "ask":
                    self._place.lock.ask(turn, grant)
                else:
                    self._place.lock.leave(turn)
            now = time.monotonic()
            if self.report.phase is not phase:
                phase, phase_started = self.report.phase, now
            if ending is None and self._too_much(pid, phase, phase_started, now):
                self._ended_in = phase
                # QUIT has it print its stack (faulthandler); TERM and KILL follow whatever it makes of that
                last = now + GLANCE + (self._limits.grace if self._timeout else 0)
                ending = [(now, signal.SIGQUIT), (now + GLANCE, signal.SIGTERM), (last, signal.SIGKILL)]
            while ending and ending[0][0] <= now:
                self._zygote.signal(ending.pop(0)[1])

    def _too_much(self, pid: int, phase: Phase, phase_started: float, now: float) -> bool:
        """Whether it is beyond a limit; the time it waited or was stopped counts against none."""
        limits, turn = self._limits, self._place.turn
        if now < self._look_again or turn.paused_since is not None:
            return False
        self._look_again = now + GLANCE
        if now - self._cell_started - turn.paused(self._cell_started, now) >= limits.total:
            self._timeout = f"took more than limits.total={limits.total:g} s"
        elif now - phase_started - turn.paused(phase_started, now) >= limits.of(phase):
            self._timeout = f"took more than limits.{phase.value.replace('-', '_')}={limits.of(phase):g} s"
        elif (used := reaper.memory(pid, self._memory_most)) > self._memory_most:
            self._memory = (
                f"used {used / 1e6:.0f} MB of memory, more than limits.memory={self._memory_most / 1e6:.0f} MB"
            )
        elif limits.memory is None and self._place.tally.too_much(turn, used):
            self._memory = f"used {used / 1e6:.0f} MB of memory, and with the node's other cells all there is"
        return bool(self._timeout or self._memory or self.report.too_long)

    def paused(self, phase: Phase, seconds: float) -> float:
        """Seconds for which it stood still in a phase that took so many, by its own clock."""
        began = self.report.began.get(phase, math.nan)
        return 0.0 if math.isnan(began) else self._place.turn.paused(began, began + seconds)


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
