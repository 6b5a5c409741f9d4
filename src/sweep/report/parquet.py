"""results.parquet: the rows with the types and the documentation of their columns."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sweep.durable import atomic_writer
from sweep.report.columns import COLUMNS
from sweep.result import SCHEMA, Result

ROWS_A_GROUP = 10_000
"""How many rows are turned into columns at a time."""


def write(path: Path, rows: Iterable[Result]) -> None:
    """Write the file as `durable.atomic_writer` does. Raises OSError."""
    import pyarrow  # noqa: PLC0415 - it takes a while, and only this needs it
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415

    schema = _schema(pyarrow)
    with atomic_writer(path) as file, ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_batch(_batch(pyarrow, group, schema), row_group_size=ROWS_A_GROUP)


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
    remaining = iter(rows)
    while group := list(islice(remaining, ROWS_A_GROUP)):
        yield group


def _batch(pyarrow: Any, rows: list[Result], schema: Any) -> Any:
    arrays = [
        pyarrow.array([column.value(row) for row in rows], field.type)
        for column, field in zip(COLUMNS, schema, strict=True)
    ]
    return pyarrow.record_batch(arrays, schema=schema)
