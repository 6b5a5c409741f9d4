"""A folder that one process at a time may write to: a lock of the kernel, or a file where the file system has none."""

import errno
import fcntl
import json
import os
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

WITHOUT_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}
"""How a file system says that it has no locks: Lustre without its option `flock`, NFS without a lock server."""

LOOKS, LOOK_SECONDS = 10, 0.1
"""How often, and how far apart, it is looked again at what another process is just about to write or to take away."""


class FolderLock:
    """Held from `acquire` to `release`, and no longer than its process is there.

    Without locks it is a file that names its holder. Whoever finds it there, and its holder dead on this very machine,
    takes it away, one at a time; a holder on another machine cannot be seen, so that file stays.
    """

    def __init__(self, folder: Path) -> None:
        self.file, self._owner, self._taking = (folder / f".lock{end}" for end in ("", "-owner", "-taking-over"))
        self._descriptor: int | None = None
        self._mine: str | None = None

    def acquire(self) -> str | None:
        """Take it, if it is not held by this object already; returns None, or who has it and what to do, in words.

        Raises OSError where the folder cannot be written.
        """
        if self._descriptor is not None or self._mine is not None:
            return None
        descriptor = os.open(self.file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return "let it end, or end it"
        except OSError as error:
            os.close(descriptor)
            if error.errno not in WITHOUT_LOCKS:
                raise
            return self._acquire_by_file()
        self._descriptor = descriptor
        return None

    def release(self) -> None:
        """Let others have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._mine is not None:
            with suppress(OSError):
                if self._owner.read_text() == self._mine:
                    self._owner.unlink()
            self._mine = None

    def _acquire_by_file(self) -> str | None:
        mine = json.dumps(_this_process())
        held: str | None = None
        for _ in range(LOOKS):
            if _create(self._owner, mine):
                self._mine = mine
                return None
            try:
                text = self._owner.read_text()
                holder = json.loads(text)
                host, pid = str(holder["host"]), int(holder["pid"])
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError):  # whoever made it is about to write, or died before that
                held = f"{self._owner} does not say which; if none is, remove it"
            else:
                if not _is_dead(holder):
                    return f"process {pid} on {host}; let it end, or end it; if it is gone, remove {self._owner}"
                if self._take_away(text):
                    continue
                held = f"one takes it over from a dead one; if none does, remove {self._taking}"
            time.sleep(LOOK_SECONDS)
        return held or "others were faster; let them end"

    def _take_away(self, text: str) -> bool:
        """Remove what a dead process left, which reads so; returns whether no other is at it."""
        if not _create(self._taking, ""):
            return False
        try:
            with suppress(FileNotFoundError):
                if self._owner.read_text() == text:  # and not that of who was faster
                    self._owner.unlink()
        finally:
            self._taking.unlink()
        return True


def there_are_locks(descriptor: int) -> bool:
    """Whether the file system that an open file is on has the kernel's locks, whoever has one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except OSError as error:
        return error.errno not in WITHOUT_LOCKS
    return True


def _create(file: Path, text: str) -> bool:
    """Make a file with this text; returns whether there was none."""
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return False
    try:
        with open(descriptor, "w") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(descriptor)
    except OSError:  # no room: it would say nothing of who has it
        file.unlink(missing_ok=True)
        raise
    return True


def _this_process() -> dict[str, Any]:
    return {"host": platform.node(), "pid": os.getpid(), "started": _started(os.getpid()), **_machine()}


def _machine() -> dict[str, str]:
    """Where ids of processes mean what they mean here: this start of the machine, and this container."""
    found = {"boot": "", "pids": ""}
    with suppress(OSError):
        found["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        found["pids"] = str(Path("/proc/self/ns/pid").readlink())
    return found


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether a process that ran on this machine is certainly gone."""
    here = _machine()
    if holder["host"] != platform.node() or not here["boot"]:
        return False
    if holder.get("boot") != here["boot"]:
        return True  # the machine was started again
    return holder.get("pids") == here["pids"] and _started(int(holder["pid"])) != holder.get("started")


def _started(pid: int) -> str:
    """When a process started, in ticks since the machine did; empty where there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return ""
