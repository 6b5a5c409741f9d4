import math
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sweep.cell import Cell, Device, Measure, Phase, Tolerance
from sweep.evidence import (
    Engine,
    Evidence,
    Exit,
    Failure,
    Found,
    MachineLoad,
    Memory,
    MetricCheck,
    OutputCheck,
    OutputPart,
    Sampled,
    Trial,
    View,
)
from sweep.result import Crash, MetricFigures, Result
from sweep.user_data import UserData
from sweep.verdict import figures, judge, remarks

SAMPLES = tuple(0.001 + i * 1e-6 for i in range(30))


def sampled(times: float = 1, blocks: int = 4, **changes: Any) -> Sampled:
    values: dict[str, Any] = {"blocks": (tuple(times * s for s in SAMPLES),) * blocks, "settled": True}
    return Sampled(**values | changes)


def beside(times: float = 2, **changes: Any) -> Sampled:
    """The control's: a block before and after each of the conversion's."""
    return sampled(times, blocks=5, **changes)


def compared(error: float, loss: dict[str, float] | None = None, **view: Any) -> OutputCheck:
    """A single part that is off by `error`, where honest labels lose what `loss` says, and nonsense 1."""
    whole = View(error=error, loss={"fp32": 1e-6} if loss is None else loss, **{"nonsense": 1.0} | view)
    part = OutputPart(name="output", kind="float", views={"whole": whole}, elements=8, cosine=1.0, max_abs=0.1)
    return OutputCheck(parts=(part,), inputs=8)


GOOD: dict[str, Any] = {
    "seconds": {"build": 0.1, "eager": 1.0},
    "eager": beside(),
    "converted": sampled(),
    "output": compared(1e-6),
    "engine": Engine(requested="eager", actual="eager", precision="fp32"),
    "device": "cpu",
    "threads": 1,
    "done": True,
}
ENDED: dict[str, Any] = {"code": 0, "phase": Phase.VERIFY, "seconds": 5.0}


def judged(cell: Cell, exit: dict[str, Any] | None = None, evidence: dict[str, Any] | None = None) -> Result:
    return judge.judge(cell, [trial(exit, evidence)])


def trial(exit: dict[str, Any] | None = None, evidence: dict[str, Any] | None = None) -> Trial:
    return Trial(ending=Exit(**ENDED | (exit or {})), evidence=Evidence(**GOOD | (evidence or {})))


def test_what_is_proved_is_ok(make_cell: Callable[..., Cell]) -> None:
    row = judged(make_cell())
    assert (row.status, row.reason, row.message, row.phase) == ("ok", None, "", "verify")
    assert row.quality == "firm"
    assert row.speedup is not None
    assert row.speedup.value == pytest.approx(2.0)
    assert row.throughput_per_s == pytest.approx(2 / 0.0010145, rel=1e-3)
    of_data = judged(make_cell(), evidence={"samples": 7})  # what a batch of it holds, and not the batch size
    assert of_data.throughput_per_s == pytest.approx(7 / 0.0010145, rel=1e-3)
    assert row.seconds == {
        **dict.fromkeys(("convert", "first_call", "warmup", "measure", "verify")),
        "build": 0.1,
        "eager": 1.0,
        "total": 5.0,
        "waited": 0.0,
    }


