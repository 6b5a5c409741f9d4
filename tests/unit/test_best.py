import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.rows import speedup

from sweep import reading
from sweep.cell import Cell, Limits, Measure, Model, Tolerance
from sweep.errors import BadRequest
from sweep.evidence import Engine, Memory
from sweep.pick import __main__ as pick
from sweep.pick import choosing, script
from sweep.pick.choosing import Choice, Constraints
from sweep.report import best, matrix
from sweep.report.page import answers
from sweep.report.run import Run
from sweep.result import Decision, Eager, Fidelity, Latency, MetricFigures, Quality, Quotient, Result, Speedup
from sweep.status import Reason, Status


def row(conversion: str, value: float, low: float = 0, high: float = 0, **changes: Any) -> Result:
    """An ok and firm row with this speed-up, within 1 % if nothing else is said, decided by its interval."""
    figures = dict.fromkeys(("p90", "mean", "std", "min", "max", "p50_low", "p50_high"), 1.0)
    values: dict[str, Any] = {
        "id": conversion.lower(),
        "model": "mlp",
        "conversion": conversion,
        "device": "cpu",
        "batch_size": 1,
        "threads": 2,
        "status": Status.OK,
        "quality": Quality.FIRM,
        "latency_ms": Latency(p50=10 / value, p99=20 / value, n=90, processes=3, **figures),
        "eager": Eager(p50_ms=10, n=90),
        "speedup": speedup(value, low, high),
        "fidelity": Fidelity(
            rel_l2=1e-3, cosine=0.9, max_abs=1, top1_agreement=1, inputs=8, tolerance_class="fp32", allowed=1e-4
        ),
        "engine": Engine(requested="eager", actual="eager", precision="fp32"),
        "memory_mb": Memory(rss_peak=100),
        "seconds": {"convert": 2.0},
        "hardware": "CPU x2, 8 GiB",
        "fingerprint": "aaaa",
    }
    return Result(**values | changes)


def refused(conversion: str, reason: Reason, **changes: Any) -> Result:
    parts = ("latency_ms", "eager", "speedup", "fidelity", "engine", "memory_mb", "fingerprint", "quality")
    nothing: dict[str, Any] = dict.fromkeys(parts)
    return row(conversion, 1, status=reason.status, reason=reason, message="so it was", **nothing | changes)


def chosen(*rows: Result, **constraints: float) -> Choice:
    (one,) = choosing.choose(rows, Constraints(**constraints))
    return one


def names(rows: tuple[Result, ...]) -> list[str]:
    return [one.conversion for one in rows]


EAGER, ONNX, OPENVINO = row("EAGER", 1.0), row("ONNX_CPU", 2.0), row("COMPILE_OPENVINO", 3.0)


def test_the_fastest_proved_one_is_best() -> None:
    one = chosen(EAGER, OPENVINO, ONNX)
    assert one.best is OPENVINO
    assert one.beats_eager
    assert (one.not_told_apart, one.passed_over) == ((), ())


@pytest.mark.parametrize(
    ("constraints", "best"),
    [
        ({"min_cosine": 0.95}, "ONNX_CPU"),
        ({"max_rel_l2": 1e-4}, "ONNX_CPU"),
        ({"max_memory": 100}, "ONNX_CPU"),
        ({"max_convert": 2}, "ONNX_CPU"),
        ({"p50_under": 3.4, "p99_under": 6.7}, "COMPILE_OPENVINO"),
        ({"min_speedup": 3}, "COMPILE_OPENVINO"),
        ({"min_speedup": 3.1}, None),
        ({"p50_under": 10 / 3}, None),
        ({"p99_under": 20 / 3}, None),
    ],
)
def test_what_is_asked_holds(constraints: dict[str, float], best: str | None) -> None:
    exact = Fidelity(rel_l2=1e-5, cosine=0.99, max_abs=0, top1_agreement=1, inputs=8, tolerance_class="fp32")
    greedy = replace(OPENVINO, memory_mb=Memory(rss_peak=101), seconds={"convert": 2.1})
    one = chosen(EAGER, replace(ONNX, fidelity=exact), greedy, **constraints)
    assert (one.best and one.best.conversion) == best


