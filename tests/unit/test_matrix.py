import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.rows import ok, speedup

from sweep.cell import Cell
from sweep.errors import Incomplete
from sweep.plan import Plan
from sweep.report import files, matrix, text
from sweep.report.terminal import Board
from sweep.result import Decision, Quality, Quotient, Result, Speedup, not_run
from sweep.status import Reason, Status


def measured(id_: str, conversion: str, times_faster: float, **changes: Any) -> Result:
    """An ok and firm row whose speed-up is `times_faster`, of one trial that found just that."""
    values: dict[str, Any] = {
        "id": id_,
        "conversion": conversion,
        "batch_size": 1,
        "overrides": {},
        "hardware": None,
        "fingerprint": None,
        "log": None,
        "speedup": speedup(times_faster),
        "seconds": {"convert": 1.5},
    }
    return ok(**values | changes)


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


def test_rows_that_were_disturbed_rank_last_of_those_that_are_ok(rows: list[Result]) -> None:
    loaded = measured("loaded", "COMPILE_OPENVINO", 5.0, quality=Quality.DISTURBED)
    (_, group), *_ = matrix.groups([*rows, loaded])
    assert [row.id for row in group] == ["fast", "same", "slow", "loaded", "wrong", "bad"]


def eager(*quotients: float, disturbed: tuple[float, ...] = (), **changes: Any) -> Result:
    trials = [Quotient(value=value, spread=0.001) for value in quotients]
    trials += [Quotient(value=value, spread=0.001, disturbed=True) for value in disturbed]
    return measured("eager", "EAGER", 1.0, **{"speedup": speedup(1.0, quotients=tuple(trials))} | changes)


def test_the_noise_floor_is_the_deviation_of_eager_from_itself_over_all_its_trials() -> None:
    # logarithms of -0.02, 0.01 and 0.02: their squares have the mean 3e-4; the lower 5 % point of chi-squared with 3
    # degrees of freedom is 0.3518 (Abramowitz and Stegun, table 26.8), and the bound is wider by the root of 3 / 0.3518
    floor = matrix.noise_floor([eager(0.980199, 1.010050), eager(1.020201, model="resnet")])
    assert floor is not None
    assert floor.share == pytest.approx(0.017321, rel=1e-4)
    assert floor.trials == 3
    assert floor.bound == pytest.approx(0.017321 * (3 / 0.3518) ** 0.5, rel=1e-3)
    said = text.noise_floor([eager(0.980199, 1.010050), eager(1.020201)])
    assert said == (
        "Noise floor: a trial of EAGER against itself differs by 1.7 % (standard deviation; at most 5.1 % with 95 % "
        "confidence), over 3 trials."
    )
    assert "there is one trial of EAGER only, 1.0 % from 1.00x" in text.noise_floor([eager(1.01)])


def test_no_other_and_no_disturbed_trial_is_in_the_noise_floor() -> None:
    mismatch = eager(3.0, status=Status.MISMATCH, reason=Reason.OUTPUT, message="off")
    floor = matrix.noise_floor([eager(1.02, disturbed=(2.0,)), measured("fast", "ONNX_CPU", 2.0), mismatch])
    assert floor is not None
    assert floor.trials == 1
    assert matrix.noise_floor([eager(disturbed=(2.0,))]) is None
    assert text.noise_floor([eager(disturbed=(2.0,))]).endswith("every trial of EAGER was disturbed.")
    assert matrix.noise_floor([measured("fast", "ONNX_CPU", 2.0)]) is None
    assert "add EAGER" in text.noise_floor([measured("fast", "ONNX_CPU", 2.0)])
    mismatch = eager(3.0, status=Status.MISMATCH, reason=Reason.OUTPUT, message="off")
    assert text.noise_floor([mismatch]).endswith("for no EAGER cell is ok.")


def test_without_trials_the_noise_floor_is_the_worst_eager_against_itself() -> None:
    def early(value: float) -> Result:
        return eager(schema=1, quality=None, speedup=Speedup(value=value, low=0.9, high=1.1))

    floor = matrix.noise_floor([early(1.03), early(0.98)])
    assert floor is not None
    assert floor.share == pytest.approx(0.03)
    assert floor.bound is None
    assert text.noise_floor([early(1.03)]) == "Noise floor: 3.0%; EAGER against itself came out that far from 1.00x."


