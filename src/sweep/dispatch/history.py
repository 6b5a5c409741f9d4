"""How long cells took before, so that the longest can go first."""

import json
from collections.abc import Sequence
from contextlib import suppress

from sweep.dispatch.backlog import history_key
from sweep.durable import cache_folder, write_atomically
from sweep.result import Result

MOST = 20_000
"""Cells to remember; the oldest go."""


def seconds() -> dict[str, float]:
    """By `history_key`; nothing where nothing is remembered."""
    with suppress(OSError, ValueError):
        remembered = json.loads((cache_folder() / "seconds.json").read_text(encoding="utf-8"))
        if isinstance(remembered, dict):
            return {key: value for key, value in remembered.items() if isinstance(value, float) and value > 0}
    return {}


def remember(rows: Sequence[Result]) -> None:
    """Keep how long a trial of these took, beside what is remembered. Without a cache to write to, it is forgotten."""
    took = {
        history_key(row.model, row.conversion, row.device, row.batch_size): float(total) / _trials(row)
        for row in rows
        if (total := row.seconds.get("total"))
    }
    kept = {**{key: value for key, value in seconds().items() if key not in took}, **took}
    with suppress(OSError):
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_atomically(cache_folder() / "seconds.json", json.dumps(dict(list(kept.items())[-MOST:])))


def _trials(row: Result) -> int:
    return max(1, len(row.speedup.quotients)) if row.speedup else 1