def test_a_metric_that_is_unknown_or_drops_too_far_misses() -> None:
    def with_drop(row: Result, drop: float) -> Result:
        return replace(row, metric=MetricFigures(name="f1", value=1, eager=1, drop=drop, allowed_drop=1, samples=9))

    rows = [with_drop(EAGER, 0), with_drop(OPENVINO, 0.02), with_drop(ONNX, 0.01)]
    for bound, name in ((0.02, "COMPILE_OPENVINO"), (0.01, "ONNX_CPU"), (0, "EAGER"), (-0.1, None)):
        one = chosen(*rows, max_metric_drop=bound)
        assert (one.best and one.best.conversion) == name
    assert chosen(*rows, max_metric_drop=0.01).passed_over[0].reasons == (
        "drop of the metric is 0.02, must be at most 0.01",
    )
    assert chosen(EAGER, ONNX, max_metric_drop=1).best is None


def test_on_a_gpu_it_is_the_gpus_memory_that_counts() -> None:
    on_gpu = replace(OPENVINO, memory_mb=Memory(rss_peak=5000, cuda_peak=50))
    assert chosen(on_gpu, max_memory=60).best is on_gpu
    assert chosen(on_gpu, max_memory=40).best is None


def test_every_faster_one_is_passed_over_with_all_its_reasons() -> None:
    wrong = row("JIT_TRACE", 9, status=Status.MISMATCH, reason=Reason.OUTPUT, message="far off")
    one = chosen(EAGER, ONNX, OPENVINO, wrong, p50_under=5.1, max_rel_l2=1e-2, max_memory=99)
    assert one.best is None
    one = chosen(EAGER, ONNX, replace(OPENVINO, seconds={}, memory_mb=None), wrong, max_convert=3, max_memory=100)
    assert one.best is ONNX
    assert [(passed.row.conversion, passed.reasons) for passed in one.passed_over] == [
        ("JIT_TRACE", ("mismatch/output: far off",)),
        (
            "COMPILE_OPENVINO",
            ("peak memory in MB is unknown, must be at most 100", "conversion in s is unknown, must be at most 3"),
        ),
    ]


def test_a_slower_one_needs_no_reason_and_one_without_figures_has_it() -> None:
    slow = row("EXPORT+EAGER", 0.5, status=Status.MISMATCH, reason=Reason.OUTPUT, message="far off")
    one = chosen(EAGER, ONNX, slow, refused("TORCHAO", Reason.NEEDS_PACKAGE))
    assert [passed.row.conversion for passed in one.passed_over] == ["TORCHAO"]
    assert one.passed_over[0].reasons == ("skipped/needs-package: so it was",)


def test_a_figure_that_is_missed_is_named() -> None:
    (passed, *_) = chosen(OPENVINO, min_speedup=4).passed_over
    assert passed.reasons == ("speed-up is 3, must be at least 4",)


def test_intervals_that_overlap_are_not_told_apart() -> None:
    best, near, far = row("A", 3.0, 2.8, 3.2), row("B", 2.7, 2.6, 2.8), row("C", 2.5, 2.4, 2.79)
    assert names(chosen(far, near, best).not_told_apart) == ["B"]


def test_an_interval_that_holds_1_does_not_beat_eager() -> None:
    doubtful = row("A", 1.3, 0.9, 1.8)
    one = chosen(EAGER, doubtful)
    assert (one.best, one.beats_eager) == (EAGER, False)
    assert [(passed.row, passed.reasons) for passed in one.passed_over] == [
        (doubtful, ("undecided: it may be no faster than eager",))
    ]
    assert chosen(doubtful).best is doubtful  # without eager to stay with
    assert not chosen(row("SLOW", 0.7)).beats_eager


def test_eager_does_not_beat_itself() -> None:
    one = chosen(row("EAGER", 1.04, 1.01, 1.07), row("JIT_TRACE", 0.9))
    assert one.best is not None
    assert (one.best.conversion, one.beats_eager) == ("EAGER", False)


