"""A run folder in Python: its rows, frames, and tables in a notebook."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.errors import BadRequest
from sweep.plan.names import did_you_mean, near
from sweep.record import RunFolder
from sweep.report import matrix, text
from sweep.report.best import fastest
from sweep.report.columns import COLUMNS, Column
from sweep.result import Result
from sweep.status import Status

if TYPE_CHECKING:
    from pandas import DataFrame

_DTYPES = {"string": "string", "int64": "Int64", "double": "Float64", "bool": "boolean"}


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Run:
    """A run folder, the content of its `sweep.json` (`about`), and its rows so far, in the order of the plan."""

    folder: Path
    about: Mapping[str, Any]
    rows: list[Result]

    @property
    def missing(self) -> int:
        """How many planned cells have no row yet; 0 for a sweep that is done."""
        return len(self.about["plan"]) - len(self.rows)

    def frame(self) -> "DataFrame":
        """A pandas frame with a line for each row and the columns of docs/columns.md.

        Types are the nullable types of pandas: string, Int64, Float64 and boolean; a missing value is <NA>.
        """
        import pandas  # noqa: PLC0415 - it takes a while, and only frames need it

        return pandas.DataFrame(
            {
                column.name: pandas.array([column.value(row) for row in self.rows], dtype=_DTYPES[column.type])
                for column in COLUMNS
            }
        )

    def matrix(self, values: str | None = None) -> "DataFrame":
        """A pandas frame of conversions by groups of the matrix: the speed-up of ok rows, the status of others.

        With `values`, the name of a column of numbers such as `speedup.value`, it has that number of each ok row that
        was not disturbed, and <NA> for others. Raises BadRequest for any other name.
        """
        import pandas  # noqa: PLC0415 - as above

        column = _column(values) if values else None
        dtype = _DTYPES[column.type if column else "string"]
        names = list(dict.fromkeys(row.conversion for row in self.rows))
        tables = {}
        for title, group in matrix.groups(self.rows):
            # of equal cells the best comes first, so it is put last to stay
            shown = {row.conversion: _table_value(row, column) for row in reversed(group)}
            tables[title] = pandas.array([shown.get(name) for name in names], dtype=dtype)
        return pandas.DataFrame(tables, index=pandas.Index(names, name="conversion", dtype="object"))

    def best(self) -> dict[str, Result]:
        """The `fastest` row of each group of the matrix, by its title: the same as on the page and in `sweep.pick`.

        It is EAGER's where nothing certainly beats the baseline. Groups in which no ok row can be called the fastest,
        because all are rough or disturbed, or none is there, are left out.
        """
        winners = ((title, fastest(group)) for title, group in matrix.groups(self.rows))
        return {title: winner for title, winner in winners if winner is not None}

    def __repr__(self) -> str:
        return f"<sweep run {self.folder}: {self.summary}>"

    @property
    def summary(self) -> str:
        """`4 cells: 2 ok, 2 invalid`, and how many have no row yet."""
        missing = f"; {self.missing} more have no row yet" if self.missing else ""
        return text.summary(self.rows) + missing

    def _repr_html_(self) -> str:
        from sweep.report import notebook  # noqa: PLC0415 - only a notebook needs Jinja

        return notebook.as_html(self.rows, self.summary, str(self.folder))


def load(folder: str | Path) -> Run:
    """The run in a folder, done or not. Raises RunFolderBroken where there is none or sweep cannot read it."""
    run_folder = RunFolder(Path(folder).expanduser())
    about = run_folder.about()
    place = {id_: number for number, id_ in enumerate(about["plan"])}
    rows = sorted(run_folder.load(), key=lambda row: place.get(row.id, len(place)))
    return Run(folder=run_folder.path, about=about, rows=rows)


def _table_value(row: Result, column: Column | None) -> Any:
    if column is None:
        return text.speedup(row) if row.status is Status.OK else text.verdict(row)
    return column.value(row) if row.status is Status.OK and not text.is_disturbed(row) else None


def _column(name: str) -> Column:
    numbers = {column.name: column for column in COLUMNS if column.type in {"int64", "double"}}
    if name not in numbers:
        hint = did_you_mean(near(name, list(numbers))) or "; docs/columns.md has them all"
        raise BadRequest(f"there is no column of numbers {name!r}{hint}")
    return numbers[name]