# A row in words


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"speedup": speedup(1.42)}, ("1.42x", "1")),
        ({"speedup": speedup(0.7)}, ("0.70x", "1")),
        ({"speedup": speedup(1.01, 0.99, 1.02, decision=Decision.SAME, trials=3)}, ("same (1.01x)", "3")),
        ({"speedup": speedup(1.04, 0.9, 1.2)}, ("undecided (1.04x)", "1")),
        ({"speedup": speedup(1.42, confirming=3)}, ("1.42x", "3 confirming")),
        ({"speedup": speedup(1.42), "quality": Quality.ROUGH}, ("1.42x", "1")),
        ({"speedup": speedup(1.42), "quality": Quality.DISTURBED}, ("(1.42x)", "1")),
        ({"speedup": speedup(1.04, 0.9, 1.2), "quality": Quality.DISTURBED}, ("(1.04x)", "1")),
        ({"status": Status.MISMATCH, "reason": Reason.ENGINE, "message": "fell back"}, ("(2.00x)", "1")),
        ({"speedup": Speedup(value=1.42, low=1.4, high=1.5), "quality": None}, ("1.42x", "–")),
        ({"speedup": Speedup(value=1.42, low=0.9, high=1.5), "quality": None}, ("undecided (1.42x)", "–")),
    ],
)
def test_a_speed_up_is_told_by_what_it_decides(changes: dict[str, Any], said: tuple[str, str]) -> None:
    row = measured("a", "ONNX_CPU", 2.0, **changes)
    assert (text.speedup(row), text.trials(row)) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"speedup": speedup(1.42, break_even_calls=1375)}, "1,375"),
        ({"speedup": speedup(0.7)}, "never"),
        ({"speedup": speedup(1.01, decision=Decision.SAME, break_even_calls=1375)}, "never"),
        ({"speedup": speedup(1.2, 0.9, 1.5, break_even_calls=1375)}, "–"),
        ({"speedup": speedup(1.42, break_even_calls=1375), "quality": Quality.DISTURBED}, "–"),
    ],
)
def test_only_what_is_decided_faster_pays_off(changes: dict[str, Any], said: str) -> None:
    assert text.pays_off(measured("a", "ONNX_CPU", 2.0, **changes)) == said
    assert text.pays_off(measured("a", "EAGER", 2.0, **changes)) == "–"


def test_what_was_not_measured_has_dashes(rows: list[Result]) -> None:
    figures = dict(zip(text.HEADINGS, text.columns(rows[2]), strict=True))
    dashes = [name for name, said in figures.items() if said == "–"]
    assert dashes == ["p50 ms", "speed-up", "trials", "rel. error", "convert s", "pays off"]


def test_figures_are_provisional_until_something_is_confirmed(rows: list[Result]) -> None:
    said = text.provisional(rows)
    assert said == (
        "Provisional: one trial of each cell, and nothing is confirmed; a larger measure.budget (minutes) confirms the "
        "fastest."
    )
    thrice = measured("thrice", "JIT_TRACE", 1.2, speedup=speedup(1.2, trials=3))
    assert "at most 3 trials of a cell" in (text.provisional([*rows, thrice]) or "")
    loaded = measured("loaded", "JIT_TRACE", 1.2, quality=Quality.DISTURBED)
    assert "it takes a quieter machine" in (text.provisional([loaded]) or "")
    assert text.provisional([*rows, loaded]) == said
    confirmed = measured("sure", "JIT_TRACE", 1.2, speedup=speedup(1.2, confirming=3))
    early = measured("early", "JIT_TRACE", 1.2, schema=1, speedup=Speedup(value=1.2, low=1.1, high=1.3), quality=None)
    for nothing_to_say in ([*rows, confirmed], [early], [rows[2]], []):
        assert text.provisional(nothing_to_say) is None


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
    assert loaded["rows"][0]["latency_ms"]["n"] == 900
    assert loaded["noise_floor"]["trials"] == 2


def test_markdown_keeps_text_as_text(rows: list[Result]) -> None:
    hostile = replace(rows[0], conversion="<script>|a|`b`*c*[d](e)~~f~~@g")
    (line,) = [line for line in "".join(files.as_markdown([hostile])).splitlines() if "script" in line]
    assert "<" not in line.replace("&lt;", "")
    assert line.replace("\\|", "").count("|") == len(text.HEADINGS) + 1
    assert not {"@", "~~", "`b`"} & {part for part in ("@", "~~", "`b`") if part in line}


def test_markdown_says_above_each_table_what_it_comes_to(rows: list[Result]) -> None:
    lines = "".join(files.as_markdown(rows)).replace("\\", "").splitlines()
    assert lines[4].startswith("Provisional: ")
    at = lines.index("## mlp · cpu · batch 1")
    assert lines[at + 2] == "Fastest: ONNX_CPU, 2.00x (95 % interval 1.98x to 2.02x, of 1 trial, not confirmed)."
    assert lines[at + 4].startswith("| conversion | status | p50 ms | speed-up | trials |")
    other = lines.index("## resnet · cpu · batch 1")
    assert lines[other + 2] == "There is only eager here."


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
    assert "Noise floor: a trial of EAGER against itself differs by 2.5 %" in output  # 1.03 and 0.98
    assert "Fastest: ONNX_CPU, 2.00x" in output
    assert "Provisional: one trial of each cell" in output


def test_a_terminal_gets_colour_and_the_words_too(rows: list[Result]) -> None:
    output = shown(rows, force_terminal=True, width=120)
    assert "\x1b[" in output
    for word in ("ok", "mismatch/output", "invalid/unknown-conversion", "(9.00x)"):
        assert word in output