@pytest.mark.parametrize(
    ("others", "winner"),
    [
        ([("LUCKY", 1.9, 0.9, 4.0), ("SURE", 1.3, 1.2, 1.4), ("SLOW", 0.5, 0.4, 0.6)], "SURE"),
        ([("LUCKY", 1.9, 0.9, 4.0), ("SLOW", 0.5, 0.4, 0.6)], "EAGER"),
        ([("SURE", 1.3, 1.2, 1.4), ("SURER", 1.25, 1.24, 1.26)], "SURE"),
        ([("LOADED", 1.9, 1.8, 2.0, Quality.DISTURBED), ("SURE", 1.3, 1.2, 1.4)], "SURE"),
        ([("ROUGH", 1.9, 1.5, 2.4, Quality.ROUGH)], "EAGER"),
        ([("LOADED", 1.9, 1.8, 2.0, Quality.DISTURBED)], "EAGER"),
    ],
)
def test_the_page_pick_and_python_name_the_same_winner(
    others: list[tuple[Any, ...]], winner: str, tmp_path: Path
) -> None:
    wrong = row("WRONG", 9, status=Status.MISMATCH, reason=Reason.OUTPUT, message="far off")
    rows = [EAGER, wrong]
    for conversion, value, low, high, *quality in others:
        rows.append(row(conversion, value, low, high, quality=quality[0] if quality else Quality.FIRM))
    picked = chosen(*rows).best
    from_python = Run(folder=tmp_path, about={"plan": [one.id for one in rows]}, rows=rows).best()
    (answer,) = answers.answers(matrix.groups(rows))
    assert picked is not None
    assert picked.conversion == winner
    assert list(from_python.values()) == [picked]
    assert answer.best is (picked if winner != "EAGER" else None)  # where nothing beats eager the page says just that
    assert ("Nothing is faster than eager" in best.headline(rows)) == (winner == "EAGER")
    assert (f"Fastest: {winner}, " in best.headline(rows)) == (winner != "EAGER")


def test_rows_of_the_first_schema_are_judged_by_their_intervals() -> None:
    """They have no quality, no decision and no trials."""

    def early(conversion: str, value: float, low: float, high: float) -> Result:
        figures = Speedup(value=value, low=low, high=high)
        return row(conversion, value, schema=1, quality=None, speedup=figures)

    one = chosen(early("EAGER", 1.01, 0.99, 1.03), early("LUCKY", 1.9, 0.9, 4.0), early("SURE", 1.3, 1.2, 1.4))
    assert one.best is not None
    assert (one.best.conversion, one.beats_eager) == ("SURE", True)
    assert [passed.reasons for passed in one.passed_over] == [("undecided: it may be no faster than eager",)]
    assert best.headline([one.best]) == "Fastest: SURE, 1.30x (95 % interval 1.20x to 1.40x)."


# Confirmation


def confirmed(conversion: str, value: float, *, led_by: float, share: float = 0.01, **changes: Any) -> Result:
    """A row that was chosen for a figure of `led_by`, and of which three fresh trials found `value`."""
    figures = speedup(value, value * (1 - share), value * (1 + share), chosen_by=led_by, confirming=3)
    return row(conversion, value, speedup=figures, **changes)


def test_what_led_is_the_fastest_and_its_confirmation_is_the_figure() -> None:
    led, second = confirmed("LED", 1.70, led_by=1.85, share=0.03), confirmed("SECOND", 1.72, led_by=1.75, share=0.03)
    one = chosen(EAGER, second, led)
    assert one.best is led  # the higher of two confirmations would again be the luckier one
    assert names(one.not_told_apart) == ["SECOND"]
    assert one.passed_over == ()
    assert best.headline([EAGER, second, led]) == (
        "Fastest: LED, 1.70x (95 % interval 1.65x to 1.75x, of 3 confirming trials)."
    )


def test_a_confirmation_that_lies_wholly_above_takes_the_lead_and_so_on() -> None:
    led, second, third = (
        *(confirmed("LED", 1.40, led_by=1.9), confirmed("SECOND", 1.60, led_by=1.8)),
        confirmed("THIRD", 1.70, led_by=1.7),
    )
    assert chosen(EAGER, led, second).best is second
    assert chosen(EAGER, led, second, third).best is third  # above the second, which is above the first
    near = confirmed("NEAR", 1.61, led_by=1.75)
    assert chosen(EAGER, led, near, second).best is second  # of those above, the one that led


