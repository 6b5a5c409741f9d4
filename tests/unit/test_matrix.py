import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweep.cell import Cell
from sweep.errors import Incomplete
from sweep.evidence import Engine, Sampled
from sweep.report import files, matrix, text
from sweep.report.terminal import Board
from sweep.result import Eager, Fidelity, Reason, Result, Status, not_run
from sweep.verdict import figures


def measured(id_: str, conversion: str, times_faster: float, **changes: Any) -> Result:
    """An ok row whose speed-up is `times_faster`."""
    samples = tuple(0.001 * (1 + i * 1e-4) for i in range(31))
    converted = Sampled(samples=samples, settled=True)
    eager = replace(converted, samples=tuple(times_faster * sample for sample in samples))
    values: dict[str, Any] = {
        "id": id_,
        "model": "mlp",
        "conversion": conversion,
        "device": "cpu",
        "batch_size": 1,
        "threads": 2,
        "status": Status.OK,
        "latency_ms": figures.latency(samples),
        "eager": Eager(p50_ms=figures.latency(eager.samples).p50, n=31),
        "speedup": figures.speedup([(eager, converted)], {"convert": 1.5}),
        "fidelity": Fidelity(rel_l2=1e-7, cosine=1, max_abs=1e-7, top1_agreement=1, inputs=8, tolerance_class="fp32"),
        "engine": Engine(requested="eager", actual="eager", precision="fp32"),
        "seconds": {"convert": 1.5},
    }
    return Result(**values | changes)


@pytest.fixture
def rows(make_cell: Callable[..., Cell]) -> list[Result]:
    mlp = replace(make_cell().model, name="mlp")
    bad = make_cell(conversion="OPENVINO", id="bad", batch_size=1, model=mlp)
    return [
        measured("slow", "EXPORT+EAGER", 0.5),
        measured("same", "EAGER", 1.03),
        replace(not_run(bad, Reason.UNKNOWN_CONVERSION, "did you mean [red]A|B[/red]?"), model="mlp", threads=None),
        measured("fast", "ONNX_CPU", 2.0),
        measured("other", "EAGER", 0.98, model="resnet"),
        measured("wrong", "JIT_TRACE", 9.0, status=Status.MISMATCH, reason=Reason.OUTPUT, message="off"),
    ]


def cells_for(rows: list[Result], make_cell: Callable[..., Cell]) -> list[Cell]:
    return [make_cell(id=row.id) for row in rows]


def test_rows_come_in_the_order_of_the_plan(rows: list[Result], make_cell: Callable[..., Cell]) -> None:
    cells = cells_for(rows, make_cell)
    assert matrix.tabulate(cells, rows[::-1]) == rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[1:], "slow: no row"),
        (lambda rows: [*rows, rows[0]], "slow: 2 rows"),
        (lambda rows: [*rows, replace(rows[0], id="new")], "new: a row nobody planned"),
    ],
)
def test_a_cell_without_exactly_one_row_is_a_bug(
    rows: list[Result],
    make_cell: Callable[..., Cell],
    change: Callable[[list[Result]], list[Result]],
    said: str,
) -> None:
    with pytest.raises(Incomplete, match=said) as error:
        matrix.tabulate(cells_for(rows, make_cell), change(rows))
    assert error.value.exit_code == 4


def test_groups_are_what_may_be_compared_fastest_first_and_lies_after_truths(rows: list[Result]) -> None:
    groups = [(title, [row.id for row in group]) for title, group in matrix.groups(rows)]
    assert groups == [
        ("mlp · cpu · batch 1", ["fast", "same", "slow", "wrong", "bad"]),
        ("resnet · cpu · batch 1", ["other"]),
    ]


def test_rows_of_other_threads_are_not_compared(rows: list[Result]) -> None:
    grid = [rows[0], replace(rows[0], id="one", threads=1)]
    assert [title for title, _ in matrix.groups(grid)] == [
        "mlp · cpu · batch 1 · 2 threads",
        "mlp · cpu · batch 1 · 1 thread",
    ]


def test_the_noise_floor_is_the_worst_eager_against_itself(rows: list[Result]) -> None:
    assert matrix.noise_floor(rows) == pytest.approx(0.03)
    assert matrix.noise_floor([row for row in rows if row.conversion != "EAGER"]) is None


