"""Interrupts wait for what must not be torn, and what was started to ignore them goes on doing so."""

import os
import signal
from collections.abc import Iterator

import pytest

from sweep import interrupts


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_an_interrupt_waits_until_it_may_be_heard(number: signal.Signals) -> None:
    interrupts.listen()
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts.held():
        os.kill(os.getpid(), number)
        with interrupts.held():
            os.kill(os.getpid(), number)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]
    with interrupts.held():
        pass  # nothing came, nothing is raised


def test_what_nohup_has_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupts.listen()
    os.kill(os.getpid(), signal.SIGHUP)
    with interrupts.held():
        os.kill(os.getpid(), signal.SIGHUP)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