def test_converting_had_as_many_cpus_as_its_cpu_time_says(make_cell: Callable[..., Cell]) -> None:
    assert judged(make_cell()).convert_cpus is None
    assert judged(make_cell(), evidence={"seconds": {}, "convert_cpu": 3.0}).convert_cpus is None
    row = judged(make_cell(), evidence={"seconds": {"convert": 2.0}, "convert_cpu": 3.0})
    assert row.convert_cpus == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("exit", "evidence", "expected", "said"),
    [
        ({"code": -signal.SIGSEGV, "phase": Phase.EAGER}, {"done": False}, "crashed/signal", "SIGSEGV in phase eager"),
        ({"code": -signal.SIGSEGV}, {}, "crashed/signal", "SIGSEGV"),  # a signal overrides a cheerful report
        ({"code": 1}, {}, "crashed/exited", "code 1"),  # and so does an exit code
        ({"code": 7, "phase": Phase.EAGER}, {"done": False}, "crashed/exited", "code 7 in phase eager"),
        ({"code": 0, "phase": Phase.EAGER}, {"done": False}, "crashed/no-report", "without a report"),
        (
            {"code": -signal.SIGKILL, "timeout": "took more than limits.eager=1 s"},
            {"done": False},
            "crashed/timeout",
            "limits.eager=1 s",
        ),
        (
            {"code": 1, "phase": Phase.CONVERT},
            {"done": False, "failure": Failure(type="ValueError", message="first\nsecond")},
            "crashed/raised",
            "ValueError in phase convert: first",
        ),
        (
            {"code": 1, "phase": Phase.BUILD},
            {"done": False, "failure": Failure(type="ImportError", message="no")},
            "invalid/bad-model",
            "ImportError",
        ),
        (
            {"code": 1, "phase": Phase.EAGER},
            {"done": False, "failure": Failure(type="sweep.child.outputs.UnreadableOutput", message="it holds a Box")},
            "invalid/bad-model",
            "it holds a Box",
        ),
        (
            {"code": 1, "phase": Phase.EAGER},
            {"done": False, "failure": Failure(type="MemoryError", message="")},
            "crashed/memory",
            "MemoryError",
        ),
        (
            {"code": 1, "phase": Phase.BUILD},
            {
                "done": False,
                "failure": Failure(type="RuntimeError", message="[x] DefaultCPUAllocator: can't allocate memory: 1"),
            },
            "crashed/memory",
            "make batch_size smaller",
        ),
        (
            {"code": -signal.SIGKILL, "memory": "used 9 MB of memory, more than limits.memory=8 MB"},
            {"done": False},
            "crashed/memory",
            "limits.memory=8 MB, in phase verify: make batch_size smaller",
        ),
        (
            {"code": -signal.SIGKILL, "oom_killed": True},
            {},
            "crashed/memory",
            "by the kernel for want of memory",
        ),
        ({"code": -signal.SIGKILL}, {}, "crashed/signal", "ended by SIGKILL in phase verify"),
        ({"code": -signal.SIGTERM, "oom_killed": True}, {}, "crashed/signal", "ended by SIGTERM"),  # somebody else's
        ({"code": -signal.SIGTERM, "report_too_long": True}, {}, "crashed/no-report", "more than a cell has to say"),
        ({}, {"device": "cuda"}, "mismatch/device", "ran on cuda"),
        ({}, {"device": None}, "mismatch/device", "None"),
        ({}, {"converted": None}, "mismatch/output", "lacks"),
        ({}, {"output": None}, "mismatch/output", "lacks"),
        ({}, {"engine": None}, "mismatch/output", "lacks"),
        (
            {},
            {"engine": Engine(requested="openvino", actual="inductor", precision=None)},
            "mismatch/engine",
            "asked for openvino, ran inductor",
        ),
        ({}, {"output": OutputCheck(inputs=8, problem="input 3: shape")}, "mismatch/output", "input 3: shape"),
        (
            {},
            {"output": compared(2e-4)},
            "mismatch/output",
            "class fp32 allows",
        ),
        ({}, {"output": compared(float("nan"))}, "mismatch/output", "nan"),
    ],
)
def test_each_failure_of_proof_has_its_reason(
    make_cell: Callable[..., Cell], exit: dict[str, Any], evidence: dict[str, Any], expected: str, said: str
) -> None:
    row = judged(make_cell(), exit, evidence)
    assert f"{row.status}/{row.reason}" == expected
    assert said in row.message
    assert "\n" not in row.message


def test_what_computes_in_bf16_is_judged_as_bf16_and_says_so(make_cell: Callable[..., Cell]) -> None:
    engine = Engine(requested="openvino", actual="openvino", precision="bf16")
    comparison = compared(4e-3)
    row = judged(make_cell(conversion="COMPILE_OPENVINO"), None, {"engine": engine, "output": comparison})
    assert row.status == "ok"
    assert row.fidelity is not None
    assert row.fidelity.tolerance_class == "bf16"
    assert "computes in bf16, its label says fp32" in row.message


