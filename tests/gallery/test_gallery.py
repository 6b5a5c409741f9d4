"""Conversions that lie are found out, through the real path; honest ones that look odd stay ok."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from sweep import isolate
from sweep.cell import Cell, Model, Tolerance
from sweep.result import Result

HERE = str(Path(__file__).parent)
SHIPPED: Any = OmegaConf.load(Path(__file__).parents[2] / "conf" / "tolerance" / "default.yaml")
TOLERANCE = {str(name): Tolerance(**figures) for name, figures in SHIPPED.items()}


WRONG_WEIGHTS = ("shuffles_its_weights", "zeroes_a_layer", "answers_at_random")
EVERY_CLASS = ("BF16+EAGER", "OPTIMUM_QUANTO_WI8", "OPTIMUM_QUANTO_Wf8E4M3N", "OPTIMUM_QUANTO_WI4")


@pytest.fixture(scope="module")
def supervisor() -> Iterator[isolate.Supervisor]:
    with closing(isolate.Supervisor()) as supervisor:
        yield supervisor


@pytest.fixture
def row_of(
    make_cell: Callable[..., Cell], supervisor: isolate.Supervisor, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], Result]:
    """Runs a conversion of which alma's dispatcher tells a lie."""

    def run(lie: str, conversion: str) -> Result:
        monkeypatch.setenv("LC_SWEEP_LIES", "yes")
        model = Model(name="square", config={"_target_": "lies.square", "lie": lie, "input": {"shape": [64]}})
        values: dict[str, Any] = {"model": model, "python_path": (HERE,), "tolerance": TOLERANCE, "batch_size": 4}
        return isolate.run(make_cell(conversion=conversion, **values), supervisor=supervisor).result

    return run


@pytest.mark.parametrize(
    ("lie", "conversion", "reason", "message"),
    [
        ("returns_its_input", "EAGER", "engine", "ran nothing"),
        ("returns_its_input", "OPTIMUM_QUANTO_WI4", "engine", "asked for quanto"),
        ("returns_zeros", "EAGER", "output", "same output for inputs"),
        ("first_answer_for_ever", "EAGER", "engine", "ran nothing"),
        ("right_for_its_own_input_only", "EAGER", "output", "0.01 against eager"),
        ("silently_eager", "COMPILE_INDUCTOR_DEFAULT", "engine", "asked for inductor, ran eager"),
        ("silently_eager", "EXPORT+AOT_INDUCTOR", "engine", "asked for aot-inductor, ran eager"),
        ("silently_eager", "EXPORT+EAGER", "engine", "asked for export, ran eager"),
        ("silently_eager", "ONNX_CPU", "engine", "asked for onnxruntime, ran eager"),
        ("silently_eager", "JIT_TRACE", "engine", "asked for torchscript, ran eager"),
        ("silently_eager", "COMPILE_OPENVINO", "engine", "asked for openvino, ran eager"),
        ("silently_eager", "OPTIMUM_QUANTO_WI8", "engine", "asked for quanto, ran eager"),
        ("silently_eager", "EXPORT+AI8WI8_STATIC_QUANTIZED", "engine", "asked for pt2e-quantized, ran eager"),
        ("silently_eager", "NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED", "engine", "asked for fx-quantized, ran eager"),
        ("converts_and_runs_eager", "ONNX_CPU", "engine", "asked for onnxruntime, ran eager"),
        ("converts_and_runs_eager", "OPTIMUM_QUANTO_WI8", "engine", "asked for quanto, ran eager"),
        ("converts_and_runs_eager", "COMPILE_OPENVINO", "engine", "asked for openvino, ran eager"),
        ("computes_in_bf16", "EAGER", "engine", "computes in bf16, its label says fp32"),
        ("computes_in_fp32", "FP16+EAGER", "engine", "computes in fp32, its label says fp16"),
        ("runs_elsewhere", "EAGER", "device", "ran on cpu+meta"),
        ("nan_on_some_inputs", "EAGER", "output", "not finite"),
        ("wrong_in_one_row", "EAGER", "output", "0.001 against eager"),
        ("drops_the_batch", "EAGER", "output", "shape [64], eager's is [4, 64]"),
        ("permutes_the_classes", "EAGER", "output", "against eager"),
        ("changes_its_input", "EAGER", "output", "changes its input"),
        ("wrong_after_100_calls", "EAGER", "output", "0.01 against eager"),
        ("scaled_by_two_percent", "EAGER", "output", "0.02 against eager"),
        ("scaled_by_two_percent", "FP16+EAGER", "output", "0.02 against eager"),
        ("scaled_by_two_percent", "BF16+EAGER", "output", "against eager"),
        ("wrong_in_one_class", "EAGER", "output", "against eager"),
        *((lie, mode, "output", "") for lie in WRONG_WEIGHTS for mode in EVERY_CLASS),
        ("forges_the_marks_of_engines", "JIT_TRACE", "engine", "asked for torchscript, ran eager"),
        ("forges_the_marks_of_engines", "COMPILE_INDUCTOR_DEFAULT", "engine", "asked for inductor, ran eager"),
        ("forges_the_marks_of_engines", "ONNX_CPU", "engine", "asked for onnxruntime, ran eager"),
        ("works_beside_the_engine", "ONNX_CPU", "engine", "of its work is done in onnxruntime; outside: linear"),
        ("works_beside_the_engine", "JIT_TRACE", "engine", "of its work is done in torchscript; outside: linear"),
        ("remembers_by_identity", "EAGER", "output", "remembers its answers"),
        ("is_quick_for_its_own_input", "EAGER", "output", "is faster for the input that is timed"),
        ("honest", "OPTIMUM_QUANTO_AI8WI8", "output", "class uncalibrated allows"),  # alma fits no ranges to data
        ("honest", "NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED", "output", "class uncalibrated allows"),
        ("sleeps_when_read", "EAGER", "output", "before its work is done"),
        ("lazy_handle", "EAGER", "engine", "ran nothing"),
        ("fills_its_output_later", "EAGER", "output", "same output for inputs"),
        ("remembers_its_answers", "EAGER", "engine", "ran nothing"),
        ("openvino_fails_inside", "COMPILE_OPENVINO", "engine", "asked for openvino, ran inductor"),
        ("openvino_fails_when_run", "COMPILE_OPENVINO", "engine", "asked for openvino, ran eager"),
    ],
)
def test_a_lie_is_found_out(
    row_of: Callable[[str, str], Result], lie: str, conversion: str, reason: str, message: str
) -> None:
    row = row_of(lie, conversion)
    assert (str(row.status), str(row.reason)) == ("mismatch", reason), row.message
    assert message in row.message


