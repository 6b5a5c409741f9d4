"""A comparison of sweeps for programs."""

import json
from collections.abc import Iterator, Sequence
from math import exp
from typing import Any

from sweep.compare.comparison import Against, Change, Comparison, Timed
from sweep.compare.significance import SIGNIFICANCE
from sweep.report import text
from sweep.result import SCHEMA, Result


def as_json(comparison: Comparison) -> Iterator[str]:
    """All of it, for programs: every cell, also those without a difference."""
    said = {
        "schema": SCHEMA,
        "base": comparison.base,
        "threshold": comparison.threshold,
        "significance": SIGNIFICANCE,
        "tests": {str(unit): n for unit, n in comparison.tests.items()},
        "regressed": comparison.regressed,
        "against": [_plain(one) for one in comparison.against],
    }
    yield json.dumps(said, indent=1) + "\n"


def _plain(one: Against) -> dict[str, Any]:
    return {
        "name": one.name,
        "versions": one.versions,
        "changed": [{**_key(b), "base": text.verdict(a), "new": text.verdict(b)} for a, b in one.changed],
        "missing": [{**_key(row), "base": text.verdict(row)} for row in one.missing],
        "vanished": [{**_key(row), "base": text.verdict(row)} for row in one.vanished],
        "appeared": [{**_key(row), "new": text.verdict(row)} for row in one.appeared],
        "asked_differently": [
            {"base": _ids(renamed.base), "new": _ids(renamed.new), "differs": renamed.differs}
            for renamed in one.renamed
        ],
        "unproved": one.unproved,
        "timed": [_figures(timed) for verdict in Change for timed in one.of(verdict)],
    }


def _key(row: Result) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("id", "model", "conversion", "device", "batch_size")}


def _ids(rows: Sequence[Result]) -> list[str]:
    return [row.id for row in rows]


def _figures(one: Timed) -> dict[str, Any]:
    low, high = one.interval or (None, None)
    return {
        **_key(one.new),
        "verdict": one.verdict,
        "base_p50_ms": one.base.latency_ms and one.base.latency_ms.p50,
        "new_p50_ms": one.new.latency_ms and one.new.latency_ms.p50,
        "ratio": one.ratio,
        "low": low,
        "high": high,
        "p": one.tested and one.tested.p,
        "least_ratio": one.tested and exp(min(one.tested.least, 99)),
        "unit": one.tested and one.tested.unit,
        "eager_ratio": one.eager_ratio,
        "eager_too": one.eager_too,
    }
