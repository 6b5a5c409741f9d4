import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import rows

from sweep.report import parquet
from sweep.report.columns import COLUMNS
from sweep.result import Result
from sweep.status import Reason

pq: Any = pytest.importorskip("pyarrow.parquet")


def test_rows_come_back_with_their_types(weird_path: Path) -> None:
    path = weird_path / "results.parquet"
    parquet.write(path, [rows.ok(), rows.not_ok(Reason.UNKNOWN_CONVERSION, "what? \x00 ü \U0001f600")])
    table = pq.read_table(path)
    assert table.column_names == [column.name for column in COLUMNS]
    first, second = table.to_pylist()
    assert (first["latency_ms.p50"], first["latency_ms.n"], first["load.heat_throttled"]) == (2.0, 900, False)
    assert json.loads(first["versions"]) == {"python": "3.11.7", "torch": "2.13.0"}
    assert (second["latency_ms.p50"], second["speedup.break_even_calls"], second["node"]) == (None, None, None)
    assert second["message"] == "what? \x00 ü \U0001f600"
    assert [
        str(table.schema.field(name).type) for name in ("id", "threads", "seconds.total", "load.gpu_throttled")
    ] == [*("string", "int64", "double", "bool")]


def test_the_schema_says_what_each_column_is(tmp_path: Path) -> None:
    parquet.write(tmp_path / "results.parquet", [])
    schema = pq.read_schema(tmp_path / "results.parquet")
    assert schema.metadata[b"sweep.schema"] == b"2"
    assert schema.field("memory_mb.rss_peak").metadata[b"unit"] == b"MB"
    assert b"95 %" in schema.field("speedup.low").metadata[b"meaning"]
    assert pq.read_table(tmp_path / "results.parquet").num_rows == 0


def test_rows_are_asked_for_a_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_A_GROUP", 10)
    parquet.write(tmp_path / "results.parquet", (rows.ok(id=str(number)) for number in range(25)))
    file = pq.ParquetFile(tmp_path / "results.parquet")
    assert [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)] == [10, 10, 5]
    assert file.read().column("id").to_pylist() == [str(number) for number in range(25)]


def test_a_write_that_ends_early_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    parquet.write(path, [rows.ok()])
    before = path.read_bytes()

    def interrupted() -> Iterator[Result]:
        yield rows.ok()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parquet.write(path, interrupted())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        parquet.write(tmp_path / "nowhere" / "results.parquet", [rows.ok()])
