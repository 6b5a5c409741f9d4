"""The report channel: JSON lines on a descriptor of their own, so that nothing a model prints can corrupt them.

Beside it is a descriptor on which the supervisor says when this process may measure.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sweep.cell import Phase


class Channel:
    """Writes evidence as soon as it is there, so that a crash of the next phase cannot lose it."""

    def __init__(self, descriptor: int, go: int) -> None:
        os.set_inheritable(descriptor, False)
        os.set_inheritable(go, False)
        self._descriptor, self._go = descriptor, go
        self.phase = Phase.START

    def tell(self, **evidence: Any) -> None:
        """Send fields of `Evidence`; a mapping is merged into what was sent under its name before."""
        self._send({"evidence": evidence})

    def enter(self, phase: Phase) -> None:
        """Say which phase begins."""
        self.phase = phase
        self._send({"phase": phase, "at": time.monotonic()})

    def take_turn(self) -> None:
        """Wait until the supervisor grants a turn to measure: until `end_turn`, no cell that could disturb it runs."""
        self._send({"turn": "ask"})
        os.read(self._go, 1)

    def end_turn(self) -> None:
        """Let other cells run and measure."""
        self._send({"turn": "leave"})

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Take a turn for what is inside."""
        self.take_turn()
        try:
            yield
        finally:
            self.end_turn()

    def stand_aside(self) -> None:
        """Stand still while the control takes a block; until `end_turn`, every other cell does too."""
        self._send({"turn": "control"})
        os.read(self._go, 1)

    def ready(self) -> None:
        """As a control: say that blocks can be asked for."""
        self._send({"turn": "ready"})

    def asked_for(self) -> str | None:
        """As a control: wait until something is asked for, `block` or `begin`; None at the end."""
        asked = os.read(self._go, 1)
        return {b"b": "block", b"t": "begin"}.get(asked)

    def tell_block(self, **sampled: Any) -> None:
        """As a control: give what was asked for."""
        self._send({"block": sampled})

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Say that a phase begins, and report its seconds when it ends without an exception."""
        self.enter(phase)
        started = time.perf_counter()
        yield
        self.tell(seconds={phase.key: time.perf_counter() - started})

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]
