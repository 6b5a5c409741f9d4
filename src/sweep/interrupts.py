"""How a sweep is asked to end: by Ctrl-C, TERM, or its terminal's going away. Each raises KeyboardInterrupt."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

AGAIN_SECONDS = 0.5
"""For so long after one a further one is no wish of its own: a terminal that is closed sends several at once."""


def listen() -> None:
    """Take TERM and HUP like Ctrl-C; what this process was started to ignore (nohup, say) stays ignored."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def once() -> Iterator[Callable[[], None]]:
    """Signals are heard as before until the function that this gives is called; from then on they do nothing.

    Nor do those that come within AGAIN_SECONDS of one: the ending that the first began must not be torn by the second.
    Outside the main thread, where none is heard, nothing changes.
    """
    heard, ends = -AGAIN_SECONDS, threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield ends.set
        return
    before = {number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))}

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if not ends.is_set() and time.monotonic() - heard >= AGAIN_SECONDS:
            heard = time.monotonic()
            before[signal.Signals(number)](number, frame)

    for number in before:
        signal.signal(number, hear)
    try:
        yield ends.set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def kept() -> Iterator[None]:
    """What is inside may set handlers of its own, as Ray does for TERM: afterwards they are what they were before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """Hold the signals back while what is inside is done, and raise them after it. Nests. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda got, _frame: came.append(got)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for heard in dict.fromkeys(came):
        signal.raise_signal(heard)
