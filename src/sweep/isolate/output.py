"""What comes from a process of a cell while it runs: what it prints, and what it reports."""

import json
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from sweep import reading
from sweep.cell import Phase

REPORT_MOST = 64_000_000
"""Bytes of a report: some three million samples."""

Echo = Callable[[bytes], None]


class Log:
    """The first and the last of what is printed; what lies between is counted and dropped."""

    KEEP = 500_000

    def __init__(self, echo: Echo | None = None) -> None:
        """`echo` is given all of it as it comes."""
        self._head, self._tail, self._dropped = bytearray(), bytearray(), 0
        self._echo = echo

    def add(self, data: bytes) -> None:
        if self._echo:
            self._echo(data)
        room = self.KEEP - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self.KEEP:
            self._dropped += len(self._tail) - self.KEEP
            del self._tail[: -self.KEEP]

    @property
    def text(self) -> str:
        gap = f"\n[{self._dropped} bytes left out]\n".encode() if self._dropped else b""
        return (self._head + gap + self._tail).decode(errors="replace")


class Report:
    """The JSON lines of a report, `reading.clean`; a line that is no JSON object is left out.

    `began` is when each phase began. `turns` is what the process says of its turn to measure: `ask`, `leave`, or that
    it is the control's; `ready` is what a control says. `blocks` are those that a control gave.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.phase = Phase.START
        self.began: dict[Phase, float] = {}
        self.turns: deque[str] = deque()
        self.blocks: SimpleQueue[Any] = SimpleQueue()
        self._size = 0
        self._rest = bytearray()

    @property
    def too_long(self) -> bool:
        return self._size > REPORT_MOST

    def add(self, data: bytes) -> None:
        self._size += len(data)
        if self.too_long:
            return
        self._rest += data
        if b"\n" in data:
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                self._take(bytes(line))

    def _take(self, line: bytes) -> None:
        try:
            message = reading.clean(json.loads(line))
        except (ValueError, RecursionError):
            return
        if isinstance(message, dict):
            if "block" in message:
                self._size = 0  # a control gives any number of them
                self.blocks.put(message["block"])
                return
            self.messages.append(message)
            if "turn" in message:
                self.turns.append(str(message["turn"]))
            with suppress(ValueError, TypeError):  # a model may write anything here
                self.phase = Phase(str(message.get("phase")))
                self.began[self.phase] = float(message.get("at", math.nan))

    def evidence(self) -> dict[str, Any]:
        """The fields of all evidence messages; a mapping is merged into what came under its name before."""
        merged: dict[str, Any] = {}
        for message in self.messages:
            evidence = message.get("evidence")
            for key, value in evidence.items() if isinstance(evidence, dict) else ():
                before = merged.get(key)
                merged[key] = before | value if isinstance(before, dict) and isinstance(value, dict) else value
        return merged
