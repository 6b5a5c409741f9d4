"""What this process may use of its machine: what that has, or the control groups that it is in allow.

A container, a Slurm step and a systemd slice are such groups, one inside the other, and the limit that counts, the
tightest, may be in any of them: cgroups(7), both versions of which are read here.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

NO_LIMIT = 2**60
"""Bytes from which on version 1 means none."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The folder of a control group, and the version of its files."""

    folder: Path
    version: int

    def number(self, name: str) -> int | None:
        """What a file of a single number says; None where it says `max`, or is not there."""
        with suppress(OSError, ValueError):
            return int((self.folder / name).read_text())
        return None

    def fields(self, name: str) -> list[str]:
        with suppress(OSError):
            return (self.folder / name).read_text().split()
        return []

    @property
    def memory_limit(self) -> int | None:
        """Bytes; None for none."""
        limit = self.number("memory.max" if self.version == 2 else "memory.limit_in_bytes")
        return None if limit is None or limit >= NO_LIMIT else limit

    @property
    def memory_used(self) -> int:
        """Bytes that could not be had back from the page cache."""
        used = self.number("memory.current" if self.version == 2 else "memory.usage_in_bytes") or 0
        stat = self.fields("memory.stat")
        cached = dict(zip(stat[::2], stat[1::2], strict=False)).get(
            "inactive_file" if self.version == 2 else "total_inactive_file", "0"
        )
        return max(0, used - int(cached))

    @property
    def cpu_quota(self) -> float | None:
        """CPUs' worth of time that it may use; None for any."""
        if self.version == 2:
            quota, period = [*self.fields("cpu.max"), "max", "100000"][:2]
        else:
            quota, period = (str(self.number(f"cpu.cfs_{name}_us") or -1) for name in ("quota", "period"))
        return int(quota) / int(period) if quota not in {"max", "-1"} else None

    @property
    def throttled_seconds(self) -> float:
        """For how long it has had to wait since it was made, because its time was used up."""
        stat = self.fields("cpu.stat")
        found = dict(zip(stat[::2], stat[1::2], strict=False))
        return int(found.get("throttled_usec", 0)) / 1e6 + int(found.get("throttled_time", 0)) / 1e9


def memory() -> int:
    """Bytes that this machine has, or that all processes of this one's groups may have together."""
    limits = [limit for group in _groups("memory") if (limit := group.memory_limit) is not None]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits])


def available_memory() -> int:
    """Bytes of it that this process could get now without swapping."""
    meminfo = (PROC / "meminfo").read_text()
    kib = next(int(line.split()[1]) for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
    groups = ((group, group.memory_limit) for group in _groups("memory"))
    left = [max(0, limit - group.memory_used) for group, limit in groups if limit is not None]
    return min([kib * 1024, *left])


def cpus() -> int:
    """CPUs that this process may run on at a time, at least one: those it is bound to, or what a quota leaves of them.

    Of a quota of 1.5 one: a second thread would have to wait for half of the time.
    """
    bound = len(os.sched_getaffinity(0))
    quotas = [quota for group in _groups("cpu") if (quota := group.cpu_quota) is not None]
    return max(1, math.floor(min([bound, *quotas])))


def throttled_seconds() -> float:
    """For how long the groups had to wait, all together: of one that grows no other hides it."""
    return math.fsum(group.throttled_seconds for group in _groups("cpu"))


def _groups(controller: str) -> Iterator[_Group]:
    """This process's group for a controller, and those around it, as far as they can be seen from here."""
    for version, top, root, path in _places(controller):
        inside = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path(path.lstrip("/"))
        folder = top / inside
        yield from (_Group(one, version) for one in (folder, *folder.parents) if one.is_relative_to(top))


def _places(controller: str) -> Iterator[tuple[int, Path, str, str]]:
    """For each version: where its groups are mounted, which of them that is, and which this process is in."""
    with suppress(OSError, ValueError, IndexError):
        mounts = [line.split(" - ") for line in (PROC / "self/mountinfo").read_text().splitlines()]
        for line in (PROC / "self/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if names and controller not in names.split(","):
                continue
            for before, after in mounts:
                kind, _, options = after.split(" ", 2)
                is_of = not names if kind == "cgroup2" else kind == "cgroup" and controller in options.split(",")
                if is_of and (kind == "cgroup2" or names):
                    fields = before.split(" ")
                    yield (1 if names else 2), Path(fields[4]), fields[3], path
