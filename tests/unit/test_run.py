from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests import rows

import sweep
from sweep.cell import Cell
from sweep.errors import BadRequest, RunFolderBroken
from sweep.record import RunFolder
from sweep.report import parquet
from sweep.report.columns import COLUMNS
from sweep.result import Decision, Outcome, Quality, Result
from sweep.status import Reason, Status

MakeCell = Callable[..., Cell]
pandas: Any = pytest.importorskip("pandas")

HOSTILE = "<script>alert(1)</script>"
OF_EACH = [
    rows.ok(id="same", conversion="EAGER", speedup=rows.speedup(1.01, 0.99, 1.03, decision=Decision.SAME)),
    rows.ok(id="fast"),
    rows.ok(id="lie", conversion="JIT_TRACE", status=Status.MISMATCH, reason=Reason.OUTPUT, message="off"),
    rows.not_ok(Reason.UNKNOWN_CONVERSION, HOSTILE, id="bad", conversion="EGAER"),
    rows.ok(id="other", conversion="EAGER", model="vit", speedup=rows.speedup(0.97, 0.95, 0.99)),
    rows.crashed(id="dead", conversion="ONNX_CPU", model="vit"),
    rows.not_ok(Reason.NEEDS_DEVICE, id="no GPU", conversion="TENSORRT", model="gpt"),
]
MLP, VIT, GPT = (f"{model} · cpu · batch 4 · cache=warm" for model in ("mlp", "vit", "gpt"))


@pytest.fixture
def folder(weird_path: Path, make_cell: MakeCell) -> Path:
    return written(weird_path / "run", OF_EACH, [row.id for row in OF_EACH], make_cell)


def written(path: Path, made: Sequence[Result], plan: Sequence[str], make_cell: MakeCell) -> Path:
    """A run folder with a plan, and rows in an order of their own."""
    run = RunFolder(path)
    run.start([make_cell(id=id_) for id_ in plan], {"command": ["+model=mlp"]})
    for row in reversed(made):
        run.append(Outcome(result=row))
    run.release()
    return path


def test_a_run_has_its_folder_its_request_and_its_rows_in_the_order_of_the_plan(folder: Path) -> None:
    run = sweep.load(str(folder))
    assert run.folder == folder
    assert run.about["command"] == ["+model=mlp"]
    assert run.rows == OF_EACH
    assert repr(run) == f"<sweep run {folder}: 7 cells: 3 ok, 1 mismatch, 1 invalid, 1 skipped, 1 crashed>"


def test_a_run_that_is_not_done_shows_what_is_there(weird_path: Path, make_cell: MakeCell) -> None:
    run = sweep.load(written(weird_path / "run", OF_EACH[:2], [row.id for row in OF_EACH], make_cell))
    assert [row.id for row in run.rows] == ["same", "fast"]
    assert run.missing == 5
    assert "5 more have no row yet" in repr(run)
    assert "5 more have no row yet" in run._repr_html_()
    assert len(run.frame()) == 2


def test_a_run_without_any_row_has_its_tables_too(weird_path: Path, make_cell: MakeCell) -> None:
    run = sweep.load(written(weird_path / "run", [], ["a"], make_cell))
    assert run.frame().shape == (0, len(COLUMNS))
    assert run.matrix().shape == (0, 0)
    assert run.best() == {}
    assert "0 cells" in run._repr_html_()


def test_where_no_sweep_is_it_says_so(weird_path: Path) -> None:
    with pytest.raises(RunFolderBroken, match=r"no sweep\.json"):
        sweep.load(weird_path)


def test_a_frame_has_the_columns_and_types_that_are_documented(folder: Path) -> None:
    frame = sweep.load(folder).frame()
    assert list(frame.columns) == [column.name for column in COLUMNS]
    types = {name: str(frame[name].dtype) for name in ("id", "threads", "speedup.value", "load.heat_throttled")}
    assert types == {
        "id": "string",
        "threads": "Int64",
        "speedup.value": "Float64",
        "load.heat_throttled": "boolean",
    }
    assert frame["speedup.value"].isna().tolist() == [False, False, False, True, False, True, True]
    assert frame.loc[1, "speedup.value"] == 2.0
    ok = frame[frame["status"] == "ok"]
    assert ok.groupby("model")["speedup.value"].max().to_dict() == {"mlp": 2.0, "vit": 0.97}