def test_a_model_made_half_precision_stays_rounded_however_exactly_it_is_computed(
    make_cell: Callable[..., Cell],
) -> None:
    engine = Engine(requested="openvino", actual="openvino", precision="fp32")
    comparison = compared(7e-4)
    tolerance = {"fp32": Tolerance(rel_l2=1e-4), "fp16": Tolerance(rel_l2=1e-2)}
    cell = make_cell(conversion="FP16+COMPILE_OPENVINO", tolerance=tolerance)
    row = judged(cell, None, {"engine": engine, "output": comparison})
    assert row.status == "ok", row.message
    assert row.fidelity is not None
    assert row.fidelity.tolerance_class == "fp16"
    assert "computes in fp32, its label says fp16" in row.message
    row = judged(make_cell(tolerance=tolerance), None, {"output": comparison})
    assert (row.status, row.reason) == ("mismatch", "output")  # a label of fp32 is not allowed that


def test_another_precision_than_the_labels_is_no_proof(make_cell: Callable[..., Cell]) -> None:
    engine = Engine(requested="eager", actual="eager", precision="bf16")
    row = judged(make_cell(), None, {"engine": engine})
    assert (row.status, row.reason) == ("mismatch", "engine")
    assert "computes in bf16, its label says fp32" in row.message


@pytest.mark.parametrize("ran", ["inductor", "eager"])
def test_a_label_that_allows_a_fall_back_says_which_ran(make_cell: Callable[..., Cell], ran: str) -> None:
    engine = Engine(requested="inductor or eager", actual=ran, precision="fp32")
    row = judged(make_cell(conversion="COMPILE_INDUCTOR_EAGER_FALLBACK"), None, {"engine": engine})
    assert (row.status, row.message) == ("ok", f"ran {ran}")


@pytest.mark.parametrize(
    ("doubt", "quality", "said"),
    [
        ({"converted": sampled(settled=False)}, "firm", "latency did not settle in warm-up"),
        ({"converted": sampled(load=MachineLoad(cpu_by_others=0.3))}, "disturbed", "disturbed: others used 30% of the"),
        ({"eager": beside(load=MachineLoad(heat_throttled=True))}, "disturbed", "disturbed: heat slowed a CPU down"),
        ({"eager": beside(1.01)}, "rough", ""),
    ],
)
def test_a_doubtful_measurement_says_so(
    make_cell: Callable[..., Cell], doubt: dict[str, Any], quality: str, said: str
) -> None:
    row = judged(make_cell(), None, doubt)
    assert (row.status, row.quality) == ("ok", quality)
    assert said in row.message


def test_a_trial_that_was_disturbed_is_left_out_where_there_is_another(make_cell: Callable[..., Cell]) -> None:
    disturbed = trial(None, {"converted": sampled(5, load=MachineLoad(cpu_by_others=0.3))})
    row = judge.judge(make_cell(), [disturbed, trial(), trial()])
    assert row.quality == "firm"
    assert row.message == "disturbed: others used 30% of the CPUs in 1 of 3 trials, left out"
    assert row.speedup is not None
    assert row.latency_ms is not None
    assert row.speedup.value == pytest.approx(2.0)
    assert (row.speedup.trials, row.latency_ms.processes) == (2, 2)
    assert [quotient.disturbed for quotient in row.speedup.quotients] == [True, False, False]


def test_what_is_disturbed_and_counts_is_not_called_left_out() -> None:
    def at(share: float, **changes: Any) -> Trial:
        return trial(None, {"converted": sampled(5, load=MachineLoad(cpu_by_others=share))} | changes)

    first, second = at(0.3), at(0.4)
    assert list(remarks.from_measurements([first], [first])) == ["disturbed: others used 30% of the CPUs"]
    assert list(remarks.from_measurements([first, second], [first])) == ["disturbed: others used 40% of the CPUs"]
    assert list(remarks.from_measurements([first, second], [trial()])) == [
        "disturbed: others used 40% of the CPUs, left out"
    ]
    mixed = [trial(), replace(trial(), by_turns=False)]
    assert list(remarks.from_measurements(mixed, mixed)) == [
        "eager was measured before it, not by turns: there is no memory for both"
    ]


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ({"cpu_by_others": 0.15, "cpu_pressure": 0.3, "quota_throttled": 0.01}, []),
        ({"cpu_by_others": 0.16, "cpu_pressure": 0.5}, ["others used 16% of the CPUs"]),
        ({"cpu_by_others": 0.02, "cpu_pressure": 0.31}, ["a process waited for a CPU 31% of the time"]),
        ({"cpu_by_others": 0.01, "cpu_pressure": 0.31}, []),
        ({"quota_throttled": 0.02}, ["its control group's CPU quota held it up 2% of the time"]),
        ({"heat_throttled": True}, ["heat slowed a CPU down"]),
        ({"gpu_processes": 2}, ["2 other processes were on its GPU"]),
        ({"gpu_throttled": True}, ["its GPU ran slower, for heat or want of power"]),
    ],
)
def test_each_disturbance_is_said(load: dict[str, Any], said: list[str]) -> None:
    assert list(figures.disturbances(MachineLoad(**{"cpu_by_others": 0.0} | load))) == said


