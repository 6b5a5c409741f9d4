import io
import json
import math
import random
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from rich.console import Console
from scipy import stats as distributions

from sweep.compare import __main__ as compare
from sweep.compare import as_json, comparison, matching, significance, words
from sweep.compare.comparison import Against, Change
from sweep.compare.matching import ComparedRun
from sweep.compare.significance import Pair, Timings, Unit
from sweep.evidence import Engine, Sampled
from sweep.result import Eager, Fidelity, Reason, Result, Status
from sweep.verdict import figures

Processes = Sequence[Sequence[float]]


def ok(id_: str, *processes: Sequence[float], **changes: Any) -> Result:
    """A row of a cell with these samples, whose eager baseline took a thousandth of a second."""
    eager = [Sampled(samples=(0.001,) * 30, settled=True) for _ in processes]
    converted = [Sampled(samples=tuple(samples), settled=True) for samples in processes]
    values: dict[str, Any] = {
        "id": id_,
        "model": "mlp",
        "conversion": id_.upper(),
        "device": "cpu",
        "batch_size": 1,
        "threads": 2,
        "status": Status.OK,
        "latency_ms": figures.latency(*processes),
        "eager": Eager(p50_ms=1.0, n=30),
        "speedup": figures.speedup(list(zip(eager, converted, strict=True)), {}),
        "fidelity": Fidelity(rel_l2=0, cosine=1, max_abs=0, top1_agreement=1, inputs=8, tolerance_class="fp32"),
        "engine": Engine(requested="eager", actual="eager", precision="fp32"),
        "hardware": "CPU x2, 8 GiB",
        "fingerprint": "aaaa",
        "versions": {"torch": "2.13.0"},
    }
    return Result(**values | changes)


def crashed(id_: str, reason: Reason = Reason.RAISED, **changes: Any) -> Result:
    values: dict[str, Any] = {"model": "mlp", "conversion": id_.upper(), "device": "cpu", "batch_size": 1, "threads": 2}
    return Result(id=id_, status=reason.status, reason=reason, message="so it was", **values | changes)


def told(*processes: Sequence[float]) -> dict[str, Any]:
    """What samples.json says."""
    return {"unit": "s", "processes": [{"eager": [0.001], "conversion": list(samples)} for samples in processes]}


def run(name: str, cells: dict[str, Processes], *others: Result, **more: Any) -> ComparedRun:
    rows = [ok(id_, *processes) for id_, processes in cells.items()]
    found = {id_: significance.timings(told(*processes)) for id_, processes in cells.items()}
    timings = {id_: one for id_, one in found.items() if one}
    return ComparedRun(name=name, rows={row.id: row for row in (*rows, *others)}, **{"timings": timings} | more)


def against(base: ComparedRun, new: ComparedRun, threshold: float = 0.05) -> Against:
    (one,) = comparison.compare(base, [new], threshold).against
    return one


def noisy(
    chance: random.Random, spreads: Iterable[float], *, processes: int, between: bool, samples: int = 40
) -> dict[str, Processes]:
    """Cells of 1 ms each with its own noise: of its processes, if `between`, and of its samples."""
    return {
        f"m{number}": [
            [0.001 * math.exp(level + chance.gauss(0, spread)) for _ in range(samples)]
            for level in (chance.gauss(0, spread) if between else 0.0 for _ in range(processes))
        ]
        for number, spread in enumerate(spreads)
    }


def times(factor: float, processes: Processes) -> Processes:
    return [[factor * sample for sample in samples] for samples in processes]


# The test itself


def test_few_cells_are_tested_as_student_would() -> None:
    """Beside SciPy's own t-test of two samples with equal variances."""
    base, new = (math.log(0.9), math.log(1.0), math.log(1.15)), (math.log(1.3), math.log(1.2), math.log(1.5))
    (found,) = significance.tested([Pair(base=base, new=new, unit=Unit.PROCESS)])
    expected = distributions.ttest_ind(new, base)
    low, high = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((expected.pvalue, low, high))
    assert found.difference == pytest.approx(math.log(1.3 * 1.2 * 1.5 / 0.9 / 1.15) / 3)


