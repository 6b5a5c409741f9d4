"""A row as one short JSON array: what rows have in common is kept once and named by its number."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any

from sweep.evidence import Memory
from sweep.plan import registry
from sweep.reading import one_line
from sweep.report import text
from sweep.result import SECONDS, Crash, Eager, Fidelity, Latency, Result, Speedup

FIELDS = (
    *("id", "model", "conversion", "device", "batch_size", "threads", "overrides", "family", "cause"),
    *("status", "reason", "message", "phase", "seconds", "latency_ms", "throughput_per_s", "eager", "speedup"),
    *("fidelity", "engine", "memory_mb", "load", "crash", "node", "hardware", "fingerprint", "versions", "compat"),
    *("attempts", "log", "samples", "figures"),
)
"""What the places of a row's array hold; `figures` is what the matrix shows in words, from `p50 ms` to `pays off`."""

SHARED = frozenset(
    (
        *("model", "conversion", "device", "overrides", "family", "status", "reason", "message", "phase", "engine"),
        *("load", "node", "hardware", "fingerprint", "versions", "compat", "attempts"),
    )
)
"""The places that hold a number instead: where in the table of shared values it stands."""

PARTS: dict[str, tuple[str, ...]] = {
    "seconds": SECONDS,
    **{
        name: tuple(field.name for field in fields(kind))
        for name, kind in {
            "latency_ms": Latency,
            "eager": Eager,
            "speedup": Speedup,
            "fidelity": Fidelity,
            "memory_mb": Memory,
            "crash": Crash,
        }.items()
    },
}
"""The places that hold an array of their own, and what stands in it."""

CRASH_ROOM = 8_000_000
"""Characters of stacks and last lines that a page has room for; later rows have theirs in their cell's log."""


def escaped(value: Any) -> str:
    """JSON that may stand in a script element: no `<`, `>`, `&` and nothing beyond ASCII; a NaN becomes null."""
    said = json.dumps(_short(value), separators=(",", ":"))
    return said.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _short(value: Any) -> Any:
    """Figures to eight digits, which is more than any of them is known to."""
    match value:
        case float():
            return float(f"{value:.8g}") if math.isfinite(value) else None
        case Mapping():
            return {str(key): _short(one) for key, one in value.items()}
        case list() | tuple():
            return [_short(one) for one in value]
    return value


class Compact:
    """Turns rows into arrays of JSON, and keeps the table of what they share."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._words: dict[str, int] = {}
        self._crash_room = CRASH_ROOM

    def row(self, row: Result, cause: int | None) -> str:
        """The array of a row; `cause` is the number of what failed it."""
        own = {
            "family": family(row),
            "cause": cause,
            "figures": text.columns(row)[2:7],
            "crash": self._crash(row.crash),
        }
        own |= {name: one_line(getattr(row, name)) for name in ("model", "conversion", "device")}
        return escaped([self._place(name, own[name] if name in own else getattr(row, name)) for name in FIELDS])

    def shared(self) -> Iterator[str]:
        """The values of the table, in the order of their numbers."""
        yield from self._numbers

    def _place(self, name: str, value: Any) -> Any:
        if name in SHARED:
            return self._number(value)
        if name not in PARTS or value is None:
            return value
        if isinstance(value, Mapping):
            return [value.get(part) for part in PARTS[name]]
        return [getattr(value, part) for part in PARTS[name]]

    def _number(self, value: Any) -> int:
        if isinstance(value, str):  # most are, and most have been here before
            if value not in self._words:
                self._words[value] = self._numbers.setdefault(escaped(value), len(self._numbers))
            return self._words[value]
        said = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        return self._numbers.setdefault(escaped(said), len(self._numbers))

    def _crash(self, crash: Crash | None) -> Crash | None:
        if crash is None:
            return None
        self._crash_room -= sum(map(len, (*crash.stack, *crash.last_lines)))
        return crash if self._crash_room >= 0 else replace(crash, stack=(), last_lines=())


def family(row: Result) -> str:
    """The engine that a row's label names, where it allows several the first; `unknown` where it names none."""
    asked = row.engine.requested if row.engine else registry.engine(row.conversion)
    return asked.partition(" or ")[0]