def test_converting_pays_off_after_as_many_calls_as_save_what_it_took(make_cell: Callable[..., Cell]) -> None:
    one = judged(make_cell()).latency_ms
    assert one is not None
    two, seconds = replace(one, p50=one.p50 + 2.0), {"convert": 1.0, "first_call": 0.5, "warmup": 9.0}
    assert figures.break_even_calls(two, one, seconds) == pytest.approx(750, abs=1)
    assert figures.break_even_calls(one, two, seconds) is None
    assert figures.break_even_calls(one, one, seconds) is None


def test_a_latency_is_of_all_processes_and_as_sure_as_they_agree() -> None:
    both = figures.latency((0.001, 0.002, 0.003), (0.004, 0.005, 0.006), drift=0.05)
    assert (both.min, both.max, both.n, both.processes) == pytest.approx((1.0, 6.0, 6, 2))
    alike, unlike = (figures.latency((0.001,) * 5, (other,) * 5, drift=0.05) for other in (0.001, 0.003))
    assert unlike.p50_high / unlike.p50_low > 2 * alike.p50_high / alike.p50_low


def test_a_peak_is_the_highest_of_all_processes() -> None:
    assert figures.peak([]) is None
    assert figures.peak([Memory(rss_peak=1.0), Memory(rss_peak=3.0), Memory(rss_peak=2.0)]) == Memory(rss_peak=3.0)
    on_gpu = [Memory(rss_peak=3.0, cuda_peak=1.0), Memory(rss_peak=2.0, cuda_peak=5.0), Memory(rss_peak=1.0)]
    assert figures.peak(on_gpu) == Memory(rss_peak=3.0, cuda_peak=5.0)


def test_where_and_with_how_many_threads_it_ran_is_in_the_row(make_cell: Callable[..., Cell]) -> None:
    row = judged(make_cell(threads=2), evidence={"threads": 3, "node": "here"})
    assert (row.threads, row.attempts) == (3, ("ok on here",))
    assert row.load is not None
    failed = judged(make_cell(threads=2), {"code": -signal.SIGSEGV}, {"threads": None, "node": None})
    assert (failed.threads, failed.attempts) == (2, ("signal on an unknown node",))


@pytest.mark.parametrize(
    ("precision", "breaks", "said"),
    [("fp32", 0, ""), ("bf16", 0, "computes in bf16, its label says fp32"), ("fp32", 2, "2 graph breaks")],
)
def test_what_an_engine_chose_and_broke_is_said(
    make_cell: Callable[..., Cell], precision: str, breaks: int, said: str
) -> None:
    cell = make_cell(conversion="COMPILE_OPENVINO")
    classes = dict.fromkeys(("fp32", "bf16"), Tolerance(rel_l2=0.1))
    ran = Engine(requested="openvino", actual="openvino", precision=precision, evidence={"graph_breaks": breaks})
    assert judged(replace(cell, tolerance=classes), None, {"engine": ran}).message == said


def test_eager_measured_before_and_not_by_turns_is_said(make_cell: Callable[..., Cell]) -> None:
    row = judge.judge(make_cell(), [replace(trial(None, {"eager": sampled(3, blocks=7)}), by_turns=False)])
    assert row.message == "eager was measured before it, not by turns: there is no memory for both"
    assert row.speedup is not None
    assert row.speedup.value == pytest.approx(3.0)