def test_disturbed_trials_did_not_make_it_lead() -> None:
    trials = (
        *(Quotient(value=3.0, spread=0.01, disturbed=True), Quotient(value=1.5, spread=0.01)),
        Quotient(value=1.5, spread=0.01, round=2, confirms=True),
    )
    lucky = row("LUCKY", 1.5, speedup=speedup(1.5, 1.4, 1.6, quotients=trials))
    led = confirmed("LED", 1.51, led_by=1.6, share=0.05)
    assert chosen(EAGER, lucky, led).best is led
    assert best.chosen_by(lucky) == pytest.approx(1.5)
    alone = row("ALONE", 1.5, speedup=speedup(1.5, 1.4, 1.6, quotients=trials[::2]))
    assert best.chosen_by(alone) == 1.5  # with no trial left, its speed-up


def test_once_one_is_confirmed_only_confirmed_ones_can_win() -> None:
    sure, unconfirmed = confirmed("SURE", 1.5, led_by=1.6), row("FIRST", 1.9)
    one = chosen(EAGER, unconfirmed, sure)
    assert one.best is sure
    assert [(passed.row, passed.reasons) for passed in one.passed_over] == [
        (unconfirmed, ("not confirmed, as others are: its figure may be luck",))
    ]
    vain = confirmed("VAIN", 1.01, led_by=2.0, share=0.03)  # nothing was left of what it was chosen for
    assert chosen(EAGER, unconfirmed, vain).best is EAGER
    assert "1 not confirmed" in best.headline([EAGER, unconfirmed, vain])
    loaded = replace(sure, quality=Quality.DISTURBED)
    assert chosen(EAGER, unconfirmed, loaded).best is unconfirmed  # a disturbed confirmation is none
    assert chosen(EAGER, unconfirmed, sure, min_speedup=1.8).best is unconfirmed  # of those that keep within


def test_a_rough_baseline_is_stayed_with_and_a_disturbed_one_is_not() -> None:
    same = row("SAME", 1.01, 0.99, 1.02, speedup=speedup(1.01, 0.99, 1.02, decision=Decision.SAME))
    rough = replace(EAGER, quality=Quality.ROUGH)
    assert chosen(rough, same).best is rough
    one = chosen(replace(EAGER, quality=Quality.DISTURBED), same)
    assert one.best is same
    assert [passed.reasons for passed in chosen(EAGER, same).passed_over] == [
        ("as fast as eager, within measure.margin",)
    ]
    assert chosen(replace(EAGER, quality=Quality.DISTURBED)).best is None


def test_what_was_disturbed_is_never_told_to_be_near_the_best() -> None:
    loaded = row("LOADED", 1.99, 1.9, 2.1, quality=Quality.DISTURBED)
    one = chosen(EAGER, ONNX, loaded)
    assert (one.best, one.not_told_apart, one.passed_over) == (ONNX, (), ())
    higher = row("LOADED", 2.5, 2.4, 2.6, quality=Quality.DISTURBED)
    (passed,) = chosen(EAGER, ONNX, higher).passed_over
    assert passed.reasons == ("disturbed: others used the machine in every trial, or it was throttled",)


def test_eager_is_told_apart_from_what_beats_it_by_that_decision() -> None:
    wide, best_ = row("EAGER", 1.0, 0.9, 1.1), row("A", 1.15, 1.05, 1.25)
    assert chosen(wide, best_).not_told_apart == ()


def test_pick_says_how_many_trials_a_figure_is_of_and_whether_they_confirm_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for rows, said in (
        ([EAGER, ONNX], "ONNX_CPU 2.00x, from 1.98x to 2.02x, of 1 trial, not confirmed, p50 5 ms"),
        ([EAGER, confirmed("C", 1.5, led_by=1.6)], "C 1.50x, from 1.48x to 1.52x, of 3 confirming trials, p50"),
    ):
        pick._show([chosen(*rows)], Console(width=1000, highlight=False))
        shown = capsys.readouterr().out
        assert said in shown
        assert ("a larger measure.budget has it confirmed" in shown) == ("not confirmed" in said)


