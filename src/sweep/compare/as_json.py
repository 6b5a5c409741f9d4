"""A comparison of sweeps for programs."""

import json
from collections.abc import Iterator, Sequence
from math import expm1
from typing import Any

from sweep.compare.comparison import Against, Change, Comparison, Timed
from sweep.compare.eager import Moved
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
        "tests": comparison.tests,
        "regressed": comparison.regressed,
        "against": [_against_as_json(against) for against in comparison.against],
    }
    yield json.dumps(content, indent=1) + "\n"


def _against_as_json(against: Against) -> dict[str, Any]:
    return {
        "name": against.name,
        "versions": against.versions,
        "measured_otherwise": against.measured_otherwise,
        "eager": [_eager(moved) for moved in against.eager],
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
    return {name: getattr(row, name) for name in ("id", "model", "conversion", "device", "batch_size", "environment")}


def _ids(rows: Sequence[Result]) -> list[str]:
    return [row.id for row in rows]


def _eager(moved: Moved) -> dict[str, Any]:
    names = ("model", "device", "batch_size", "threads", "environment", "overrides")
    of = {name: getattr(moved.new, name) for name in names}
    figures = {name: getattr(moved, name) for name in ("cells", "base_ms", "new_ms", "ratio", "versions")}
    return of | figures


def _figures(timed: Timed) -> dict[str, Any]:
    low, high = timed.interval or (None, None)
    return {
        **_key(timed.new),
        "base_id": timed.base.id,
        "verdict": timed.verdict,
        "base_speedup": timed.base_speedup,
        "new_speedup": timed.new_speedup,
        "ratio": timed.ratio,
        "low": low,
        "high": high,
        "p": timed.tested and timed.tested.p,
        "least_change": timed.tested and expm1(min(timed.tested.least_difference, 99)),
        "borrowed": timed.tested and timed.tested.borrowed,
        "why_not": timed.why_not,
        "p50_ratio": timed.p50_ratio,
        "eager_ratio": timed.eager_ratio,
        "by_eager": timed.by_eager,
    }
