"""One node's supervisor: what the cells that run there share, and what each of them gets of it."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from sweep import reaper
from sweep.cell import Cell
from sweep.isolate.exclusive import MeasureLock, Turn
from sweep.isolate.output import Echo
from sweep.isolate.pool import ZygotePool
from sweep.isolate.process import NodeMemory, Slot
from sweep.isolate.zygote import NotBegun, Start, Zygote, ZygoteLost


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
        cpus = len(os.sched_getaffinity(0))
        self.compile_threads = max(1, cpus // cells)
        self._measure_lock, self._memory = MeasureLock(cpus), NodeMemory()
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
        number = None if cell.device.kind == "cpu" else list(self._gpus).index(gpu) if gpu is not None else 0
        turn = Turn(exclusive=cell.measure.exclusive, gpu=number)
        try:
            yield Slot(turn=turn, lock=self._measure_lock, memory=self._memory, check=self._check, echo=echo), gpu
        finally:
            self._memory.forget(turn)
            with self._lock:
                self._present -= 1
                if gpu is not None:
                    self._gpus[gpu] -= 1

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
        try:
            yield zygote
        except (ZygoteLost, NotBegun):
            with self._lock:
                self._pool.discard(zygote)
            raise
        except BaseException:
            with self._lock:
                self._pool.release(zygote)
            raise
        else:
            with self._lock:
                self._pool.release(zygote)

    def _check(self) -> None:
        if self._ending.is_set():
            raise Withdrawn

    def end(self) -> None:
        """Have every cell that runs here end now; its call of `isolate.run` raises Withdrawn."""
        self._ending.set()

    def close(self) -> None:
        """End the processes that start cells. No cell may run any more."""
        with self._lock:
            self._pool.close()


def _moved(path: str, there: Path, here: Path) -> str:
    original = Path(path)
    return str(here / original.relative_to(there)) if original.is_relative_to(there) else path
