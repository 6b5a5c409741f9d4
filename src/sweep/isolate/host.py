"""What a machine must have for cells to run there; one that has not says so before anything starts."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from sweep.errors import BadEnvironment


def refuse_unfit(proc: Path = Path("/proc")) -> None:
    """Raise BadEnvironment with all that this machine lacks; `proc` is where its processes are listed."""
    if not sys.platform.startswith("linux"):
        raise BadEnvironment(
            f"cells run on Linux only, and this is {sys.platform}: run sweep in a container or on another machine, or "
            "send cells to a cluster with dispatch.address=…"
        )
    if lacks := list(_lacks(proc)):
        raise BadEnvironment(f"no cell can be watched here, for this machine lacks {'; and '.join(lacks)}")


def _lacks(proc: Path) -> Iterator[str]:
    if not (proc / "self" / "stat").exists():
        yield f"{proc}, where processes are listed: mount it"
    elif not (proc / "self" / "task" / str(threading.get_native_id()) / "children").exists():
        yield f"lists of children in {proc}: use a kernel with CONFIG_PROC_CHILDREN, as those of distributions are"
    if not hasattr(ctypes.CDLL(None), "prctl"):
        yield "prctl, by which a process ends with its parent: use a C library for Linux"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else "this Python was built without it"
        yield (
            f"pidfd_open, by which the end of a process is seen ({why}): use Linux 5.3 or newer, and in a container a "
            "seccomp profile that allows it"
        )
