import csv
import dataclasses
import io
import json
import types
import typing
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from tests import rows

from sweep.report import columns, files
from sweep.report.columns import COLUMNS
from sweep.result import SECONDS, Result, Speedup
from sweep.status import Reason

ROOT = Path(__file__).parents[2]
BY_NAME = {column.name: column for column in COLUMNS}

AS_THEY_WERE = [
    "schema",
    "id",
    "model",
    "conversion",
    "device",
    "batch_size",
    "threads",
    "overrides",
    "status",
    "reason",
    "message",
    "phase",
    "seconds.build",
    "seconds.eager",
    "seconds.convert",
    "seconds.first_call",
    "seconds.warmup",
    "seconds.measure",
    "seconds.verify",
    "seconds.total",
    "seconds.waited",
    "latency_ms.p50",
    "latency_ms.p90",
    "latency_ms.p99",
    "latency_ms.mean",
    "latency_ms.std",
    "latency_ms.min",
    "latency_ms.max",
    "latency_ms.n",
    "latency_ms.p50_low",
    "latency_ms.p50_high",
    "latency_ms.processes",
    "throughput_per_s",
    "eager.p50_ms",
    "eager.n",
    "speedup.value",
    "speedup.low",
    "speedup.high",
    "speedup.break_even_calls",
    "fidelity.rel_l2",
    "fidelity.cosine",
    "fidelity.max_abs",
    "fidelity.top1_agreement",
    "fidelity.inputs",
    "fidelity.tolerance_class",
    "engine.requested",
    "engine.actual",
    "engine.precision",
    "memory_mb.rss_peak",
    "memory_mb.cuda_peak",
    "load.cpu_by_others",
    "load.cpu_pressure",
    "load.quota_throttled",
    "load.heat_throttled",
    "load.gpu_processes",
    "load.gpu_throttled",
    "crash",
    "node",
    "hardware",
    "fingerprint",
    "versions",
    "compat",
    "attempts",
    "log",
    "samples",
    "engine.evidence",
]


def declared(noun: Any, prefix: str = "") -> Iterator[tuple[str, str, bool]]:
    """Name, type and whether it is JSON, of each value that a row is declared to hold."""
    for name, said in typing.get_type_hints(noun).items():
        path = f"{prefix}{name}"
        hint: Any = said
        if isinstance(said, types.UnionType):
            (hint,) = [one for one in typing.get_args(said) if one is not type(None)]
        if path == "seconds":
            yield from ((f"seconds.{key}", "double", False) for key in SECONDS)
        elif path == "crash" or typing.get_origin(hint) in {Mapping, tuple}:
            yield path, "string", True
        elif dataclasses.is_dataclass(hint):
            yield from declared(hint, f"{path}.")
        elif issubclass(hint, StrEnum):
            yield path, "string", False
        else:
            yield path, {str: "string", int: "int64", float: "double", bool: "bool"}[hint], False


def test_every_field_of_a_row_has_a_column_of_its_type() -> None:
    """A new field fails here until it has a line in `columns.COLUMNS`."""
    assert {(c.name, c.type, c.unit == "JSON") for c in COLUMNS} == {
        (name, type_, deeper) for name, type_, deeper in declared(Result)
    }


def test_names_and_order_are_kept_for_readers_of_old_files() -> None:
    names = [column.name for column in COLUMNS]
    assert names[: len(AS_THEY_WERE)] == AS_THEY_WERE
    assert len(set(names)) == len(names)


def test_a_column_says_what_it_is_and_numbers_have_units() -> None:
    assert all(column.meaning for column in COLUMNS)
    assert [c.name for c in COLUMNS if c.type in {"int64", "double"} and not c.unit] == ["schema"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 4),
        ("status", "ok"),
        ("reason", None),
        ("message", ""),
        ("seconds.convert", 2.5),
        ("latency_ms.p50", 2.0),
        ("latency_ms.n", 900),
        ("eager.p50_ms", 4.0),
        ("speedup.break_even_calls", 1375),
        ("load.heat_throttled", False),
        ("load.gpu_throttled", None),
        ("memory_mb.cuda_peak", None),
        ("crash", None),
        ("overrides", '{"cache": "warm"}'),
        ("compat", '["fix-a", "fix-b"]'),
        ("engine.evidence", '{"nodes": 3}'),
        ("fingerprint", "abcd1234"),
        ("quality", "firm"),
        ("speedup.decision", "faster"),
        ("speedup.trials", 3),
    ],
)
def test_a_value_is_read_from_where_its_name_says(name: str, value: object) -> None:
    read = BY_NAME[name].value(rows.ok())
    assert read == value
    assert type(read) is type(value)


def test_what_a_row_does_not_have_is_missing_and_never_zero() -> None:
    row = rows.not_ok(Reason.NEEDS_DEVICE)
    there = {name for name, column in BY_NAME.items() if column.value(row) is not None}
    assert there == {
        *("schema", "id", "model", "conversion", "device", "batch_size", "overrides", "status", "reason", "message"),
        *("versions", "compat", "attempts", "found", "shapes"),
    }


def test_every_trial_is_there_as_json() -> None:
    said = json.loads(BY_NAME["speedup.quotients"].value(rows.ok()))
    faults = {"page_faults": None, "eager_page_faults": None}
    others = {"round": 2, "confirms": False, "control": 0, "disturbed": False, **faults}
    assert said[1:] == [
        {"value": 2.0, "spread": 0.02, **others},
        {"value": 2.5, "spread": 0.03, **others},
    ]


def test_a_row_of_the_first_schema_knows_nothing_of_trials() -> None:
    row = rows.ok(schema=1, quality=None, speedup=Speedup(value=2.0, low=1.8, high=2.2))
    names = ("quality", "speedup.decision", "speedup.trials", "speedup.quotients")
    assert [BY_NAME[name].value(row) for name in names] == [None] * 4
    assert BY_NAME["speedup.value"].value(row) == 2.0


def test_a_crash_is_json() -> None:
    said = json.loads(BY_NAME["crash"].value(rows.crashed()))
    assert said["signal"] == "SIGSEGV"
    assert said["stack"] == ["model.py:3 in forward"]


def test_more_calls_than_a_column_can_hold_are_never() -> None:
    row = rows.ok(speedup=Speedup(value=1.0, low=0.9, high=1.1, break_even_calls=2**63))
    assert BY_NAME["speedup.break_even_calls"].value(row) is None


def test_csv_is_the_columns_and_names_them_without_rows_too() -> None:
    header, first, second = csv.reader(
        io.StringIO("".join(files.as_csv([rows.ok(), rows.not_ok(Reason.LOST, 'a "b",\nc')])))
    )
    assert header == [column.name for column in COLUMNS]
    assert first[header.index("speedup.value")] == "2.0"
    assert first[header.index("load.heat_throttled")] == "False"
    assert second[header.index("speedup.value")] == ""
    assert second[header.index("message")] == 'a "b",\nc'
    assert "".join(files.as_csv([])).split(",") == [*header[:-1], f"{header[-1]}\n"]


def test_the_page_on_columns_is_up_to_date() -> None:
    assert (ROOT / "docs" / "columns.md").read_text() == columns.as_markdown(), "run scripts/columns"