def test_a_batch_size_that_is_not_there_is_told_whatever_it_is() -> None:
    with pytest.raises(BadRequest, match="batch size"):
        pick.choices([row("EAGER", 1)], asked(batch=0), Constraints())


def test_unlike_hardware_is_chosen_for_apart_and_what_never_ran_is_no_hardware() -> None:
    other = row("EAGER", 1.0, id="e2", hardware="Other x8, 8 GiB", fingerprint="bbbb")
    found = choosing.choose([EAGER, ONNX, other, refused("TORCHAO", Reason.NEEDS_PACKAGE)], Constraints())
    assert [one.best and one.best.conversion for one in found] == ["ONNX_CPU", "EAGER"]


def test_a_group_of_which_nothing_ran_has_no_best() -> None:
    one = chosen(refused("TORCHAO", Reason.NEEDS_PACKAGE))
    assert one.best is None
    assert not one.beats_eager


def asked(**changes: Any) -> Any:
    return pick.parser().parse_args(["RUN", *(f"--{name}={value}" for name, value in changes.items())])


def test_names_that_are_not_there_are_all_told_with_what_was_meant() -> None:
    rows = [replace(EAGER, model="resnet"), replace(ONNX, model="resnet")]
    with pytest.raises(BadRequest) as error:
        pick.choices(rows, asked(model="resnt", device="cuda", batch=8), Constraints())
    assert error.value.problems == (
        "no model 'resnt' in this sweep: did you mean resnet?",
        "no device 'cuda' in this sweep; there is cpu",
        "no batch size '8' in this sweep; there is 1",
    )


def test_rows_are_narrowed_by_name_and_heading() -> None:
    rows = [EAGER, replace(ONNX, batch_size=8), replace(OPENVINO, overrides={"model.width": "32"})]
    assert [one.best for one in pick.choices(rows, asked(batch=8), Constraints())] == [rows[1]]
    assert [one.best for one in pick.choices(rows, asked(where="width=32"), Constraints())] == [rows[2]]
    with pytest.raises(BadRequest, match="width=64"):
        pick.choices(rows, asked(where="width=64"), Constraints())


# The script


@pytest.fixture
def cell(make_cell: Callable[..., Cell]) -> Cell:
    return make_cell(
        model=Model(
            name="it's", config={"_target_": "a.B", "layers": ["x" * 60, {"y": "z" * 60}], "input": {"shape": [8]}}
        ),
        limits=Limits(memory=1000),
        measure=Measure(seconds=0.5),
        env=("SECRET",),
    )


def constants(program: str) -> dict[str, Any]:
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(program).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def test_the_script_has_all_of_the_cell_that_matters(cell: Cell) -> None:
    said = constants(script.program(cell, EAGER, "date/time"))
    again: Cell = reading.of(Cell).validate_python(said["CELL"])
    tolerance = {"fp32": Tolerance(rel_l2=1e-4)}
    assert again == replace(cell, limits=Limits(), env=(), tolerance=tolerance)
    assert said["REPORTED"] == {
        "speedup": (0.99, 1.0, 1.01),
        "rel_l2": 1e-3,
        "allowed": 1e-4,
        "engine": "eager",
        "threads": 2,
    }


def test_the_scripts_heading_says_where_it_is_from_and_cannot_end_early(cell: Cell) -> None:
    odd = replace(EAGER, model='"""\n\\', hardware="CPU\\", versions={"torch": "2.13.0"})
    tree = ast.parse(script.program(cell, odd, "date/time"))
    heading = ast.get_docstring(tree) or ""
    for part in ("date/time", EAGER.id, "CPU/", "torch 2.13.0"):
        assert part in heading


def test_the_script_holds_threads_and_device_as_the_cell_does(cell: Cell) -> None:
    held = script.program(replace(cell, threads=1), EAGER, "date/time")
    assert "os.environ |= {'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}" in held
    free = script.program(replace(cell, threads=None), EAGER, "date/time")
    assert "OMP_NUM_THREADS" not in free


def test_the_script_stays_short(cell: Cell) -> None:
    assert len(script.program(cell, EAGER, "date/time").splitlines()) < 100
    assert max(map(len, script.program(cell, EAGER, "date/time").splitlines())) <= 120
