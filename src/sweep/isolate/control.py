"""The control of cells: a process that holds their model unconverted, and is measured by turns with each of them."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from queue import Empty

from pydantic import ValidationError

from sweep import machine, reading, reaper
from sweep.cell import Cell, Limits, Phase
from sweep.evidence import Sampled, Trial
from sweep.isolate.exclusive import POLL_SECONDS
from sweep.isolate.process import Slot, Watch
from sweep.isolate.zygote import Zygote, ZygoteLost

WITH_ANOTHER = 2.2
"""How many times the memory of a control there must be, for a conversion of its model to have room beside it."""


GRACE_SECONDS = 5
"""For so long a process that was killed may take to be gone."""


BASELINE = "baseline.pt"


class ControlFailed(Exception):
    """It ended before it was ready: the unconverted model does not run. `trial` says how."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        self.trial = trial


class ControlLost(Exception):
    """It was there, and ended, or does not answer."""


def control_key(cell: Cell) -> str:
    """A text that is equal for cells that can have the same control."""
    own = ("id", "conversion", "mode", "overrides", "tolerance", "duplicate_of", "excluded_by")
    return json.dumps({name: value for name, value in asdict(cell).items() if name not in own}, sort_keys=True)


class Control:
    """Holds the unconverted model, its reference answers and its latency, for all cells of a `control_key`.

    From when it is ready it stands still, but for the blocks that it is asked for. It ends with its supervisor.
    """

    def __init__(
        self,
        cell: Cell,
        slot: Slot,
        environment: Mapping[str, str],
        zygote: Callable[[], AbstractContextManager[Zygote]],
        folders: tuple[Path, Path],
    ) -> None:
        """`cell` is the first that needs it; `zygote` gives what it is forked from. `folders` are where it runs, and
        apart, for a model may remove the former, where its BASELINE is: where there is one of an earlier control of the
        same kind, it need not find out everything anew. They go with it.
        """
        self._folders = folders
        self._limits, self._environment, self._zygote = cell.limits, environment, zygote
        self._slot, self._check_outside = replace(slot, check=self._check), slot.check
        self.baseline = folders[1] / BASELINE
        """The file in which it leaves what the processes of conversions need of it."""
        self._cell_file = folders[0] / "cell.json"
        self._cell_file.write_text(json.dumps(asdict(cell)), encoding="utf-8")
        self._watch: _ControlWatch | None = None
        self._ended_as: Trial | BaseException = ZygoteLost()
        self._unwanted = False
        self._told = threading.Event()
        self._busy = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="sweep-control", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        folder = self._cell_file.parent
        try:
            with self._zygote() as zygote:
                self._watch = watch = _ControlWatch(zygote, self._limits, self._slot, self._told)
                arguments = [str(self._cell_file), str(self.baseline), "control"]
                self._ended_as = watch.trial(watch.run_to_end("sweep.child", arguments, folder, self._environment))
        except BaseException as error:  # whoever waits for it is told
            self._ended_as = error
        finally:
            self._slot.memory.forget(self._slot.turn)
            self._told.set()

    def _check(self) -> None:
        if not (self._watch and self._watch.is_ready):
            self._check_outside()
            if self._unwanted:
                raise ControlLost

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def wait_until_ready(self, check: Callable[[], None]) -> None:
        """`check` is called while it waits, and may raise. Raises ControlFailed, and what kept it from starting."""
        while not self._told.wait(POLL_SECONDS):
            check()
        if not self._ready.is_ready:
            if isinstance(self._ended_as, Trial):
                raise ControlFailed(self._ended_as)
            raise self._ended_as

    @property
    def _ready(self) -> "_ControlWatch":
        if self._watch is None:
            assert isinstance(self._ended_as, BaseException), "it was never started"
            raise self._ended_as
        return self._watch

    @property
    def seconds(self) -> float:
        """What it took to get ready, without imports and building."""
        seconds: float = self._ready.report.evidence().get("seconds", {}).get(Phase.EAGER.key, 0.0)
        return seconds

    @property
    def memory(self) -> float:
        """Bytes that it holds."""
        return self._ready.memory

    @property
    def fits_beside_another(self) -> bool:
        """Whether there is memory for a conversion of its model while it is there, on the machine and on its GPU."""
        evidence = self._ready.report.evidence()
        on_gpu, free = (evidence.get("memory") or {}).get("cuda_peak"), evidence.get("gpu_free")
        if on_gpu is not None and free is not None and on_gpu * (WITH_ANOTHER - 1) > free:
            return False
        return self.memory * WITH_ANOTHER <= 0.9 * machine.memory()

    def block(self, check: Callable[[], None], *, begin: bool = False) -> Sampled:
        """Let it run for a block; its `load` is of all blocks since the one that began a trial. Raises ControlLost."""
        with self._busy:
            self._ready.go(b"t" if begin else b"b")
            try:
                return self._next_block(check)
            finally:
                self._ready.stand_still()

    def _next_block(self, check: Callable[[], None]) -> Sampled:
        deadline = time.monotonic() + self._limits.measure
        while self.alive and time.monotonic() < deadline:
            with suppress(Empty):
                block = self._ready.report.blocks.get(timeout=POLL_SECONDS)
                try:
                    sampled: Sampled = reading.of(Sampled).validate_python(block)
                except ValidationError:
                    break
                return sampled
            check()
        raise ControlLost

    def end(self) -> None:
        """End its process; what it left in `baseline` stays until it is closed.

        One that is not ready may be at the model's code: it gets its grace, unless this is called again meanwhile.
        """
        first, self._unwanted = not self._unwanted, True
        if self._watch and (self._watch.is_ready or not first):
            self._watch.end()
        self._thread.join(self._limits.grace + GRACE_SECONDS)

    def close(self) -> None:
        """End it, and remove what it left."""
        self.end()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


class _ControlWatch(Watch):
    """Watches a control: no deadline holds once it is ready, and from then on it stands still but for its blocks."""

    def __init__(self, zygote: Zygote, limits: Limits, slot: Slot, told: threading.Event) -> None:
        super().__init__(zygote, limits, slot, time.monotonic())
        self.is_ready = False
        self.memory = 0.0
        self._told = told
        self._stopped: set[int] = set()
        self._answer = -1

    def _hear(self, said: str, grant: int) -> None:
        if said != "ready":
            super()._hear(said, grant)
            return
        self._answer = grant
        self._slot.lock.remove(self._slot.turn)  # from now on it stands still by another's turn
        self.stand_still()
        self.memory = reaper.memory(self._slot.turn.zygote, float("inf"))
        self.is_ready = True
        self._told.set()

    def _too_much(self, pid: int, phase: Phase, phase_started: float, now: float) -> bool:
        if not self.is_ready:
            return super()._too_much(pid, phase, phase_started, now)
        self._slot.memory.too_much(self._slot.turn, self.memory, self._slot.turn.zygote)
        return False

    def go(self, request: bytes) -> None:
        """Let it go on, and ask it for something."""
        reaper.resume(self._stopped)
        with suppress(OSError):  # it has just died
            os.write(self._answer, request)

    def stand_still(self) -> None:
        self._stopped = reaper.stop_below(self._slot.turn.zygote)

    def end(self) -> None:
        self._zygote.signal(signal.SIGKILL)
        self._gives_up = time.monotonic() + reaper.DYING_SECONDS