def trials(*quotients: float, **changes: Any) -> Speedup:
    """A speed-up of so many first trials; the last of them is its figure."""
    return speedup(
        quotients[-1],
        quotients=tuple(Quotient(value=value, spread=0.01) for value in quotients),
        trials=len(quotients),
        **changes,
    )


def test_further_trials_are_a_short_line_each_and_no_cell_more(rows: list[Result]) -> None:
    out = io.StringIO()
    board = Board(Console(file=out))
    slow, same, kept = (replace(rows[number], speedup=trials(0.9)) for number in (0, 1, 3))
    board.planned(Plan(cells=[], ready=[], refused=[], doubts=[]), [kept], {})
    with board:
        board.round(1, 2, confirms=False)
        board.ended(slow)
        board.ended(same)
        board.round(2, 2, confirms=False)
        board.refined(replace(slow, speedup=trials(0.9, 1.2, 1.53)))
        board.refined(replace(same, speedup=trials(1.2, 1.01, decision=Decision.SAME)))
        board.round(3, 1200, confirms=False)
        board.refined(replace(slow, speedup=trials(0.9, 1.2, 1.52)))  # only others had more trials
        board.refined(replace(kept, speedup=trials(0.91)))
        board.round(4, 1, confirms=True)
        board.refined(replace(slow, speedup=speedup(1.49, confirming=1)))
        board.refined(replace(kept, status=Status.MISMATCH, reason=Reason.OUTPUT, message="off, this time"))
    assert out.getvalue().splitlines()[3:] == [
        "Every cell has its row; more trials of 2 cells, where they decide something",
        "   again  ok firm  mlp EXPORT+EAGER cpu  1.53x, 3 trials",
        "   again  ok firm  mlp EAGER cpu  same (1.01x), 2 trials",
        "More trials of 1,200 cells, where they decide something",
        "Confirming the fastest: fresh trials of 1 cell",
        "   again  ok firm  mlp EXPORT+EAGER cpu  1.49x, 1 confirming trial",
        "   again  mismatch/output  mlp ONNX_CPU cpu  (0.90x), 1 trial",
    ]


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(140, None), (100, "convert s, pays off"), (80, "trials, rel. error, convert s, pays off")],
)
def test_a_narrow_terminal_leaves_columns_out_and_cuts_no_figure(width: int, left_out: str | None) -> None:
    confirmed = speedup(1, 0.9, 1.1, confirming=3)
    long = measured("a", "COMPILE_INDUCTOR_MAX_AUTOTUNE+TORCHAO_QUANT_I4_WEIGHT_ONLY", 1.0, speedup=confirmed)
    out = io.StringIO()
    Board(Console(file=out, force_terminal=True, no_color=True, width=width)).show_matrix([long], Path("run"))
    lines = out.getvalue().splitlines()
    (line,) = [line for line in lines if "COMPILE_INDUCTOR_MAX" in line]
    assert "  2.000 " in line
    assert "  undecided (1.00x)" in line
    assert ("3 confirming" in line) == (width > 80)
    said = [line for line in lines if "For want of room" in line]
    assert [f"without: {left_out};" in one for one in said] == ([True] if left_out else [])


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


def test_of_very_many_tables_a_terminal_shows_some(tmp_path: Path) -> None:
    many = [measured(f"{n}", "EAGER", 1.0, model=f"m{n}") for n in range(2001)]
    out = io.StringIO()
    Board(Console(file=out, width=150)).show_matrix(many, tmp_path)
    assert "m99 · cpu" in out.getvalue()
    assert "m100 · cpu" not in out.getvalue()
    assert "Of the first 100 of 2,001 tables the first 3 rows are shown; matrix.md has all 2001." in out.getvalue()


def test_of_very_many_cells_that_cannot_run_some_have_a_line_and_the_others_one_together(rows: list[Result]) -> None:
    (invalid,) = [row for row in rows if row.status is Status.INVALID]
    refused = [replace(invalid, id=f"{n}", conversion=f"NO_{n:04}") for n in range(1300)]
    refused[-2:] = [replace(row, status=Status.SKIPPED, reason=Reason.NO_NODE) for row in refused[-2:]]
    out = io.StringIO()
    board = Board(Console(file=out))
    board.planned(Plan(cells=[object()] * 1301, ready=[], refused=refused, doubts=[]), [], {})  # type: ignore[list-item]
    with board:
        board.refused(refused)
        board.ended(rows[0])
    _, *lines, others, last = out.getvalue().splitlines()
    assert [line.split()[3] for line in lines] == [f"NO_{n:04}" for n in range(100)]
    assert others == (
        "1300/1301 and 1,200 more cells that cannot run: 1,198 invalid/unknown-conversion, 2 skipped/no-node"
    )
    assert last.startswith("1301/1301 ")