# What is repeated


def test_a_process_is_one_value() -> None:
    found = significance.timings(told([0.001, 0.002, 0.009], [0.003] * 5))
    assert found == Timings(processes=(math.log(0.002), math.log(0.003)))


def test_a_single_process_is_cut_into_twenty_blocks_in_time() -> None:
    found = significance.timings(told([0.001 * (1 + n // 5) for n in range(100)]))
    assert found is not None
    assert found.blocks == pytest.approx([math.log(0.001 * (1 + n)) for n in range(20)])


def test_blocks_are_compared_only_where_neither_side_tells_how_processes_differ() -> None:
    one, other = Timings(processes=(1.0,), blocks=(1.0, 1.1)), Timings(processes=(2.0,), blocks=(2.0, 2.1))
    three = Timings(processes=(2.0, 2.1, 2.2))
    assert significance.paired(one, other) == Pair(base=one.blocks, new=other.blocks, unit=Unit.BLOCK)
    assert significance.paired(one, three) == Pair(base=(1.0,), new=three.processes, unit=Unit.PROCESS)


@pytest.mark.parametrize(
    "samples",
    [
        None,
        {},
        {"unit": "s", "processes": []},
        {"unit": "s", "processes": [{"conversion": None}]},
        {"unit": "s", "processes": [{"conversion": [0.0, 0.0]}]},
        {"unit": "s", "processes": [{"conversion": [math.nan] * 3}]},
        {"unit": "s", "processes": [{"conversion": ["fast"]}]},
        {"unit": "ms", "processes": [{"conversion": [1.0, 2.0]}]},
    ],
)
def test_what_is_no_samples_is_not_guessed_at(samples: object) -> None:
    assert significance.timings(samples) is None


# What it finds

WIDE = tuple(0.002 * math.exp(random.Random(3).gauss(0, 1)) for _ in range(72))
"""Noise of the cells of a sweep, each its own: 0.2 % and up to some ten times as much or as little."""


def test_a_sweep_does_not_differ_from_itself() -> None:
    base = run("base", noisy(random.Random(0), WIDE, processes=3, between=True))
    found = against(base, base, threshold=0)
    assert [one.ratio for one in found.timed] == [1] * 72
    assert [one.tested and one.tested.p for one in found.timed] == [1] * 72
    assert len(found.with_verdict(Change.SAME)) == 72
    assert found.within_threshold == found.no_longer_ok == 0


@pytest.mark.parametrize("seed", range(5))
def test_one_slower_cell_of_72_is_found_and_no_other(seed: int) -> None:
    chance = random.Random(seed)
    spreads = [0.01] * 72
    base, new = (noisy(chance, spreads, processes=3, between=True) for _ in range(2))
    new["m40"] = times(1.10, new["m40"])
    found = against(run("base", base), run("new", new))
    assert [one.new.id for one in found.with_verdict(Change.SLOWER)] == ["m40"]
    assert not found.with_verdict(Change.FASTER)
    (slower,) = found.with_verdict(Change.SLOWER)
    assert slower.interval is not None
    assert slower.interval[0] < 1.10 < slower.interval[1]


def test_a_faster_cell_is_found_too() -> None:
    base = noisy(random.Random(1), [0.002] * 5, processes=3, between=True)
    found = against(run("base", base), run("new", base | {"m2": times(1 / 1.2, base["m2"])}))
    assert [one.new.id for one in found.with_verdict(Change.FASTER)] == ["m2"]


@pytest.mark.parametrize("processes", [1, 3])
def test_samples_without_any_noise_are_compared(processes: int) -> None:
    still: dict[str, Processes] = {name: [[0.001] * 40] * processes for name in ("same", "slower")}
    found = against(run("base", still), run("new", still | {"slower": times(1.1, still["slower"])}))
    assert [one.new.id for one in found.with_verdict(Change.SLOWER)] == ["slower"]
    assert [(one.new.id, one.tested and one.tested.p) for one in found.with_verdict(Change.SAME)] == [("same", 1)]


@pytest.mark.parametrize(
    ("processes", "between", "spreads"),
    [
        pytest.param(3, True, WIDE, id="each mode its own noise"),
        pytest.param(3, True, (0.02, *[0.005] * 71), id="one unsteady mode"),
        pytest.param(3, True, [0.01] * 72, id="all alike"),
        pytest.param(2, True, WIDE, id="two processes"),
        pytest.param(3, True, WIDE[:8], id="too few modes to learn from"),
        pytest.param(1, False, WIDE, id="one process, noise of its samples only"),
    ],
)
def test_where_nothing_changed_a_difference_is_told_in_five_of_a_hundred_sweeps(
    processes: int, between: bool, spreads: Sequence[float]
) -> None:
    """With the threshold 0, so that the test itself is tested.

    If 5 % were the truth, 200 comparisons would show more false alarms than allowed here once in a thousand times.
    """
    chance, alarms = random.Random(0), 0
    for _ in range(200):
        base, new = (
            {
                name: significance.timings(told(*found))
                for name, found in noisy(chance, spreads, processes=processes, between=between, samples=samples).items()
            }
            for samples in [3 if between else 40] * 2
        )
        pairs = [significance.paired(a, b) for a, b in zip(base.values(), new.values(), strict=True) if a and b]
        alarms += any(one.significant for one in significance.tested([pair for pair in pairs if pair]))
    assert alarms <= distributions.binom.ppf(0.999, 200, 0.05)


def test_what_differs_by_less_than_the_threshold_is_no_difference_and_counted() -> None:
    base = noisy(random.Random(2), [0.001] * 4, processes=3, between=True)
    new = run("new", base | {"m0": times(1.04, base["m0"])})
    found = against(run("base", base), new)
    assert (len(found.with_verdict(Change.SAME)), found.within_threshold) == (4, 1)
    assert "1 of them significant, but within the threshold" in words.summary(found)
    assert [one.new.id for one in against(run("base", base), new, threshold=0.03).with_verdict(Change.SLOWER)] == ["m0"]


def test_p_values_are_corrected_over_all_sweeps_that_are_compared() -> None:
    base = run("base", noisy(random.Random(4), [0.01] * 4, processes=3, between=True))
    new = run("new", noisy(random.Random(5), [0.01] * 4, processes=3, between=True))
    (alone,) = comparison.compare(base, [new], 0.05).against
    twice = comparison.compare(base, [new, new], 0.05)
    assert twice.tests == {Unit.PROCESS: 8}
    least = min(one.tested.p for one in alone.timed if one.tested)
    assert min(one.tested.p for one in twice.against[0].timed if one.tested) == pytest.approx(min(1, 2 * least))


def test_what_could_have_been_told_is_just_what_is() -> None:
    base, spread = (0.0, 0.02, 0.04), 0.02
    (same,) = significance.tested([Pair(base=base, new=base, unit=Unit.PROCESS)])
    # by hand: Student's 97.5 % point with 4 degrees of freedom is 2.776, the error spread * sqrt(2 / 3)
    assert same.least_difference == pytest.approx(2.776445 * spread * math.sqrt(2 / 3), rel=1e-6)
    for share, told in ((1.001, True), (0.999, False)):
        moved = tuple(value + share * same.least_difference for value in base)
        (one,) = significance.tested([Pair(base=base, new=moved, unit=Unit.PROCESS)])
        assert one.significant is told


def test_without_samples_nothing_is_tested() -> None:
    base, new = run("base", {"a": [[0.001] * 40]}), run("new", {"a": [[0.002] * 40]}, timings={})
    found = against(base, new)
    (one,) = found.with_verdict(Change.UNTESTED)
    assert (one.ratio, one.tested, one.interval) == (2, None, None)
    assert "not tested" in str(words.sections(found, every=False))


def test_eager_that_moved_as_much_is_named() -> None:
    slow = [[0.0012] * 40] * 3
    base = run("base", {"a": [[0.001] * 40] * 3, "b": [[0.001] * 40] * 3})
    new = run("new", {"a": slow, "b": slow})
    with_eager = ok("a", *slow, eager=Eager(p50_ms=1.19, n=30))
    found = against(base, ComparedRun(name="new", rows={**new.rows, "a": with_eager}, timings=new.timings))
    assert {one.new.id: one.eager_too for one in found.with_verdict(Change.SLOWER)} == {"a": True, "b": False}


# What there is to compare


def test_every_change_of_status_is_told_and_only_a_loss_is_a_regression() -> None:
    fine: Processes = [[0.001] * 40] * 3
    base = run("base", {"fails": fine, "stays": fine}, crashed("mended"), crashed("other"), crashed("again"))
    new = run(
        "new", {"mended": fine, "stays": fine}, crashed("fails"), crashed("other", Reason.TIMEOUT), crashed("again")
    )
    found = comparison.compare(base, [new], 0.05)
    (one,) = found.against
    assert {(a.id, a.status, b.reason) for a, b in one.changed} == {
        ("fails", Status.OK, Reason.RAISED),
        ("mended", Status.CRASHED, None),
        ("other", Status.CRASHED, Reason.TIMEOUT),
    }
    assert (one.no_longer_ok, one.unproved, found.regressed) == (1, 1, True)
    assert (
        comparison.compare(new, [base], 0.05).against[0].no_longer_ok == 1
    )  # what was mended is lost the other way round
    assert not comparison.compare(base, [base], 0.05).regressed


def test_a_cell_that_is_planned_and_has_no_row_is_lost_and_one_that_was_not_asked_is_not() -> None:
    base = run("base", {"a": [[0.001] * 40], "b": [[0.001] * 40]})
    new = run("new", {"a": [[0.001] * 40]})
    assert [row.id for row in against(base, new).vanished] == ["b"]
    assert not comparison.compare(base, [new], 0.05).regressed
    unfinished = ComparedRun(name="new", rows=new.rows, timings=new.timings, planned=frozenset("ab"))
    assert [row.id for row in against(base, unfinished).missing] == ["b"]
    assert comparison.compare(base, [unfinished], 0.05).regressed


def test_a_name_under_another_id_was_asked_differently() -> None:
    cells: dict[str, Processes] = {"kept": [[0.001] * 40]}
    before, now = crashed("x-1", conversion="X"), crashed("x-2", conversion="X")
    measure = {"processes": 3, "drift": 0.05}
    base = run("base", cells, before, crashed("gone"), questions={"x-1": {"seed": 0, "measure": measure}})
    new = run("new", cells, now, crashed("come"), questions={"x-2": {"seed": 0, "measure": measure | {"processes": 1}}})
    found = against(base, new)
    assert [(one.base, one.new, one.differs) for one in found.renamed] == [
        ((before,), (now,), ("measure.processes 3 → 1",))
    ]
    assert [row.id for row in found.vanished] == ["gone"]
    assert [row.id for row in found.appeared] == ["come"]


def test_unlike_hardware_is_counted_by_fingerprint_or_where_there_is_none_by_its_text() -> None:
    samples = [0.001] * 40
    base = {
        row.id: row for row in (ok("a", samples), ok("b", samples), ok("c", samples, fingerprint=None), crashed("d"))
    }
    other = {"hardware": "Other CPU x8, 8 GiB", "fingerprint": "bbbb"}
    new = {
        row.id: row
        for row in (ok("a", samples, **other), ok("b", samples), ok("c", samples, **other), ok("d", samples))
    }
    found = matching.unlike_hardware(ComparedRun(name="base", rows=base), ComparedRun(name="new", rows=new))
    assert found == {
        ("CPU x2, 8 GiB [aaaa]", "Other CPU x8, 8 GiB [bbbb]"): 1,
        ("CPU x2, 8 GiB", "Other CPU x8, 8 GiB [bbbb]"): 1,
    }


def test_versions_that_changed_are_named() -> None:
    samples = [0.001] * 40
    base = ComparedRun(name="base", rows={"a": ok("a", samples)}, versions={"torch": "unused", "onnx": "1.23.2"})
    new = ComparedRun(name="new", rows={"a": ok("a", samples, versions={"torch": "2.14.0"})})
    assert against(base, new).versions == ("onnx 1.23.2 → absent", "torch 2.13.0 → 2.14.0")


# How it is told


@pytest.fixture
def found() -> comparison.Comparison:
    fine: Processes = [[0.001 + 1e-7 * n for n in range(40)]] * 3
    base = run("<base>", {"a": fine, "b": fine, "c": fine})
    new = run("[new]|", {"a": times(1.2, fine), "b": fine}, crashed("c", model="m<script>|*x*"))
    return comparison.compare(base, [new], 0.05)


def test_the_gravest_comes_first_and_what_does_not_differ_only_if_asked_for(found: comparison.Comparison) -> None:
    (one,) = found.against
    assert [section.title for section in words.sections(one, every=False)] == ["Status changed", "Slower"]
    assert [section.title for section in words.sections(one, every=True)][-1] == "No difference"
    assert words.summary(one) == "1 changed status; 1 slower, 0 faster, 1 no difference"


def test_markdown_begins_with_the_summary_and_folds_the_rest(found: comparison.Comparison) -> None:
    text = "".join(words.as_markdown(found, every=False))
    first, rest = text.split("\n", 1)
    assert first.startswith("**1 changed status; 1 slower")
    assert "&lt;base&gt;" in first
    assert r"\[new\]\|" in first
    assert rest.count("<details") == rest.count("</details>") == 3
    assert "<base>" not in text


def test_on_a_terminal_a_cell_keeps_to_a_line_and_its_message_stands_below(found: comparison.Comparison) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=90, record=True)
    words.show(found, console, every=False)
    lines = console.export_text().splitlines()
    assert sum("1.200" in line and "1.000" in line for line in lines) == 1
    assert " C: so it was" in [line.rstrip() for line in lines]


def test_names_cannot_become_markup_on_the_page(found: comparison.Comparison) -> None:
    page = "".join(words.as_html(found, every=True))
    assert "<base>" not in page
    assert "&lt;base&gt;" in page
    assert "http" not in page  # it needs nothing besides itself


def test_json_has_every_figure(found: comparison.Comparison) -> None:
    said = json.loads("".join(as_json.as_json(found)))
    assert said["regressed"] is True
    assert said["tests"] == {"process": 2}
    (one,) = said["against"]
    slower, same = one["timed"]
    assert (slower["id"], slower["verdict"], same["verdict"]) == ("a", "slower", "no difference")
    assert slower["low"] <= slower["ratio"] <= slower["high"]
    assert slower["ratio"] == pytest.approx(1.2)
    assert statistics.median(slower[name] for name in ("base_p50_ms", "new_p50_ms")) == pytest.approx(1.102, abs=1e-3)
    assert [(row["id"], row["base"], row["new"]) for row in one["changed"]] == [("c", "ok", "crashed/raised")]


@pytest.mark.parametrize(("said", "is_"), [("5%", 0.05), ("0.05", 0.05), ("0", 0), ("12.5%", 0.125)])
def test_a_threshold_is_a_share(said: str, is_: float) -> None:
    assert compare.share(said) == pytest.approx(is_)


@pytest.mark.parametrize("said", ["5", "-1%", "nan", "five", "", "%", "100%"])
def test_what_is_no_share_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="say 5% or"):
        compare.share(said)
