"""matrix.csv, matrix.md and matrix.json, made from the rows."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

from sweep.cell import SCHEMA, Load, Result
from sweep.report import matrix, text

_COLUMNS: dict[str, tuple[str, ...]] = {
    "seconds": ("build", "eager", "convert", "first_call", "warmup", "measure", "verify", "total", "waited"),
    "latency_ms": ("p50", "p90", "p99", "mean", "std", "min", "max", "n", "p50_low", "p50_high", "processes"),
    "eager": ("p50_ms", "n"),
    "speedup": ("value", "low", "high", "break_even_calls"),
    "fidelity": ("rel_l2", "cosine", "max_abs", "top1_agreement", "inputs", "tolerance_class"),
    "engine": ("requested", "actual", "precision"),
    "memory_mb": ("rss_peak", "cuda_peak"),
    "load": tuple(field.name for field in fields(Load)),
}


def made_from(rows: Sequence[Result]) -> dict[str, Iterator[str]]:
    """The text of each file by its name, piece by piece: rows may be many."""
    return {"matrix.csv": as_csv(rows), "matrix.md": as_markdown(rows), "matrix.json": as_json(rows)}


def as_csv(rows: Sequence[Result]) -> Iterator[str]:
    """One line a row; nested fields as `parent.field`, anything deeper as JSON, what is missing as nothing."""
    if not rows:
        return
    out = io.StringIO()
    writer = csv.DictWriter(out, list(_flat(asdict(rows[0]))), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(_flat(asdict(row)))
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key in _COLUMNS:
            flat |= {f"{key}.{name}": (value or {}).get(name) for name in _COLUMNS[key]}
        else:
            flat[key] = json.dumps(value) if isinstance(value, dict | list | tuple) else value
    return flat


def as_json(rows: Sequence[Result]) -> Iterator[str]:
    """The rows as in results.jsonl, in the order of the plan, with what is said of all of them together."""
    about = {"schema": SCHEMA, "counts": matrix.counts(rows), "noise_floor": matrix.noise_floor(rows)}
    yield f'{json.dumps(about, indent=1).removesuffix("}").rstrip()},\n "rows": ['
    for number, row in enumerate(rows):
        yield ",\n  " * bool(number) or "\n  "
        yield json.dumps(asdict(row))
    yield "\n ]\n}\n"


def as_markdown(rows: Sequence[Result]) -> Iterator[str]:
    """A table for each model and device."""
    yield f"# Results\n\n{text.summary(rows)}\n\n"
    for title, group in matrix.groups(rows):
        yield f"## {_markdown(title)}\n\n| {' | '.join(text.HEADINGS)} |\n|{' --- |' * len(text.HEADINGS)}\n"
        for row in group:
            yield f"| {' | '.join(_markdown(cell) for cell in text.columns(row))} |\n"
        yield "\n"
    for line in (*text.unlike(rows), text.floor(rows)):
        yield f"{_markdown(line)}\n"


def _markdown(cell: str) -> str:
    """Text that stays text: no column, tag, link or emphasis of its own."""
    for mark in "\\`*[]<>|":
        cell = cell.replace(mark, "\\" + mark if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return cell
