"""results.parquet: the rows with the types and the documentation of their columns."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sweep.durable import aside
from sweep.report.columns import COLUMNS
from sweep.result import SCHEMA, Result

ROWS_A_GROUP = 10_000
"""Rows that are turned into columns at a time: what more there are waits."""


def write(path: Path, rows: Iterable[Result]) -> None:
    """Write aside and synced, then rename, as `durable.write_atomically` does. Raises OSError."""
    import pyarrow  # noqa: PLC0415 - it takes a while, and only this needs it
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415

    schema = _schema(pyarrow)
    with aside(path) as file, ParquetWriter(file, schema, compression="zstd") as writer:
        for some in _groups(rows):
            writer.write_batch(_batch(pyarrow, some, schema), row_group_size=ROWS_A_GROUP)


def _schema(pyarrow: Any) -> Any:
    return pyarrow.schema(
        [
            pyarrow.field(
                column.name,
                pyarrow.type_for_alias(column.type),
                metadata={"unit": column.unit, "meaning": column.meaning},
            )
            for column in COLUMNS
        ],
        metadata={"sweep.schema": str(SCHEMA)},
    )


def _groups(rows: Iterable[Result]) -> Iterator[list[Result]]:
    left = iter(rows)
    while some := list(islice(left, ROWS_A_GROUP)):
        yield some


def _batch(pyarrow: Any, rows: list[Result], schema: Any) -> Any:
    arrays = [
        pyarrow.array([column.value(row) for row in rows], field.type)
        for column, field in zip(COLUMNS, schema, strict=True)
    ]
    return pyarrow.record_batch(arrays, schema=schema)
