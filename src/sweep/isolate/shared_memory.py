"""POSIX shared memory that a cell leaves behind: it belongs to no process, and stays when all of a cell's are gone."""

import os
from contextlib import suppress
from pathlib import Path

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


def remove_unused(before: set[str]) -> None:
    """Remove what is new since `before` and that no process has open or mapped any more."""
    if not (new := names() - before):
        return
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            new -= _in_use(process)
    for name in new:
        with suppress(OSError):
            (SHARED / name).unlink()


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
