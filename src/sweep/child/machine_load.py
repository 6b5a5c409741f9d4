"""What else the machine did while something was measured: read before and after, and the differences reported."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from time import perf_counter

from sweep import machine
from sweep.child.nvml import Gpu
from sweep.evidence import MachineLoad


class LoadWatch:
    """Reads the machine's counters before and after each stretch of time that counts, and adds up the differences.

    With `gpu` also those of the GPU in use.
    """

    def __init__(self, gpu: Gpu | None = None) -> None:
        self._gpu = gpu
        self._seconds = 0.0
        self._since: dict[str, float] = {}

    @contextmanager
    def during(self) -> Iterator[None]:
        """What is inside counts."""
        began, before = perf_counter(), _counters()
        yield
        if self._gpu:
            self._gpu.look()
        after = _counters()
        self._seconds += perf_counter() - began
        for name in before.keys() & after.keys():
            self._since[name] = self._since.get(name, 0.0) + after[name] - before[name]

    def load(self) -> MachineLoad:
        """What other processes did meanwhile. A figure that this machine does not give is None."""
        since, seconds = self._since, self._seconds or 1.0
        others = max(0.0, since.get("machine", 0.0) - since.get("own", 0.0))
        heat = since.get("heat")
        return MachineLoad(
            cpu_by_others=min(1.0, others / (seconds * (os.cpu_count() or 1))),
            cpu_pressure=min(1.0, since["pressure"] / seconds) if "pressure" in since else None,
            quota_throttled=min(1.0, since["throttled"] / seconds) if "throttled" in since else None,
            heat_throttled=heat > 0 if heat is not None else None,
            gpu_processes=self._gpu.other_processes() if self._gpu else None,
            gpu_throttled=self._gpu.slowed() if self._gpu else None,
        )


def _counters() -> dict[str, float]:
    """Seconds of CPU time, of waiting for a CPU and of being held up by a quota, and how often heat slowed a core."""
    used = os.times()
    counters = {
        "machine": _machine_seconds(),
        "throttled": machine.throttled_seconds(),
        "own": used.user + used.system + used.children_user + used.children_system,
    }
    with suppress(OSError, ValueError, IndexError):  # a kernel without pressure stall information, or that hides it
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
        counters["pressure"] = int(some.rpartition("total=")[2]) / 1e6
    with suppress(OSError, ValueError):
        if cores := _heat_counters():
            counters["heat"] = sum(int(core.read_text()) for core in cores)
    return counters


@cache
def _heat_counters() -> list[Path]:
    return list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))


def _machine_seconds() -> float:
    """CPU seconds that all processes used: the first line of /proc/stat less idle, iowait and guests, proc(5)."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, *rest = [int(field) for field in stat.readline().split()[1:9]]
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