def test_a_class_that_is_not_in_the_table_is_never_ok(make_cell: Callable[..., Cell]) -> None:
    quanto = Engine(requested="quanto", actual=None, precision=None)
    row = judged(make_cell(conversion="OPTIMUM_QUANTO_WI2"), None, {"engine": quanto})
    assert (row.status, row.reason) == ("mismatch", "output")
    assert "tolerance.int2" in row.message


def test_an_engine_nobody_attests_leaves_the_label_unproved(make_cell: Callable[..., Cell]) -> None:
    row = judged(make_cell(), None, {"engine": Engine(requested="own", actual=None, precision=None)})
    assert (row.status, row.reason) == ("unproved", "engine")
    assert "nothing can attest the engine 'own'" in row.message
    assert row.speedup is not None


@pytest.mark.parametrize(
    ("share", "verdict", "said"),
    [
        (None, "ok", ""),
        (1.0, "ok", ""),
        (0.95, "ok", ""),
        (0.7, "ok", "70% of its work is done in inductor; outside: linear, addmm"),
        (0.5, "ok", "50% of"),
        (0.49, "mismatch/engine", "49% of its work is done in inductor; outside: linear, addmm"),
        (0.002, "mismatch/engine", "0.2% of its work"),
    ],
)
def test_how_much_of_the_work_the_engine_did_is_said_and_counts(
    make_cell: Callable[..., Cell], share: float | None, verdict: str, said: str
) -> None:
    engine = Engine(requested="inductor", actual="inductor", precision="fp32", share=share, outside=("linear", "addmm"))
    row = judged(make_cell(conversion="COMPILE_INDUCTOR_DEFAULT"), None, {"engine": engine})
    assert (f"{row.status}/{row.reason}" if row.reason else row.status) == verdict
    assert said in row.message


def test_a_share_of_weights_is_said_as_one(make_cell: Callable[..., Cell]) -> None:
    engine = Engine(requested="quanto", actual="quanto", precision="int8", share=0.7, evidence={"share_of": "weights"})
    row = judged(make_cell(conversion="OPTIMUM_QUANTO_WI8"), None, {"engine": engine})
    assert row.message.endswith("70% of its weights are converted")


@pytest.mark.parametrize(
    ("label", "seen"), [("EXPORT+AI8WI8_STATIC_QUANTIZED", "int8"), ("OPTIMUM_QUANTO_AI8WI4", "int4")]
)
def test_a_class_of_labels_is_seen_as_its_format(make_cell: Callable[..., Cell], label: str, seen: str) -> None:
    engine = Engine(requested="x", actual="x", precision=seen)
    cell = make_cell(conversion=label)
    classes = dict.fromkeys(("int8_static", "uncalibrated"), Tolerance(rel_l2=0.1))
    row = judged(replace(cell, tolerance=classes), None, {"engine": engine})
    assert row.status == "ok", row.message


def test_what_is_odd_about_the_model_is_said(make_cell: Callable[..., Cell]) -> None:
    hooks = Found(kind="hooks", text="has hooks of its own")
    row = judged(make_cell(), None, {"found": (hooks,)})
    assert (row.status, row.message, row.found) == ("ok", "the model has hooks of its own", (hooks,))


def test_a_crash_keeps_what_was_measured_before_it(make_cell: Callable[..., Cell]) -> None:
    row = judged(make_cell(), {"code": -6}, {"output": None, "engine": None, "done": False})
    assert row.eager is not None
    assert row.eager.p50_ms == pytest.approx(2.029)
    assert row.latency_ms is not None
    row = judged(make_cell(), {"code": -6, "phase": Phase.CONVERT}, {"eager": None, "converted": None, "done": False})
    assert (row.eager, row.latency_ms, row.speedup, row.quality) == (None, None, None, None)


def test_control_codes_and_line_breaks_of_a_model_do_not_reach_the_message(make_cell: Callable[..., Cell]) -> None:
    failure = Failure(type="ValueError", message="\n \x1b[31mred\x07\u202e\nmore")
    row = judged(make_cell(), {"code": 1, "phase": Phase.EAGER}, {"done": False, "failure": failure})
    assert row.message == "ValueError in phase eager: red: the log has the traceback"


