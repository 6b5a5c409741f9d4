"""What `chaos.py` strikes at: a sweep that runs, its processes, its terminal, and the disk that its rows go to."""

import errno
import fcntl
import os
import pty
import random
import resource
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from sweep import reaper

TARGETS = ("keeper", "driver", "worker", "zygote", "gcs", "raylet", "terminal", "disk")
"""`keeper` is the process that a user starts, `driver` its child, in which the sweep runs; `worker` is one of Ray's
that has zygotes; `terminal` is closed, and `disk` is full for some seconds."""

DISK_MB = 64


class Sweep:
    """A sweep that runs, as a user starts it: on a terminal of its own if that is to be closed, or into a file."""

    def __init__(self, folder: Path, arguments: list[str], *, on_terminal: bool) -> None:
        self._closing = threading.Event()
        self._pump: threading.Thread | None = None
        command = [sys.executable, "-m", "sweep", *arguments]
        out = open(folder / "out", "ab", buffering=0)  # noqa: SIM115 - the pump closes it
        environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
        if not on_terminal:
            with out:
                self._process = subprocess.Popen(
                    command, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True
                )
            return
        ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no thread runs yet
        )
        os.close(theirs)
        self._pump = threading.Thread(target=self._read, args=(ours, out))
        self._pump.start()

    def _read(self, ours: int, out: object) -> None:
        """Take what comes, as a terminal does, until it is closed, or nobody has its other end any more."""
        with open(ours, "rb", buffering=0) as terminal, suppress(OSError), out:  # type: ignore[attr-defined]
            while not self._closing.is_set():
                if select.select([terminal], [], [], 0.02)[0] and not out.write(terminal.read(1 << 16)):  # type: ignore[attr-defined]
                    return

    def close_terminal(self) -> bool:
        """The kernel sends HUP to who is in its foreground, and whoever writes gets EIO from now on; returns whether
        it was open."""
        was_open = self._pump is not None and not self._closing.is_set()
        self._closing.set()
        if self._pump:
            self._pump.join()
        return was_open

    @property
    def pid(self) -> int:
        return self._process.pid

    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs. What has ended among our other children goes."""
        reap(self._process.pid)
        return self._process.poll()

    def wait(self) -> int:
        while (code := self.code()) is None:
            time.sleep(0.02)
        self.close_terminal()
        return code

    def victims(self, target: str) -> set[int]:
        """The processes of that kind that there are now."""
        commands = dict(_processes(self.pid))
        zygotes = {pid for pid, (_, command) in commands.items() if b"sweep.child.zygote" in command}
        match target:
            case "keeper":
                return {self.pid}
            case "driver":
                return {pid for pid in commands if self._is_driver(commands[pid])}
            case "zygote":
                return {pid for pid in zygotes if commands[pid][0] not in zygotes}
            case "worker":
                return {commands[pid][0] for pid in zygotes if commands[pid][0] not in zygotes} - {self.pid}
            case _:
                name = {"gcs": b"gcs_server", "raylet": b"raylet"}[target]
                return {
                    pid for pid, (_, command) in commands.items() if command.partition(b"\0")[0].endswith(b"/" + name)
                }

    def _is_driver(self, about: tuple[int, bytes]) -> bool:
        with suppress(OSError):
            return about == (self.pid, Path(f"/proc/{self.pid}/cmdline").read_bytes())
        return False


class Disk:
    """Where run folders are, and room for them can be taken away: a file system of its own.

    Where none can be mounted, the driver is kept from making files longer instead, which fails with EFBIG.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
        self.is_real = subprocess.run(mount, capture_output=True, check=False).returncode == 0

    def close(self) -> None:
        if self.is_real:
            subprocess.run(["umount", str(self.folder)], check=True)

    def full_while(self, sweep: Sweep, lasts: Callable[[], bool]) -> None:
        """Have no room for as long as that returns True."""
        if not self.is_real:
            for pid in sweep.victims("driver"):
                _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
                _wait_while(lasts)
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
            return
        filler = self.folder / "filler"
        with open(filler, "wb", buffering=0) as file:
            while lasts():
                try:
                    file.write(bytes(1 << 16))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    time.sleep(0.005)
        filler.unlink()


def strike(target: str, sweep: Sweep, disk: Disk, chance: random.Random) -> str | None:
    """Do it, as soon as what is to be struck is there; says what was done, None where it is there no more."""
    if target == "terminal":
        return f"terminal of {sweep.pid}" if sweep.close_terminal() else None
    if target == "disk":
        ends = time.monotonic() + (seconds := chance.uniform(0.5, 5))
        disk.full_while(sweep, lambda: time.monotonic() < ends and sweep.code() is None)
        return f"disk for {seconds:.1f} s" if disk.is_real else f"size of files for {seconds:.1f} s"
    while sweep.code() is None:
        if victims := sweep.victims(target):
            pid = chance.choice(sorted(victims))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return f"{target} {pid}"
        time.sleep(0.01)
    return None


def _processes(*roots: int) -> Iterator[tuple[int, tuple[int, bytes]]]:
    """Each process below `roots`, by its id: its parent and command line. Those that have ended are left out."""
    for pid in reaper.descendants(*roots):
        with suppress(OSError):
            state, parent = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                yield pid, (int(parent), Path(f"/proc/{pid}/cmdline").read_bytes())


def reap(spared: int = 0) -> None:
    """Wait for those of our children that have ended, orphans that came to us, but for one that somebody waits for."""
    for task in Path("/proc/self/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            with suppress(ChildProcessError):
                if child != spared:
                    os.waitpid(child, os.WNOHANG)


def outlived() -> list[str]:
    """What is left of all that this process started, half a minute later at most."""
    for _ in range(300):
        reap()
        if not (left := dict(_processes(os.getpid()))):
            return []
        time.sleep(0.1)
    commands = {pid: command.replace(bytes(1), b" ").decode(errors="replace") for pid, (_, command) in left.items()}
    return [f"process {pid} {command[:100]}" for pid, command in commands.items()]


def shared_memory() -> set[str]:
    """The names of this user's POSIX shared memory that no process has open or mapped."""
    folder = Path("/dev/shm")
    names = {f"{folder}/{entry.name}" for entry in folder.iterdir() if entry.owner() == folder.owner()}
    for process in Path("/proc").iterdir():
        if names and process.name.isdigit():
            with suppress(OSError):
                names -= {str(descriptor.readlink()) for descriptor in (process / "fd").iterdir()}
                names -= {line[line.find("/") :] for line in (process / "maps").read_text().splitlines()}
    return names


def _wait_while(lasts: Callable[[], bool]) -> None:
    while lasts():
        time.sleep(0.02)
