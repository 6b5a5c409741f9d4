"""Runs one process of a cell and watches it from its start to its end: its phases, deadlines and memory."""

import math
import os
import selectors
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep import machine, reading, reaper, shared_memory
from sweep.cell import Limits, Phase
from sweep.evidence import Evidence, Exit, Trial
from sweep.isolate.exclusive import POLL_SECONDS, MeasureLock, Turn
from sweep.isolate.output import Echo, Log, Report
from sweep.isolate.zygote import Zygote

MOST_AT_A_TIME = 100
"""Messages about its turn that are heard before the process is looked at again, however many it sends."""


class NodeMemory:
    """How much memory the cells of a node use together. A cell is known by its turn."""

    def __init__(self) -> None:
        self._used: dict[Turn, tuple[float, int]] = {}
        self._most = 0.9 * machine.memory()

    def too_much(self, turn: Turn, used: float, pid: int = 0) -> bool:
        """Whether all cells use more than 90 % of the memory, and none more than this one, which uses `used` bytes.

        `pid` is its process, by which pages that it shares with others are told once that matters: each is counted once
        then, and not for every cell that was forked from the same process.
        """
        self._used[turn] = used, pid
        if len(self._used) < 2 or sum(size for size, _ in self._used.values()) <= self._most:
            return False
        exact = {one: min(size, reaper.memory(pid, 0) if pid else size) for one, (size, pid) in self._used.items()}
        return sum(exact.values()) > self._most and exact[turn] >= max(exact.values())

    def forget(self, turn: Turn) -> None:
        self._used.pop(turn, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """What a cell gets of its node while it runs: its turn to measure, and what it shares with the node's other cells.

    `check` is called now and then, and raises when the cell is to end. `echo` is given what the cell prints.
    """

    turn: Turn
    lock: MeasureLock
    memory: NodeMemory
    check: Callable[[], None] = lambda: None
    echo: Echo | None = None


class Watch:
    """One process, from its start to its end; it is ended when it takes too long or too much."""

    def __init__(
        self,
        zygote: Zygote,
        limits: Limits,
        slot: Slot,
        cell_started: float,
        control_block: Callable[[], None] = lambda: None,
    ) -> None:
        """`limits.total` counts from `cell_started`, on the monotonic clock.

        `control_block` is called when the process stands aside for its control, and returns when that has had its turn.
        """
        self._zygote, self._limits, self._slot, self._cell_started = zygote, limits, slot, cell_started
        self._control_block = control_block
        self.log, self.report = Log(slot.echo), Report()
        self._memory_most = limits.memory * 1e6 if limits.memory else 0.9 * machine.memory()
        self._look_again = 0.0
        self._ended_in: Phase | None = None
        self._timeout: str | None = None
        self._memory: str | None = None
        self._not_killed = False
        self._gives_up = math.inf
        """When it is no longer waited for, because it should have been dead for long."""

    def run_to_end(self, module: str, arguments: Sequence[str], folders: Path, environment: Mapping[str, str]) -> Exit:
        """Run `python -m module … arguments` until it, and all it leaves behind, is gone. Raises ZygoteLost, Withdrawn.

        Its working and temporary folders are made in `folders`.
        """
        job = {"module": module, "arguments": list(arguments), **_folders(folders, environment)}
        turn, lock = self._slot.turn, self._slot.lock
        turn.zygote, came = self._zygote.pid, time.monotonic()
        with ExitStack() as stack, selectors.DefaultSelector() as selector:
            stack.enter_context(lock.present(turn, self._slot.check))
            theirs, grant = self._open_pipes(stack, selector)
            started, killed_before, shared_before = time.monotonic(), _oom_kills(), shared_memory.names()
            pid = self._zygote.begin(job, theirs)
            try:
                lock.began(turn)
                code, strays = self._until_gone(selector, pid, started, grant)
            except BaseException:
                lock.remove(turn)  # a stopped process would not hear that it is to end
                self._zygote.end(self._limits.grace)
                raise
            for key in [] if self._not_killed else list(selector.get_map().values()):  # nobody writes any more
                while key.data and (data := _read(key.fd)):
                    key.data(data)
        ended = time.monotonic()
        if code or strays:
            shared_memory.remove_unused(shared_memory.left_since(shared_before))
        return Exit(
            code=code,
            phase=self._ended_in or self.report.phase,
            seconds=ended - started - turn.paused(started, ended),
            waited=turn.paused(came, ended),
            timeout=self._timeout,
            memory=self._memory,
            not_killed=self._not_killed,
            report_too_long=self.report.too_long,
            oom_killed=_oom_kills() > killed_before,
            strays=strays,
        )

    def _open_pipes(self, stack: ExitStack, selector: selectors.BaseSelector) -> tuple[tuple[int, int, int], int]:
        """The process's ends of its pipes, for report, turn and log, and our end of that for its turn.

        Our ends are closed with the stack; those of report and log, and the zygote's messages, are in the selector.
        """
        selector.register(self._zygote, selectors.EVENT_READ)
        go, grant = os.pipe()
        os.set_blocking(grant, False)  # who reads none of its answers must not hold up whoever writes them
        stack.callback(os.close, grant)
        writers = []
        for take in (self.report.add, self.log.add):
            reader, writer = os.pipe()
            stack.callback(os.close, reader)
            os.set_blocking(reader, False)
            selector.register(reader, selectors.EVENT_READ, take)
            writers.append(writer)
        report, log = writers
        return (report, go, log), grant

    def _until_gone(self, selector: selectors.BaseSelector, pid: int, started: float, grant: int) -> tuple[int, int]:
        """The return code, and how many processes it left behind; one that cannot be killed is abandoned."""
        phase, phase_started = Phase.START, started
        ending: list[tuple[float, signal.Signals]] | None = None
        while True:
            for key, _ in selector.select(0 if self.report.turns else POLL_SECONDS):
                if key.fileobj is self._zygote:
                    message = self._zygote.hear()
                    return message["ended"], message["strays"]
                data = _read(key.fd)
                if data:
                    key.data(data)
                elif data is not None:
                    selector.unregister(key.fd)
            self._slot.check()
            self._slot.lock.look_again()
            self._zygote.wake()
            for _ in range(min(len(self.report.turns), MOST_AT_A_TIME)):
                self._hear(self.report.turns.popleft(), grant)
            now = time.monotonic()
            if self.report.phase is not phase:
                phase, phase_started = self.report.phase, now
            if ending is None and self._too_much(pid, phase, phase_started, now):
                self._ended_in = phase
                # QUIT has it print its stack (faulthandler); TERM and KILL follow whatever it makes of that
                last = now + POLL_SECONDS + (self._limits.grace if self._timeout else 0)
                ending = [(now, signal.SIGQUIT), (now + POLL_SECONDS, signal.SIGTERM), (last, signal.SIGKILL)]
                self._gives_up = last + reaper.DYING_SECONDS
            while ending and ending[0][0] <= now:
                self._zygote.signal(ending.pop(0)[1])
            if now >= self._gives_up:
                self._zygote.abandoned = self._not_killed = True
                return -signal.SIGKILL, 0

    def _hear(self, said: str, grant: int) -> None:
        """What the process says of its turn to measure; `grant` is our end of the pipe on which it is answered."""
        turn, lock = self._slot.turn, self._slot.lock
        match said:
            case "ask":
                lock.ask(turn, grant)
            case "leave":
                lock.leave(turn)
            case "control":
                stopped = reaper.stop_below(turn.zygote)
                try:
                    self._control_block()
                finally:
                    reaper.resume(stopped)
                with suppress(OSError):  # it has just died
                    os.write(grant, b".")

    def _too_much(self, pid: int, phase: Phase, phase_started: float, now: float) -> bool:
        """Whether it is beyond a limit; the time it waited or was stopped counts against none."""
        limits, turn = self._limits, self._slot.turn
        if now < self._look_again or turn.paused_since is not None:
            return False
        self._look_again = now + POLL_SECONDS
        if now - self._cell_started - turn.paused(self._cell_started, now) >= limits.total:
            self._timeout = f"took more than limits.total={limits.total:g} s"
        elif now - phase_started - turn.paused(phase_started, now) >= limits.of(phase):
            self._timeout = f"took more than limits.{phase.option}={limits.of(phase):g} s"
        elif (used := reaper.memory(pid, self._memory_most)) > self._memory_most:
            self._memory = (
                f"used {used / 1e6:.0f} MB of memory, more than limits.memory={self._memory_most / 1e6:.0f} MB"
            )
        elif limits.memory is None and self._slot.memory.too_much(turn, used, pid):
            self._memory = f"used {used / 1e6:.0f} MB of memory, and with the node's other cells all there is"
        return bool(self._timeout or self._memory or self.report.too_long)

    def trial(self, ending: Exit) -> Trial:
        """What it reported, with the times for which it stood still so that others could measure left out.

        Nothing that it says of eager: that is for its control.
        """
        try:
            evidence: Evidence = reading.of(Evidence).validate_python(self.report.evidence() | {"eager": None})
        except ValidationError:
            evidence = Evidence()
        worked = {
            phase.key: evidence.seconds[phase.key] - self._paused(phase, evidence.seconds[phase.key])
            for phase in Phase
            if phase.key in evidence.seconds
        }
        return Trial(ending=ending, evidence=replace(evidence, seconds=worked), log=self.log.text)

    def _paused(self, phase: Phase, seconds: float) -> float:
        """Seconds for which it stood still in a phase that took so many, by its own clock."""
        began = self.report.began.get(phase, math.nan)
        return 0.0 if math.isnan(began) else self._slot.turn.paused(began, began + seconds)


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