@pytest.mark.parametrize(
    ("odd", "conversion", "message"),
    [
        ("honest", "EAGER", ""),
        ("honest_in_another_nest", "EAGER", ""),
        ("honest_in_numpy", "EAGER", ""),
        ("honest_in_one_buffer", "EAGER", ""),
        ("honest", "EXPORT+EAGER", ""),
        ("honest", "JIT_TRACE", ""),
        ("honest", "ONNX_CPU", ""),
        ("honest", "COMPILE_OPENVINO", ""),
        ("honest", "FP16+COMPILE_OPENVINO", ""),
        ("honest", "FP16+EAGER", ""),
        ("honest", "BF16+EAGER", ""),
        ("honest", "OPTIMUM_QUANTO_WI8", ""),
        ("honest", "OPTIMUM_QUANTO_WI4", ""),
        ("honest", "OPTIMUM_QUANTO_Wf8E5M2", ""),
        ("honest", "EXPORT+AI8WI8_STATIC_QUANTIZED", ""),
        ("silently_eager", "COMPILE_INDUCTOR_EAGER_FALLBACK", "ran eager"),  # its label allows it, and the row says it
    ],
)
def test_what_is_honest_stays_ok(row_of: Callable[[str, str], Result], odd: str, conversion: str, message: str) -> None:
    row = row_of(odd, conversion)
    assert row.status == "ok", row.message
    assert message in row.message
    assert row.engine is not None
    assert row.engine.actual in row.engine.requested.split(" or ")


@pytest.mark.parametrize("conversion", ["EAGER", "COMPILE_OPENVINO"])
def test_a_busy_machine_makes_no_liar_of_an_honest_conversion(
    row_of: Callable[[str, str], Result], conversion: str
) -> None:
    neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        row = row_of("honest", conversion)
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
    assert row.status == "ok", row.message
