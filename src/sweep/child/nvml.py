"""Who else computes on an NVIDIA GPU, and whether it is slowed down: by NVIDIA's management library, NVML."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

SLOWDOWNS = 0x8 | 0x20 | 0x40 | 0x80
"""NVML's reasons to lower a clock, as nvml.h has them: a hardware slowdown (8), heat (20 by software, 40 by hardware)
and the power brake (80); not idleness, nor a limit that somebody set."""


class Gpu:
    """One GPU. A figure that NVML does not give is None."""

    def __init__(self, library: Any, handle: Any) -> None:
        """By `pynvml`, or what stands in for it, and its handle of the GPU."""
        self._library, self._handle = library, handle
        self._slowed: bool | None = None

    def other_processes(self) -> int | None:
        """How many processes that are not of this sweep have something on it."""
        with suppress(Exception):
            listed = [process.pid for process in self._library.nvmlDeviceGetComputeRunningProcesses(self._handle)]
            family, number = Family(), self._library.nvmlDeviceGetMinorNumber(self._handle)
            return others(listed, os.getpid(), family.has, lambda: family.on_gpu(number))
        return None

    def look(self) -> None:
        """See whether it is slowed down now; to be called while it works, for idle it says nothing."""
        with suppress(Exception):
            reasons = self._library.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)
            self._slowed = bool(self._slowed) or bool(reasons & SLOWDOWNS)

    def slowed(self) -> bool | None:
        """Whether it was, at any look."""
        return self._slowed


def gpu(uuid: str) -> Gpu:
    """The GPU that torch knows by this id. Raises whatever the library raises, also where there is none."""
    import pynvml

    pynvml.nvmlInit()
    return Gpu(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}"))


def others(
    listed: Iterable[int], own: int, is_ours: Callable[[int], bool], ours_on_a_gpu: Callable[[], int]
) -> int | None:
    """How many of the processes that NVML lists are not this sweep's; None where that cannot be told.

    In a container NVML may list them by the ids that they have on the host, and `own` is none of these. Then nobody
    can tell which is which, but they can be counted: those beyond `ours_on_a_gpu` are others. It may list none at all,
    although this very process is there: then nothing is known.
    """
    pids = set(listed)
    if not pids:
        return None
    if own in pids:
        return sum(not is_ours(pid) for pid in pids)
    return max(0, len(pids) - ours_on_a_gpu())


class Family:
    """The processes below this one's supervisor: this sweep's cells and controls, of which one at a time runs."""

    def __init__(self, proc: Path = Path("/proc"), own: int | None = None) -> None:
        """`proc` is where the kernel tells of processes, `own` the id of this one."""
        self._proc = proc
        zygote = self._parent(os.getpid() if own is None else own)
        self._supervisor = self._parent(zygote) if zygote else 0

    def has(self, pid: int) -> bool:
        """Whether a process is one of them."""
        seen: list[int] = []
        while pid and pid not in seen:
            if pid == self._supervisor:
                return True
            seen.append(pid)
            pid = self._parent(pid)
        return False

    def on_gpu(self, number: int) -> int:
        """How many of them have the device file of a GPU open, as each process with a CUDA context there has."""
        pids = [int(entry.name) for entry in self._proc.iterdir() if entry.name.isdigit()]
        return sum(self.has(pid) and f"/dev/nvidia{number}" in self._open_files(pid) for pid in pids)

    def _parent(self, pid: int) -> int:
        """0 where it is gone."""
        with suppress(OSError, ValueError, IndexError):
            return int((self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        return 0

    def _open_files(self, pid: int) -> list[str]:
        found: list[str] = []
        with suppress(OSError):  # another user's, or gone
            for entry in (self._proc / str(pid) / "fd").iterdir():
                with suppress(OSError):
                    found.append(str(entry.readlink()))
        return found
