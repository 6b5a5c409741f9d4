"""Temporary folders that a killed process leaves to the next one: each is claimed by a lock that dies with it."""

import fcntl
import os
import platform
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

CLAIM = ".sweep-owner"
"""The file in a folder that its owner has a lock on."""


class OwnFolder:
    """A temporary folder of this process. It goes when it is closed, or with the process; if that is killed, then when
    the next one is made."""

    def __init__(self, where: Path | None = None) -> None:
        """It is made in the folder `where`, the temporary one by default. Raises OSError where none can be made."""
        where = where or Path(tempfile.gettempdir())
        sweep_up(where.glob("sweep-*"))
        self.path = Path(tempfile.mkdtemp(prefix="sweep-", dir=where))
        self._remove = weakref.finalize(self, _remove, self.path, claim(self.path))

    def close(self) -> None:
        self._remove()


def claim(folder: Path) -> int | None:
    """Keep a folder from being swept up until the descriptor that this returns is closed; None where it cannot be."""
    with suppress(OSError):
        unlocked = folder / f"{CLAIM}.new"  # gets its name when it is locked: nobody finds it in between
        descriptor = os.open(unlocked, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # a file system without locks: nobody sweeps there
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, _this_machine().encode())
        unlocked.rename(folder / CLAIM)
        return descriptor
    return None


def sweep_up(folders: Iterable[Path]) -> None:
    """Remove those of this user's folders whose owner is dead; what nobody ever claimed is none of sweep's.

    What another machine claimed, in a folder that both have, stays: not every file system has locks that both see.
    """
    for folder in folders:
        with suppress(OSError):  # it is locked, another user's, or just gone
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder / CLAIM, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.read(descriptor, 1000).decode(errors="replace") == _this_machine():
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _this_machine() -> str:
    """The same after it was started again; another one in a container."""
    with suppress(OSError):
        return f"{platform.node()} {Path('/etc/machine-id').read_text().strip()}"
    return platform.node()


def _remove(folder: Path, descriptor: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if descriptor is not None:
        os.close(descriptor)