def test_the_figures_are_of_all_trials(make_cell: Callable[..., Cell]) -> None:
    """The speed-up is the geometric mean of the trials' own quotients, 2, 4 and 8; latencies are medians of theirs."""
    first = {"eager": beside(2), "converted": sampled(), "memory": Memory(rss_peak=3.0)}
    second = {"eager": beside(8), "converted": sampled(2)}
    third = {"eager": beside(32), "converted": sampled(4), "memory": Memory(rss_peak=9.0)}
    row = judge.judge(make_cell(), [trial(None, first), trial(None, second), trial(None, third)])
    assert row.status == "ok"
    assert row.speedup is not None
    assert row.latency_ms is not None
    assert row.eager is not None
    assert row.speedup.value == pytest.approx(4.0)
    assert [quotient.value for quotient in row.speedup.quotients] == [pytest.approx(q) for q in (2, 4, 8)]
    assert (row.latency_ms.n, row.latency_ms.processes, row.eager.n) == (360, 3, 450)
    assert row.latency_ms.p50 == pytest.approx(1.0145 * 2)
    assert row.latency_ms.p50_low * row.latency_ms.p50_high == pytest.approx(row.latency_ms.p50**2)
    assert row.seconds["total"] == 15.0
    assert row.memory_mb == Memory(rss_peak=9.0)


def test_the_interval_of_a_latency_knows_how_the_machine_drifts(make_cell: Callable[..., Cell]) -> None:
    """One trial with a drift of 10 %: 2.571, Student's t with 5 degrees, times a standard deviation of 5 %."""
    row = judged(make_cell(measure=Measure(drift=0.1)))
    assert row.latency_ms is not None
    assert row.latency_ms.p50_high / row.latency_ms.p50 == pytest.approx(math.exp(2.571 * 0.05), rel=1e-4)


def test_what_one_of_several_processes_does_decides(make_cell: Callable[..., Cell]) -> None:
    crashed = trial({"code": -11, "phase": Phase.MEASURE}, {"converted": None, "done": False})
    row = judge.judge(make_cell(), [trial(), crashed])
    assert (row.status, row.reason, row.phase) == ("crashed", "signal", "measure")
    assert row.message.startswith("trial 2: ended by SIGSEGV")
    assert row.latency_ms is not None
    assert row.latency_ms.processes == 1


LOG = """noise \x1b[31m
Fatal Python error: Segmentation fault

Thread 0x00007f1 (most recent call first):
  File "/x/threading.py", line 1 in wait

Current thread 0x00007f2 (most recent call first):
  File "/my/model.py", line 12 in forward
  File "/x/module.py", line 3 in __call__

Extension modules: numpy
"""


def test_a_crash_row_has_the_stack_that_faulthandler_printed(make_cell: Callable[..., Cell]) -> None:
    died = Exit(code=-signal.SIGSEGV, phase=Phase.EAGER, seconds=1.0)
    row = judge.judge(make_cell(), [Trial(ending=died, evidence=Evidence(), log=LOG)])
    assert row.crash == Crash(
        signal="SIGSEGV",
        exception=None,
        stack=("/x/module.py:3 in __call__", "/my/model.py:12 in forward"),
        last_lines=tuple(line.replace("\x1b[31m", "").strip() for line in LOG.splitlines() if line),
    )


def test_another_traceback_in_the_log_is_no_stack_of_a_crash(make_cell: Callable[..., Cell]) -> None:
    died = Exit(code=-70, phase=Phase.EAGER, seconds=1.0)
    log = 'Traceback (most recent call last):\n  File "/my/model.py", line 12 in forward\n'
    row = judge.judge(make_cell(), [Trial(ending=died, evidence=Evidence(), log=log)])
    assert row.crash is not None
    assert (row.crash.signal, row.crash.stack) == ("signal 70", ())


def test_an_exception_brings_its_own_stack(make_cell: Callable[..., Cell]) -> None:
    failure = Failure(type="ValueError", message="no", stack=("a.py:1 in f", "b.py:2 in g"))
    died = Exit(code=1, phase=Phase.EAGER, seconds=1.0)
    row = judge.judge(make_cell(), [Trial(ending=died, evidence=Evidence(failure=failure), log="Traceback …")])
    assert row.crash == Crash(signal=None, exception="ValueError", stack=failure.stack, last_lines=("Traceback …",))


