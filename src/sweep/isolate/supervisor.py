"""One node's supervisor: what the cells that run there share, and what each of them gets of it."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from sweep import machine, reaper, shared_memory
from sweep.cell import Cell
from sweep.isolate.control import BASELINE, Control, ControlFailed, control_key
from sweep.isolate.exclusive import POLL_SECONDS, MachineLock, MeasureLock, Turn
from sweep.isolate.output import Echo
from sweep.isolate.pool import ZygotePool
from sweep.isolate.process import NodeMemory, Slot
from sweep.isolate.scratch import Scratch
from sweep.isolate.zygote import NotBegun, Start, Zygote, ZygoteLost

Environments = tuple[dict[str, str], dict[str, str]]
"""What the zygotes of a cell see, and what its processes see."""

IDLE_SHARE = 0.2
"""The share of the machine's memory that idle controls may hold."""


class Withdrawn(Exception):
    """The cell is not wanted any more: its sweep is ending."""


class Supervisor:
    """Runs cells of one node, as many at a time as there are threads that call; measurements never overlap.

    It has no process before the first cell. Whoever makes one closes it, or uses it as a context manager.
    """

    def __init__(self, *, cells: int = 1, gpus: Sequence[str] = (), shipped: tuple[Path, Path] | None = None) -> None:
        """At most `cells` at a time will run here, on `gpus` as CUDA_VISIBLE_DEVICES names them (none: as it is).

        `shipped` is where the user's files are on the machine that the sweep was started on, and where they are here.
        """
        cpus = machine.cpus()
        self.compile_threads = max(1, cpus // cells)
        self._machine_lock = MachineLock()
        self._measure_lock, self._memory = MeasureLock(cpus, self._machine_lock), NodeMemory()
        self._controls: dict[tuple[object, ...], _Kept] = {}
        self.scratch = Scratch()
        self._pool = ZygotePool(reaper.ORPHAN_ADOPTION)
        self._lock = threading.Lock()
        self._gpus = dict.fromkeys(gpus, 0)
        self._shipped = shipped
        self._ending = threading.Event()
        self._present = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def slot(self, cell: Cell, echo: Echo | None) -> Iterator[tuple[Slot, str | None]]:
        """A cell's slot, and the GPU it gets."""
        with self._lock:
            gpu = min(self._gpus, key=lambda name: self._gpus[name], default=None) if cell.device.gpus else None
            if gpu is not None:
                self._gpus[gpu] += 1
            self._present += 1
        slot = self._slot(cell, gpu, echo)
        try:
            yield slot, gpu
        finally:
            self._memory.forget(slot.turn)
            with self._lock:
                self._present -= 1
                if gpu is not None:
                    self._gpus[gpu] -= 1

    def _slot(self, cell: Cell, gpu: str | None, echo: Echo | None = None) -> Slot:
        number = None if cell.device.kind == "cpu" else list(self._gpus).index(gpu) if gpu is not None else 0
        turn = Turn(exclusive=cell.measure.exclusive, gpu=number)
        return Slot(turn=turn, lock=self._measure_lock, memory=self._memory, check=self._check, echo=echo)

    @contextmanager
    def control(
        self,
        cell: Cell,
        gpu: str | None,
        number: int,
        environments: Environments,
        echo: Echo | None,
    ) -> Iterator[tuple[Control, bool]]:
        """The control with this number of a cell, ready; and whether it was started for this cell.

        What the model prints in a control that is started for this cell is given to `echo`. Raises ControlFailed,
        Withdrawn, BadEnvironment, ZygoteLost, OSError.
        """
        of_zygote, of_process = environments
        key = (control_key(cell) + json.dumps(of_zygote, sort_keys=True), gpu)
        with self._lock:
            kept = self._controls.setdefault((*key, number), _Kept())
            kept.users += 1
            idle = [other for other, control in self._controls.items() if not control.users]
            keep_no_more = [self._controls.pop(other) for other in idle if self._has_to_go(other, key, gpu)]
        for other in keep_no_more:
            other.close()
        try:
            while not kept.starting.acquire(timeout=POLL_SECONDS):
                self._check()
            try:
                if kept.failed:
                    raise kept.failed
                started = False
                if kept.control is None or not kept.control.alive:
                    started = True
                    kept.close()
                    zygote = partial(self.zygote, cell.start, of_zygote)
                    folders = self.scratch.new_folder("control-"), self.scratch.new_folder("baseline-")
                    self.scratch.give_kept(str(key), folders[1] / BASELINE)
                    kept.control = Control(cell, self._slot(cell, gpu, echo), of_process, zygote, folders)
                    kept.wait_until_ready(self._check)
                    self.scratch.keep_file(str(key), kept.control.baseline)
            finally:
                kept.starting.release()
            yield kept.control, started
        finally:
            with self._lock:
                kept.users -= 1

    def _has_to_go(self, other: tuple[object, ...], key: tuple[object, ...], gpu: str | None) -> bool:
        """Whether an idle control makes room for that with `key`: the same with another number, one on the same GPU,
        or any, where idle ones hold more than their share of the memory.
        """
        if other[:2] == key:
            return True
        if gpu is not None and other[1] == gpu:
            return True
        held = sum(kept.control.memory for kept in self._controls.values() if kept.control and not kept.users)
        return held > IDLE_SHARE * machine.memory()

    @property
    def shared(self) -> bool:
        """Whether more than one cell is here now."""
        return self._present > 1

    def with_local_paths(self, cell: Cell) -> Cell:
        """The cell with the user's files where they are on this node."""
        if self._shipped is None:
            return cell
        there, here = self._shipped
        checkpoint = cell.model.config.get("checkpoint")
        config = {**cell.model.config, "checkpoint": _moved(str(checkpoint), there, here)} if checkpoint else None
        return replace(
            cell,
            python_path=tuple(_moved(path, there, here) for path in cell.python_path),
            model=replace(cell.model, config=config) if config else cell.model,
        )

    @contextmanager
    def zygote(self, start: Start, environment: dict[str, str]) -> Iterator[Zygote]:
        """A zygote for one process. Raises BadEnvironment, ZygoteLost."""
        with self._lock:
            try:
                zygote = self._pool.acquire(start, environment)
            except ZygoteLost:  # its nursery died just now
                zygote = self._pool.acquire(start, environment)
        shared_before = shared_memory.names()
        try:
            yield zygote
        except (ZygoteLost, NotBegun):
            with self._lock:
                self._pool.discard(zygote)
            shared_memory.remove_unused(shared_memory.left_since(shared_before))
            raise
        except BaseException:
            with self._lock:
                self._pool.release(zygote)
            raise
        else:
            with self._lock:
                (self._pool.discard if zygote.abandoned else self._pool.release)(zygote)

    def _check(self) -> None:
        if self._ending.is_set():
            raise Withdrawn

    def end(self) -> None:
        """Have every cell that runs here end now; its call of `isolate.run` raises Withdrawn."""
        self._ending.set()

    def end_controls(self) -> None:
        """End the controls that no cell uses now."""
        with self._lock:
            idle = {key: kept for key, kept in self._controls.items() if not kept.users}
            self._controls = {key: kept for key, kept in self._controls.items() if key not in idle}
        for kept in idle.values():
            kept.close()

    def rest(self) -> None:
        """End controls and the processes that start cells, unless a cell is here; compile caches of cells stay."""
        self.end_controls()
        with self._lock:
            if not self._present and not self._controls:
                self._pool.close()

    def close(self) -> None:
        """End controls and the processes that start cells, and remove what cells left. No cell may run any more."""
        self.end_controls()
        with self._lock:
            self._pool.close()
        self._machine_lock.close()
        self.scratch.close()


@dataclass(eq=False, slots=True)
class _Kept:
    """A control that is kept for further cells, how many use it now, and why it could not be started, if so."""

    control: Control | None = None
    users: int = 0
    failed: ControlFailed | None = None
    starting: threading.Lock = field(default_factory=threading.Lock)

    def wait_until_ready(self, check: Callable[[], None]) -> None:
        """Raises as `Control.wait_until_ready` does; that its model does not run holds for all who want it."""
        assert self.control
        try:
            self.control.wait_until_ready(check)
        except ControlFailed as failed:
            if not failed.trial.ending.memory and not failed.trial.ending.oom_killed:
                self.failed = failed
            self.close()
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self.control:
            self.control.close()
            self.control = None


def _moved(path: str, there: Path, here: Path) -> str:
    original = Path(path)
    return str(here / original.relative_to(there)) if original.is_relative_to(there) else path
