"""Keeps a sweep going whose process was ended by something else than itself: Ray, a crash, or the kernel.

Ray ends a process that it connects for, rows or not, when its own are gone at the wrong moment; a library may crash,
and where memory is short the kernel takes the largest. So the sweep runs in a child of this process, which holds
nothing:

    keeper ──fork──> the sweep: says which run folder it has, and at its end with which exit code
       │  ended without that code
       └──fork──> the same, going on with that folder; after MOST_RESTARTS times only to record what did not run
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sweep import interrupts, reaper, shared_memory, streams
from sweep.errors import ExitCode

MOST_RESTARTS = 2

HEARD = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class _Told:
    """What a sweep in this process tells its keeper; nothing where it has none, as in a program of the user's."""

    descriptor: int | None = None
    ends_only: str | None = None

    def tell(self, word: str, value: str) -> None:
        if self.descriptor is not None:
            with suppress(OSError):
                os.write(self.descriptor, f"{json.dumps([word, value])}\n".encode())


_TOLD = _Told()


def has_folder(folder: Path) -> None:
    """Say that the sweep in this process can be gone on with there."""
    _TOLD.tell("folder", str(folder.absolute()))


def ends_only() -> str | None:
    """Why nothing more is to be run, so that only rows are missing; None where it goes on."""
    return _TOLD.ends_only


def run(arguments: Sequence[str], work: Callable[[Sequence[str]], int]) -> int:
    """The exit code of `work`, called with the arguments in a child, or with those that go on where it was ended."""
    streams.open_closed_ones()  # or what the sweep prints would go where it tells us how it ended
    arguments, shared_before = list(arguments), shared_memory.names()
    others = reaper.descendants(os.getpid())  # which a script started before it became this process
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started it may have it ignored, and then none comes
    reaper.adopt_orphans()
    # for good: one that comes when the sweep has just ended must not end this process otherwise
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*HEARD, signal.SIGCHLD})
    for number in range(MOST_RESTARTS + 2):
        ends_only = "something ended the sweep again and again" if number > MOST_RESTARTS else None
        if number and _take_pending():
            ends_only = "the sweep was interrupted when something else had just ended it"
        reader, writer = os.pipe()
        parent = os.getpid()
        if not (child := os.fork()):
            os.close(reader)
            _TOLD.descriptor, _TOLD.ends_only = writer, ends_only
            _run_and_exit(parent, mask, lambda arguments=arguments: work(arguments))  # type: ignore[misc]
        os.close(writer)
        status = _wait_for(child)
        told = dict(map(json.loads, _read_all(reader).splitlines()))
        if "code" in told:
            return int(told["code"])
        reaper.end_all(spare=others, shared_before=shared_before)  # what it had started, a local Ray too
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        folder = told.get("folder")
        going_on = f"; going on with {folder}" if folder else ""
        _say(f"sweep: something else than the sweep ended it, with {how}{going_on}")
        arguments = [f"resume={_literal(folder)}"] if folder else arguments
    return ExitCode.BUG


def _take_pending() -> bool:
    """Whether this process was asked to end while it had no child that could have heard of it."""
    taken = False
    while came := signal.sigtimedwait(HEARD, 0):
        taken = taken or signal.getsignal(came.si_signo) is not signal.SIG_IGN  # as under nohup
    return taken


def _run_and_exit(parent: int, mask: Collection[int], work: Callable[[], int]) -> NoReturn:
    ctypes.CDLL(None).prctl(reaper.PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(ExitCode.BUG)
    code: int = ExitCode.BUG
    try:
        interrupts.listen()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = work()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:  # it came before anything could be done, or when all was done
        code = ExitCode.INTERRUPTED
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        _TOLD.tell("code", str(code))
    sys.exit(code)


def _wait_for(child: int) -> int:
    """Its exit code, negative for a signal. What this process is sent is passed on, but what a terminal sends to both.

    Of one that goes away only the first process of its session hears, so that is.
    """
    while True:
        came = signal.sigwaitinfo({*HEARD, signal.SIGCHLD})
        if came.si_signo == signal.SIGCHLD:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:  # others are what it left
                if ended[0] == child:
                    return os.waitstatus_to_exitcode(ended[1])
        elif came.si_code <= 0 or came.si_signo == signal.SIGHUP:  # of a process, and not of the kernel
            with suppress(ProcessLookupError):
                os.kill(child, came.si_signo)


def _read_all(reader: int) -> str:
    """What the child has told; others that it started may have the other end still."""
    os.set_blocking(reader, False)
    found = b""
    with suppress(BlockingIOError), os.fdopen(reader, "rb", buffering=0) as told:
        while part := told.read(1 << 16):
            found += part
    return found.decode()


def _literal(folder: str) -> str:
    from sweep.request import hydra_grammar  # noqa: PLC0415 - only where something went wrong

    return hydra_grammar.literal(folder)


def _say(text: str) -> None:
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
