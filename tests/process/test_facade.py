"""Models that take more than one tensor, behind a facade that takes one value: called, traced, scripted, exported."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tests.process import several

from sweep import isolate
from sweep.cell import Cell, Model, Tolerance
from sweep.child import data
from sweep.child.benchmark import Baseline
from sweep.child.facade import Facade
from sweep.child.measure import Timer
from sweep.inputs import TensorSpec
from sweep.request.compose import conf_dir
from sweep.result import Result
from sweep.status import Reason, Status

CPU = torch.device("cpu")


MakeCell = Callable[..., Cell]


def baseline_of(make_cell: MakeCell, config: dict[str, Any]) -> Baseline:
    cell = make_cell(model=Model(name="m", config=config))
    return Baseline(cell, CPU, Timer(CPU))


def test_a_model_of_one_tensor_is_taken_as_it_is(make_cell: MakeCell) -> None:
    baseline = baseline_of(
        make_cell, {"_target_": "torch.nn.Linear", "in_features": 8, "out_features": 4, "input": {"shape": [8]}}
    )
    assert isinstance(baseline.model, torch.nn.Linear)
    assert isinstance(baseline.example, torch.Tensor)


def test_a_model_is_called_as_its_author_meant_it(make_cell: MakeCell) -> None:
    baseline = baseline_of(make_cell, several.MASKED)
    assert isinstance(baseline.model, Facade)
    ids, mask = data.tensors(baseline.example)
    assert ids.shape == mask.shape == (2, 6)
    answer, expected = baseline.forward((ids, mask)), baseline.model.model(ids=ids, mask=mask, scale=2.0)
    assert answer.keys() == expected.keys()
    assert torch.equal(answer["logits"], expected["logits"])


def test_a_size_is_an_argument_too_where_the_target_has_it(make_cell: MakeCell) -> None:
    baseline = baseline_of(make_cell, several.GRAPH)
    assert data.tensors(baseline.example)[0].shape == (9, 6)


def test_hooks_of_the_model_run_in_every_conversion(make_cell: MakeCell) -> None:
    baseline = baseline_of(make_cell, several.MASKED)
    called = []
    assert isinstance(baseline.model, Facade)
    baseline.model.model.register_forward_hook(lambda *_: called.append(1))
    baseline.forward(baseline.example)
    assert called


@pytest.mark.parametrize(
    ("output", "form"),
    [("logits", torch.Tensor), (["logits"], torch.Tensor), (["hidden", "logits"], tuple), (None, dict)],
)
def test_parts_of_the_output_are_taken(make_cell: MakeCell, output: Any, form: type) -> None:
    baseline = baseline_of(make_cell, {**several.MASKED, "output": output})
    assert isinstance(baseline.forward(baseline.example), form)


def test_a_part_is_an_attribute_where_it_is_no_key(make_cell: MakeCell) -> None:
    baseline = baseline_of(make_cell, several.CACHING)
    assert isinstance(baseline.forward(baseline.example), torch.Tensor)


def test_odd_names_and_constants_are_passed_on(make_cell: MakeCell) -> None:
    inputs = {"x": {"shape": [2]}, "class": float("inf"), "a-b": ["it's", None, {"k": (True)}]}
    baseline = baseline_of(make_cell, {"_target_": f"{several.HERE}.Keeping", "inputs": inputs})
    baseline.forward(baseline.example)
    assert isinstance(baseline.model, Facade)
    kept: Any = baseline.model.model.kept
    assert kept["class"] == float("inf")
    assert kept["a-b"] == ["it's", None, {"k": True}]


def test_a_function_of_the_model_may_say_what_it_takes(make_cell: MakeCell) -> None:
    config = {
        "_target_": f"{several.HERE}.Masked",
        "width": 4,
        "inputs": {"_target_": f"{several.HERE}.inputs_of", "seq": 3},
        "seq": 3,
    }
    baseline = baseline_of(make_cell, config)
    assert data.tensors(baseline.example)[0].shape == (2, 3)


def test_fills_are_what_they_are_called() -> None:
    generator = torch.Generator().manual_seed(0)

    def made(fill: str, dtype: str = "float32", **more: Any) -> torch.Tensor:
        return data.filled(TensorSpec(shape=(4, 50), dtype=dtype, fill=fill, **more), generator)

    assert abs(float(made("normal").mean())) < 0.2 < float(made("normal").std())
    assert 2 <= float(made("uniform", low=2, high=3).min()) <= float(made("uniform", low=2, high=3).max()) < 3
    assert set(made("integers", "int32", low=5, high=7).flatten().tolist()) == {5, 6}
    assert made("integers", "bool", low=0, high=2).dtype == torch.bool
    assert made("zeros").eq(0).all()
    assert made("ones", "int64").eq(1).all()
    assert made("arange", "int64")[3].tolist() == list(range(50))
    assert made("normal", "complex64").imag.std() > 0.2
    for row in made("mask", "int64"):
        length = int(row.sum())
        assert length >= 1
        assert row.tolist() == [1] * length + [0] * (50 - length)


TOLERANCE = {
    str(name): Tolerance(**node) for name, node in OmegaConf.load(conf_dir() / "tolerance" / "default.yaml").items()
}
MODES = (
    *("EAGER", "EXPORT+EAGER", "JIT_TRACE", "TORCH_SCRIPT", "ONNX_CPU", "ONNX+DYNAMO_EXPORT", "FP16+EAGER"),
    "BF16+EAGER",
)
QUANTIZED = ("OPTIMUM_QUANTO_WI8", "OPTIMUM_QUANTO_AI8WI8", "EXPORT+AI8WI8_FLOAT_QUANTIZED")
BY_TORCH = {
    ("masked", "JIT_TRACE"): "dict",
    ("images", "JIT_TRACE"): "dict",
    ("caching", "TORCH_SCRIPT"): "",
}
"""What torch itself does not convert: a trace whose output is a mapping, a script that makes an object of ours."""


def row_of(make_cell: MakeCell, supervisor: isolate.Supervisor, name: str, conversion: str) -> Result:
    """The row of a cell of one of these models, in processes of its own."""
    model = Model(name=name, config=several.CONFIGS[name])
    return isolate.run(make_cell(model=model, conversion=conversion, tolerance=TOLERANCE), supervisor).result


@pytest.mark.parametrize("conversion", MODES)
@pytest.mark.parametrize("name", list(several.CONFIGS))
def test_every_kind_of_input_goes_through_every_kind_of_mode(
    make_cell: MakeCell, supervisor: isolate.Supervisor, name: str, conversion: str
) -> None:
    row = row_of(make_cell, supervisor, name, conversion)
    if (said := BY_TORCH.get((name, conversion))) is not None:
        assert row.reason is Reason.RAISED
        assert said in row.message
        return
    assert row.engine, row.message
    assert (row.status, row.engine.actual) == (Status.OK, row.engine.requested), row.message


@pytest.mark.parametrize("conversion", QUANTIZED)
@pytest.mark.parametrize("name", list(several.CONFIGS))
def test_quantised_modes_take_every_kind_of_input(
    make_cell: MakeCell, supervisor: isolate.Supervisor, name: str, conversion: str
) -> None:
    """These models are too small for the verdict to be ok; that they are measured and compared is enough."""
    row = row_of(make_cell, supervisor, name, conversion)
    assert row.status in {Status.OK, Status.MISMATCH, Status.UNPROVED}, row.message
    assert row.fidelity
    assert row.speedup
