"""POSIX shared memory that a cell leaves behind: it belongs to no process, and stays when all of a cell's are gone."""

import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

FIRST_NAMESPACES = {"pid": 0xEFFFFFFC, "ipc": 0xEFFFFFFF}
"""The numbers of those that Linux starts with, include/linux/proc_ns.h."""

OF_LIBRARIES = re.compile(
    r"torch_(?P<torch>\d+)_.*|__KMP_REGISTERED_LIB_(?P<openmp>\d+)_.*|(psm_|sem\.|nccl-|cuda\.shm\.).*"
)
"""The names that torch, OpenMP (both with the id of a process), Python, NCCL and CUDA give. Whatever has another name
may be a file that somebody has just put there."""

SHARED = Path("/dev/shm")  # noqa: S108 - where Linux has it, shm_overview(7)


def names() -> set[str]:
    """What there is now of this user's."""
    found = set()
    with suppress(OSError), os.scandir(SHARED) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_uid == os.getuid():
                    found.add(entry.name)
    return found


def left_since(before: Collection[str]) -> set[str]:
    """What is new, has a name of a library's, and is of no process that is alive."""
    found = set()
    for name in names().difference(before):
        if match := OF_LIBRARIES.fullmatch(name):
            pid = match["torch"] or match["openmp"]
            if pid is None or not Path(f"/proc/{pid}").exists():
                found.add(name)
    return found


def held_by(pids: Iterable[int]) -> set[str]:
    """What these processes have open or mapped."""
    return {name for pid in pids for name in _in_use(Path(f"/proc/{pid}"))}


def remove_unused(found: set[str]) -> None:
    """Remove those of these that no process has open or mapped any more.

    A container that shares the memory of its host, and not the list of its processes, removes nothing.
    """
    left = found & names() if _sees_all_users() else set()
    if left:
        left -= held_by(int(process.name) for process in Path("/proc").iterdir() if process.name.isdigit())
    for name in left:
        with suppress(OSError):
            (SHARED / name).unlink()


def _sees_all_users() -> bool:
    """Whether all processes that may use the shared memory here are listed here."""
    return _is_first("pid") or not _is_first("ipc")


def _is_first(namespace: str) -> bool:
    try:
        return Path(f"/proc/self/ns/{namespace}").stat().st_ino == FIRST_NAMESPACES[namespace]
    except OSError:
        return False


def _in_use(process: Path) -> set[str]:
    found = set()
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    with suppress(OSError):
        for line in (process / "maps").read_text(errors="replace").splitlines():
            found.add(line[line.find("/") :])
    return {path.removeprefix(f"{SHARED}/") for path in found if path.startswith(f"{SHARED}/")}
