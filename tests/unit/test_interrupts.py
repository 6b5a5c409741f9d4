"""Interrupts wait for what must not be torn, and what was started to ignore them goes on doing so."""

import os
import signal
import threading
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


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_what_the_first_interrupt_began_is_not_torn_by_the_next(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupts.listen()
    before = signal.getsignal(number)
    with interrupts.once() as hear_no_more:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        for again in interrupts.SIGNALS:  # a terminal that is closed sends several
            signal.raise_signal(again)
        monkeypatch.setattr(interrupts, "AGAIN_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        hear_no_more()
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_outside_the_main_thread_no_handler_is_touched() -> None:
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]

    def inside() -> None:
        with interrupts.once() as hear_no_more:
            hear_no_more()

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before


def test_what_nohup_has_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupts.listen()
    os.kill(os.getpid(), signal.SIGHUP)
    with interrupts.held():
        os.kill(os.getpid(), signal.SIGHUP)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
