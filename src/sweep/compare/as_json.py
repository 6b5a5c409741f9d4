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
    """The whole comparison as JSON: every cell, also those without a difference."""
    content = {
        "schema": SCHEMA,
        "base": comparison.base,
        "threshold": comparison.threshold,
        "significance": SIGNIFICANCE,
        "tests": {str(unit): n for unit, n in comparison.tests.items()},
        "regressed": comparison.regressed,
        "against": [_against_as_json(against) for against in comparison.against],
    }
    yield json.dumps(content, indent=1) + "\n"


def _against_as_json(against: Against) -> dict[str, Any]:
    return {
        "name": against.name,
        "versions": against.versions,
        "changed": [
            {**_key(new), "base": text.verdict(base), "new": text.verdict(new)} for base, new in against.changed
        ],
        "missing": [{**_key(row), "base": text.verdict(row)} for row in against.missing],
        "vanished": [{**_key(row), "base": text.verdict(row)} for row in against.vanished],
        "appeared": [{**_key(row), "new": text.verdict(row)} for row in against.appeared],
        "asked_differently": [
            {"base": _ids(renamed.base), "new": _ids(renamed.new), "differs": renamed.differs}
            for renamed in against.renamed
        ],
        "unproved": against.unproved,
        "timed": [_figures(timed) for verdict in Change for timed in against.with_verdict(verdict)],
    }


def _key(row: Result) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("id", "model", "conversion", "device", "batch_size")}


def _ids(rows: Sequence[Result]) -> list[str]:
    return [row.id for row in rows]


def _figures(timed: Timed) -> dict[str, Any]:
    low, high = timed.interval or (None, None)
    return {
        **_key(timed.new),
        "verdict": timed.verdict,
        "base_p50_ms": timed.base.latency_ms and timed.base.latency_ms.p50,
        "new_p50_ms": timed.new.latency_ms and timed.new.latency_ms.p50,
        "ratio": timed.ratio,
        "low": low,
        "high": high,
        "p": timed.tested and timed.tested.p,
        "least_ratio": timed.tested and exp(min(timed.tested.least_difference, 99)),
        "unit": timed.tested and timed.tested.unit,
        "eager_ratio": timed.eager_ratio,
        "eager_too": timed.eager_too,
    }