def test_only_a_crash_has_one(make_cell: Callable[..., Cell]) -> None:
    assert judged(make_cell()).crash is None
    assert judged(make_cell(), None, {"device": "cuda"}).crash is None


QUANTO = Engine(requested="quanto", actual="quanto", precision="int8")


def with_metric(
    make_cell: Callable[..., Cell],
    converted: float,
    nonsense: float | None = 0.1,
    output: OutputCheck | None = None,
    **of: Any,
) -> Result:
    """A row of a conversion whose metric is this, beside 0.9 of eager; `of` are options of data, or its conversion."""
    conversion = of.pop("conversion", "OPTIMUM_QUANTO_WI8")
    options: dict[str, Any] = {"metric": "a.accuracy", "allowed_drop": 0.02} | of
    cell = make_cell(
        conversion=conversion,
        data=UserData(name="mine", arguments={"_target_": "a.batches"}, **options),
        tolerance={"int8": Tolerance(rel_l2=0.01), "fp32": Tolerance()},
    )
    evidence: dict[str, Any] = {
        "engine": QUANTO if conversion != "EAGER" else GOOD["engine"],
        "output": output or compared(1e-3, {"fp32": 1e-6, "int8": 2e-3}),
        "metric": MetricCheck(eager=0.9, converted=converted, nonsense=nonsense, samples=500),
    }
    return judged(cell, None, evidence)


def test_a_metric_is_in_the_row_and_said(make_cell: Callable[..., Cell]) -> None:
    row = with_metric(make_cell, 0.89)
    assert (row.status, row.message) == ("ok", "accuracy 0.89, eager 0.9")
    assert row.metric is not None
    assert row.metric.drop == pytest.approx(0.01)
    assert replace(row.metric, drop=0) == MetricFigures(
        name="accuracy", value=0.89, eager=0.9, drop=0, allowed_drop=0.02, samples=500
    )


@pytest.mark.parametrize(
    ("converted", "higher", "verdict"),
    [(0.87, True, "mismatch"), (0.93, True, "ok"), (0.93, False, "mismatch"), (0.87, False, "ok")],
)
def test_what_loses_more_than_is_allowed_is_a_mismatch_by_the_users_own_measure(
    make_cell: Callable[..., Cell], converted: float, higher: bool, verdict: str
) -> None:
    row = with_metric(make_cell, converted, 0.1 if higher else 2.0, higher_is_better=higher)
    assert row.status == verdict
    if verdict == "mismatch":
        assert row.message.startswith(f"accuracy {converted}, eager 0.9: 0.03 is lost, 0.02 is allowed: do not ship it")
    assert with_metric(make_cell, converted, higher_is_better=higher, allowed_drop=None).status == "ok"


FAR_OFF = compared(0.1, {"fp32": 1e-6, "int8": 2e-3})
LIKE_NONSENSE = compared(0.1, {"fp32": 1e-6, "int8": 2e-2}, nonsense=0.02)


@pytest.mark.parametrize(("output", "without"), [(FAR_OFF, "mismatch"), (LIKE_NONSENSE, "unproved")])
def test_a_metric_proves_narrow_numbers_that_outputs_do_not(
    make_cell: Callable[..., Cell], output: OutputCheck, without: str
) -> None:
    proved = with_metric(make_cell, 0.89, output=output)
    assert (proved.status, proved.message) == (
        "ok",
        "accuracy 0.89, eager 0.9; proved by its metric, not by its outputs",
    )
    assert with_metric(make_cell, 0.8, output=output).status == "mismatch"
    for blind in (
        with_metric(make_cell, 0.89, 0.89, output=output),
        with_metric(make_cell, 0.89, None, output=output),
        with_metric(make_cell, 0.89, output=output, allowed_drop=None),
    ):
        assert blind.status == without
        assert "proved by its metric" not in blind.message
    assert "the metric cannot tell: answers that are none have 0.89" in with_metric(make_cell, 0.89, 0.89).message