def test_the_summary_counts_every_row(rows: list[Result]) -> None:
    assert text.summary(rows) == "6 cells: 4 ok, 1 mismatch, 1 invalid"


def test_csv_has_a_line_a_row_and_flat_columns(rows: list[Result]) -> None:
    lines = list(csv.DictReader(io.StringIO("".join(files.as_csv(rows)))))
    assert [line["id"] for line in lines] == [row.id for row in rows]
    assert float(lines[3]["speedup.value"]) == pytest.approx(2.0)
    assert lines[2]["latency_ms.p50"] == ""
    assert lines[2]["reason"] == "unknown-conversion"


def test_json_holds_the_rows_as_they_are(rows: list[Result]) -> None:
    loaded = json.loads("".join(files.as_json(rows)))
    assert [row["id"] for row in loaded["rows"]] == [row.id for row in rows]
    assert loaded["counts"] == {"ok": 4, "mismatch": 1, "invalid": 1}
    assert loaded["rows"][0]["latency_ms"]["n"] == 31


def test_markdown_keeps_text_as_text(rows: list[Result]) -> None:
    hostile = replace(rows[0], conversion="<script>|a|`b`*c*[d](e)~~f~~@g")
    (line,) = [line for line in "".join(files.as_markdown([hostile])).splitlines() if "script" in line]
    assert "<" not in line.replace("&lt;", "")
    assert line.replace("\\|", "").count("|") == len(text.HEADINGS) + 1
    assert not {"@", "~~", "`b`"} & {part for part in ("@", "~~", "`b`") if part in line}


def shown(rows: list[Result], **console: Any) -> str:
    out = io.StringIO()
    board = Board(Console(file=out, **console))
    with board:
        for row in rows:
            board.ended(row)
    board.show_matrix(rows, Path("run"))
    return out.getvalue()


def test_piped_output_has_no_control_codes_and_cuts_nothing(rows: list[Result]) -> None:
    output = shown([*rows, replace(rows[2], id="long", message="x" * 700)])
    assert "\x1b" not in output
    assert "\r" not in output
    assert "x" * 700 in output
    assert "did you mean [red]A|B[/red]?" in output
    assert "Noise floor: 3.0%" in output


def test_a_terminal_gets_colour_and_the_words_too(rows: list[Result]) -> None:
    output = shown(rows, force_terminal=True, width=120)
    assert "\x1b[" in output
    for word in ("ok", "mismatch/output", "invalid/unknown-conversion", "(9.00x)"):
        assert word in output


@pytest.mark.parametrize(
    ("seconds", "said"), [(5, "5 s"), (89, "89 s"), (600, "10 min"), (3 * 3600 + 300, "3 h 05 min")]
)
def test_durations_read_well(seconds: float, said: str) -> None:
    assert text.duration(seconds) == said


def test_numbers_from_unlike_hardware_are_never_in_one_ranking(rows: list[Result]) -> None:
    here = [replace(row, hardware="a CPU", fingerprint="aaaa") for row in rows[:2]]
    there = [replace(row, hardware="another CPU", fingerprint="bbbb") for row in rows[3:4]]
    never_ran = rows[2:3]
    groups = {title: [row.id for row in group] for title, group in matrix.groups([*here, *there, *never_ran])}
    assert groups == {
        "mlp · cpu · batch 1 · a CPU [aaaa]": ["same", "slow"],
        "mlp · cpu · batch 1 · another CPU [bbbb]": ["fast"],
        "mlp · cpu · batch 1 · did not run": ["bad"],
    }
    (said,) = text.unlike_hardware([*here, *there, *never_ran])
    assert said.startswith("mlp · cpu · batch 1 ran on 2 kinds of hardware")
    assert said in "".join(files.as_markdown([*here, *there])).replace("\\", "")
    assert text.unlike_hardware(here) == []


def test_of_very_many_rows_a_terminal_shows_the_fastest_of_each_table(tmp_path: Path) -> None:
    many = [measured(f"{n}", f"MODE_{n}", 1 + n / 100, model=f"m{n % 3}") for n in range(2001)]
    console = Console(file=io.StringIO(), width=150)
    Board(console).show_matrix(many, tmp_path)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "MODE_2000" in shown
    assert "MODE_1000 " not in shown
    assert "matrix.md has all 2001" in shown
    assert len(shown.splitlines()) < 50