def test_a_frame_is_what_the_parquet_file_holds(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    run = sweep.load(folder)
    parquet.write(folder / "results.parquet", run.rows)
    from_file = pandas.read_parquet(folder / "results.parquet", dtype_backend="numpy_nullable")
    pandas.testing.assert_frame_equal(from_file, run.frame())


def test_the_matrix_has_speed_ups_of_what_is_proved_and_verdicts_of_the_rest(folder: Path) -> None:
    matrix = sweep.load(folder).matrix()
    assert list(matrix.index) == ["EAGER", "ONNX_CPU", "JIT_TRACE", "EGAER", "TENSORRT"]
    assert matrix[MLP].tolist() == [
        "same (1.01x)",
        "2.00x",
        "mismatch/output",
        "invalid/unknown-conversion",
        pandas.NA,
    ]
    assert matrix[VIT].dropna().to_dict() == {"EAGER": "0.97x", "ONNX_CPU": "crashed/signal"}
    assert matrix[GPT].dropna().to_dict() == {"TENSORRT": "skipped/needs-device"}


def test_the_matrix_of_a_column_has_its_numbers_where_they_are_proved(folder: Path) -> None:
    matrix = sweep.load(folder).matrix("speedup.value")
    assert matrix[MLP].dropna().to_dict() == {"EAGER": 1.01, "ONNX_CPU": 2.0}  # what is not ok has none
    assert matrix[GPT].isna().all()
    assert {str(dtype) for dtype in sweep.load(folder).matrix("latency_ms.n").dtypes} == {"Int64"}


def test_a_disturbed_figure_is_in_brackets_and_no_number_of_the_matrix(weird_path: Path, make_cell: MakeCell) -> None:
    row = rows.ok(id="loaded", quality=Quality.DISTURBED)
    run = sweep.load(written(weird_path / "run", [row], ["loaded"], make_cell))
    assert run.matrix()[MLP].tolist() == ["(2.00x)"]
    assert run.matrix("speedup.value")[MLP].tolist() == [pandas.NA]
    assert run.best() == {}


@pytest.mark.parametrize("name", ["speedup", "status", "speedup.valeu"])
def test_a_matrix_of_no_numbers_is_refused_with_a_hint(folder: Path, name: str) -> None:
    with pytest.raises(BadRequest, match="no column of numbers"):
        sweep.load(folder).matrix(name)


def test_the_best_of_each_table_is_the_fastest_that_is_proved(folder: Path) -> None:
    best = sweep.load(folder).best()
    assert {title: row.id for title, row in best.items()} == {MLP: "fast", VIT: "other"}


def test_a_notebook_shows_every_row_and_runs_nothing_that_is_in_it(folder: Path) -> None:
    html = sweep.load(folder)._repr_html_()
    assert html.count("<table>") == 3
    assert html.count('scope="row"') == len(OF_EACH)
    for said in ("mismatch/output", "(2.00x)", "crashed/signal", "skipped/needs-device"):
        assert said in html
    # of the quotients 1.01 and 0.97: the root of the mean of the squares of their logarithms
    assert "Noise floor: a trial of EAGER against itself differs by 2.3 %" in html
    assert "Fastest: ONNX_CPU, 2.00x (95 % interval 1.80x to 2.20x, of 3 trials, not confirmed)." in html
    assert "Provisional: at most 3 trials of a cell, and nothing is confirmed" in html
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html


def test_of_very_many_rows_a_notebook_shows_the_fastest(weird_path: Path, make_cell: MakeCell) -> None:
    many = [rows.ok(id=str(n), conversion=f"MODE_{n}", speedup=rows.speedup(n)) for n in range(2, 2003)]
    run = sweep.Run(folder=weird_path, about={"plan": [row.id for row in many]}, rows=many)
    html = run._repr_html_()
    assert html.count('scope="row"') == 3
    assert "MODE_2002<" in html
    assert "has all 2001" in html


def test_the_package_offers_three_names_and_nothing_else() -> None:
    assert sweep.__all__ == ["Run", "load", "run"]
    assert {"Run", "load", "run"} <= set(dir(sweep))
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        _ = sweep.walk  # type: ignore[attr-defined]
