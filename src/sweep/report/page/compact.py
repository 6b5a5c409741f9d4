"""A row as one short JSON array; values that rows have in common are stored once, and rows have their numbers."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, fields, is_dataclass, replace
from typing import Any

from sweep.evidence import Memory
from sweep.plan import registry
from sweep.reading import one_line
from sweep.report import text
from sweep.result import (
    SECONDS,
    Crash,
    Eager,
    Fidelity,
    Latency,
    MetricFigures,
    OutputFigures,
    Quotient,
    Result,
    ShapeFigures,
    Speedup,
)
from sweep.verdict.shapes import in_words

FIELDS = (
    *("id", "model", "conversion", "device", "batch_size", "threads", "overrides", "family", "cause"),
    *("status", "reason", "quality", "message", "phase", "seconds", "latency_ms", "throughput_per_s", "eager"),
    *("speedup", "decision", "quotients", "fidelity", "engine", "memory_mb", "load", "crash", "node", "hardware"),
    *("fingerprint", "versions", "compat", "attempts", "log", "samples", "figures", "outputs", "convert_cpus"),
    *("shapes", "metric", "environment"),
)
"""The values of a row's array, in order.

`decision` is `text.decision`, `quotients`, `outputs` and `shapes` are arrays as QUOTIENT, OUTPUT and SHAPE say, and
`figures` are the texts in the matrix, from `p50 ms` to `pays off`.
"""

SHARED = frozenset(
    (
        *("model", "conversion", "device", "overrides", "family", "status", "reason", "quality", "message"),
        *("phase", "engine", "decision", "load", "node", "hardware", "fingerprint", "versions", "compat", "attempts"),
        "environment",
    )
)
"""The fields that have a number instead of the value: its place in the table of shared values."""

PARTS: dict[str, tuple[str, ...]] = {
    "seconds": SECONDS,
    **{
        name: tuple(field.name for field in fields(kind) if field.name not in {"decision", "quotients", "outputs"})
        for name, kind in {
            "latency_ms": Latency,
            "eager": Eager,
            "speedup": Speedup,
            "fidelity": Fidelity,
            "memory_mb": Memory,
            "crash": Crash,
            "metric": MetricFigures,
        }.items()
    },
}
"""The fields that are arrays themselves, and the values in these."""

QUOTIENT = tuple(field.name for field in fields(Quotient))
"""The values in the array of a quotient."""

OUTPUT = tuple(field.name for field in fields(OutputFigures))
"""The values in the array of a part of the output."""

SHAPE = tuple(field.name for field in fields(ShapeFigures))
"""The values in the array of a further size, which is in words."""

MOST_OUTPUTS = 8
"""Parts of the output that a page has of a row, the furthest off first; results.jsonl has more."""

CRASH_ROOM = 8_000_000
"""How many characters of stacks and last lines a page holds; those of later rows are in their cell's log only."""


def script_json(value: Any) -> str:
    """JSON that can be put into a script element: no `<`, `>`, `&` and nothing beyond ASCII; a NaN becomes null."""
    text = json.dumps(_rounded(value), separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _rounded(value: Any) -> Any:
    """A value with its figures rounded to eight digits, which is more than any of them is accurate to."""
    match value:
        case float():
            return float(f"{value:.8g}") if math.isfinite(value) else None
        case Mapping():
            return {str(key): _rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
    return value


class Compact:
    """Turns rows into arrays of JSON, and keeps the table of their shared values."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._words: dict[str | type, int] = {}
        self._crash_room = CRASH_ROOM

    def row(self, row: Result, cause: int | None) -> str:
        """The array of a row; `cause` is the number of its cause among `Totals.causes`."""
        computed = {
            "family": family(row),
            "cause": cause,
            "decision": text.decision(row),
            "quotients": [astuple(quotient) for quotient in row.speedup.quotients] if row.speedup else [],
            "figures": text.columns(row)[2:8],
            "outputs": [astuple(part) for part in row.fidelity.outputs[:MOST_OUTPUTS]] if row.fidelity else [],
            "shapes": [(in_words(one.sizes), *astuple(one)[1:]) for one in row.shapes],
            "message": text.note(row),
            "crash": self._crash(row.crash),
        }
        computed |= {name: one_line(getattr(row, name)) for name in ("model", "conversion", "device")}
        return script_json(
            [self._field(name, computed[name] if name in computed else getattr(row, name)) for name in FIELDS]
        )

    def shared(self) -> Iterator[str]:
        """The values of the table, in the order of their numbers."""
        yield from self._numbers

    def _field(self, name: str, value: Any) -> Any:
        if name in SHARED:
            return self._shared_number(value)
        if name not in PARTS or value is None:
            return value
        if isinstance(value, Mapping):
            return [value.get(part) for part in PARTS[name]]
        return [getattr(value, part) for part in PARTS[name]]

    def _shared_number(self, value: Any) -> int:
        if isinstance(value, str) or not value:  # most are a text, or empty, and most are known already
            key = value if isinstance(value, str) else type(value)
            if key not in self._words:
                self._words[key] = self._numbers.setdefault(script_json(value), len(self._numbers))
            return self._words[key]
        plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        return self._numbers.setdefault(script_json(plain), len(self._numbers))

    def _crash(self, crash: Crash | None) -> Crash | None:
        if crash is None:
            return None
        self._crash_room -= sum(map(len, (*crash.stack, *crash.last_lines)))
        return crash if self._crash_room >= 0 else replace(crash, stack=(), last_lines=())


def family(row: Result) -> str:
    """The engine that a row's label names, the first where it allows several; `unknown` where it names none."""
    named = row.engine.requested if row.engine else registry.engine(row.conversion)
    return named.partition(" or ")[0]
