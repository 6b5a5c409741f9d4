"""One node's supervisor: what the cells that run there share, and what each of them gets of it."""

import os
import platform
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sweep.cell import Cell
from sweep.isolate.exclusive import MeasureLock, Turn
from sweep.isolate.process import Echo, Place, Tally
from sweep.isolate.zygote import NotBegun, Start, Zygote, ZygoteLost, Zygotes


class Withdrawn(Exception):
    """The cell is not wanted any more: its sweep is ending."""


class Supervisor:
    """Runs cells of one node, as many at a time as there are threads that call; measurements never overlap."""

    def __init__(self, *, cells: int = 1, gpus: Sequence[str] = (), shipped: tuple[Path, Path] | None = None) -> None:
        """At most `cells` at a time will run here, on `gpus` as CUDA_VISIBLE_DEVICES names them (none: as it is).

        `shipped` is where the user's files are on the machine that the sweep was started on, and where they are here.
        """
        cpus = len(os.sched_getaffinity(0))
        self.compile_threads = max(1, cpus // cells)
        self.name = platform.node()
        self._measure_lock, self._tally, self._zygotes = MeasureLock(cpus), Tally(), Zygotes()
        self._lock = threading.Lock()
        self._gpus = dict.fromkeys(gpus, 0)
        self._shipped = shipped
        self._ending = threading.Event()
        self._present = 0

    @contextmanager
    def place(self, cell: Cell, echo: Echo | None) -> Iterator[tuple[Place, str | None]]:
        """A cell's place, and the GPU it gets."""
        with self._lock:
            gpu = min(self._gpus, key=lambda name: self._gpus[name], default=None) if cell.device.gpus else None
            if gpu is not None:
                self._gpus[gpu] += 1
            self._present += 1
        number = None if cell.device.kind == "cpu" else list(self._gpus).index(gpu) if gpu is not None else 0
        turn = Turn(exclusive=cell.measure.exclusive, gpu=number)
        try:
            yield Place(turn=turn, lock=self._measure_lock, tally=self._tally, check=self._check, echo=echo), gpu
        finally:
            self._tally.forget(turn)
            with self._lock:
                self._present -= 1
                if gpu is not None:
                    self._gpus[gpu] -= 1

    @property
    def shared(self) -> bool:
        """Whether more than one cell is here now."""
        return self._present > 1

    def here(self, cell: Cell) -> Cell:
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
                zygote = self._zygotes.lend(start, environment)
            except ZygoteLost:  # its nursery died just now
                zygote = self._zygotes.lend(start, environment)
        try:
            yield zygote
        except (ZygoteLost, NotBegun):
            with self._lock:
                self._zygotes.bury(zygote)
            raise
        except BaseException:
            with self._lock:
                self._zygotes.give_back(zygote)
            raise
        else:
            with self._lock:
                self._zygotes.give_back(zygote)

    def _check(self) -> None:
        if self._ending.is_set():
            raise Withdrawn

    def end(self) -> None:
        """Have every cell that runs here end now; its call of `isolate.run` raises Withdrawn."""
        self._ending.set()

    def close(self) -> None:
        """Let the processes that start cells go. No cell may run any more."""
        with self._lock:
            self._zygotes.close()


def _moved(path: str, there: Path, here: Path) -> str:
    found = Path(path)
    return str(here / found.relative_to(there)) if found.is_relative_to(there) else path