def test_outputs_that_have_no_metric_are_a_mismatch_and_not_bad_data(make_cell: Callable[..., Cell]) -> None:
    failed = MetricCheck(eager=0.9, converted=None, nonsense=None, samples=500, failure="its metric gives nan")
    data = UserData(name="mine", arguments={"_target_": "a.b"}, metric="a.accuracy")
    row = judged(make_cell(data=data), None, {"metric": failed})
    assert (row.status, row.reason, row.metric) == ("mismatch", "output", None)
    assert row.message == "its outputs have no metric: its metric gives nan"
    shape = replace(GOOD["output"], problem="input 1: shape [1, 5], eager's is [4, 5]")
    assert judged(make_cell(data=data), None, {"metric": failed, "output": shape}).message == shape.problem


def test_a_metric_excuses_no_label_that_leaves_no_choice(make_cell: Callable[..., Cell]) -> None:
    row = with_metric(make_cell, 0.9, output=FAR_OFF, conversion="EAGER")
    assert (row.status, row.reason) == ("mismatch", "output")
    assert row.message.startswith("relative L2 error")


def test_data_that_cannot_be_used_makes_a_row_of_its_own_kind(make_cell: Callable[..., Cell]) -> None:
    failure = Failure(type="sweep.child.batches.BadData", message="it yields no batch")
    for phase in (Phase.BUILD, Phase.EAGER, Phase.FIRST_CALL):
        row = judged(make_cell(), {"code": 1, "phase": phase}, {"failure": failure, "done": False})
        assert (row.status, row.reason) == ("invalid", "bad-data")
        assert row.message == "its data cannot be used: it yields no batch"


def on_gpu(**ran: Any) -> dict[str, Any]:
    """The evidence of an eager model on CUDA."""
    values: dict[str, Any] = {"requested": "eager", "actual": "eager", "precision": "fp32"}
    return {"device": "cuda", "engine": Engine(**values | ran)}


@pytest.mark.parametrize(
    ("ran", "verdict", "said"),
    [
        ({"evidence": {"kernels": 60}}, "ok", ""),
        ({"actual": "eager on the CPU"}, "mismatch/engine", "asked for eager, ran eager on the CPU"),
        (
            {"actual": None, "evidence": {"device_seen_by": "nothing"}},
            "unproved/engine",
            "sees nothing of its device here",
        ),
        ({"evidence": {"device_seen_by": "outputs"}}, "ok", "known by where outputs and weights are"),
        ({"precision": "tf32"}, "mismatch/engine", "computes in tf32, its label says fp32"),
        ({"precision": "tf32", "evidence": {"model": "tf32"}}, "ok", ""),
        ({"precision": "fp32", "evidence": {"model": "tf32"}}, "ok", ""),
        ({"precision": "fp16", "evidence": {"model": "tf32"}}, "mismatch/engine", "its label says tf32"),
    ],
)
def test_what_ran_on_a_gpu_is_judged_by_what_was_seen_there(
    make_cell: Callable[..., Cell], ran: dict[str, Any], verdict: str, said: str
) -> None:
    tolerance = {name: Tolerance(rel_l2=1e-4) for name in ("fp32", "tf32")}
    cell = make_cell(device=Device(name="cuda", kind="cuda", gpus=1), tolerance=tolerance)
    row = judged(cell, None, on_gpu(**ran))
    assert "/".join(filter(None, (row.status, row.reason))) == verdict
    assert said in row.message


def test_a_model_that_computes_in_tf32_is_judged_by_its_class(make_cell: Callable[..., Cell]) -> None:
    """Off by a thousandth, where TF32 itself loses half of that on the model, and fp32 a thousandth of it."""
    tolerance = {"fp32": Tolerance(rel_l2=2e-5, multiple=4), "tf32": Tolerance(rel_l2=1e-3, multiple=4)}
    cell = make_cell(device=Device(name="cuda", kind="cuda", gpus=1), tolerance=tolerance)
    own = on_gpu(precision="tf32", evidence={"model": "tf32"})
    assert judged(cell, None, own | {"output": compared(1e-3, {"fp32": 5e-4})}).status == "ok"
    assert judged(cell, None, own | {"output": compared(1e-2, {"fp32": 5e-4})}).status == "mismatch"
    assert judged(cell, None, on_gpu() | {"output": compared(1e-3, {"fp32": 5e-7})}).status == "mismatch"
