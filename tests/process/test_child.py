"""What runs in a cell's process, called here directly: building, comparing, mending."""

import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
import torch

from sweep.child import attest, compat, convert, survey

CPU = torch.device("cpu")


def outputs(*values: torch.Tensor) -> list[list[torch.Tensor]]:
    return [attest.tensors(value) for value in values]


@pytest.fixture
def reference() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 5, generator=generator) for _ in range(3)]


def test_figures_are_those_of_another_library(reference: list[torch.Tensor]) -> None:
    noisy = [r + 0.01 * torch.roll(r, 1) for r in reference]
    found = attest.compare(outputs(*reference), outputs(*noisy))
    pairs = [
        (r.numpy().astype("f8").ravel(), y.numpy().astype("f8").ravel()) for r, y in zip(reference, noisy, strict=True)
    ]
    norm = numpy.linalg.norm
    assert found.rel_l2 == pytest.approx(max(norm(y - r) / norm(r) for r, y in pairs))
    assert found.cosine == pytest.approx(min(r @ y / norm(r) / norm(y) for r, y in pairs))
    assert found.max_abs == pytest.approx(max(abs(y - r).max() for r, y in pairs))
    assert found.top1_agreement == 1.0
    assert (found.inputs, found.problem) == (3, None)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (lambda r: torch.full_like(r, float("nan")), "not finite"),
        (lambda r: r[:1], "shape [1, 5], eager's is [2, 5]"),
        (lambda r: [r, r], "2 tensors, eager gives 1"),
        (torch.zeros_like, "same output for inputs"),
    ],
)
def test_no_tolerance_excuses_a_wrong_form(reference: list[torch.Tensor], lie: Any, said: str) -> None:
    lied = [attest.tensors(lie(r)) for r in reference]
    problem = attest.compare(outputs(*reference), lied).problem
    assert problem is not None
    assert said in problem


def test_one_wrong_row_and_one_wrong_input_are_seen(reference: list[torch.Tensor]) -> None:
    wrong = [r.clone() for r in reference]
    wrong[2][1] = wrong[2][1].flip(0)
    found = attest.compare(outputs(*reference), outputs(*wrong))
    assert found.rel_l2 is not None
    assert found.rel_l2 > 0.1
    assert found.top1_agreement is not None
    assert found.top1_agreement < 1


def test_outputs_are_copied_and_flattened_whatever_holds_them() -> None:
    buffer = torch.zeros(2)
    kept = attest.tensors({"a": [buffer], "b": (numpy.ones(3, dtype="f4"), None)})
    buffer.fill_(7)
    assert [t.tolist() for t in kept] == [[0, 0], [1, 1, 1]]
    assert all(t.dtype is torch.float64 for t in kept)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # deprecated, and what native int8 models return
def test_a_quantized_tensor_counts_with_its_values() -> None:
    quantized = torch.quantize_per_tensor(torch.tensor([0.5, 1.0]), 0.5, 0, torch.quint8)
    assert attest.tensors(quantized)[0].tolist() == [0.5, 1.0]


def test_nested_targets_are_built_and_the_model_is_in_evaluation_mode() -> None:
    config = {
        "_target_": "torch.nn.Sequential",
        "_args_": [{"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2}, {"_target_": "torch.nn.ReLU"}],
        "input": {"shape": [3]},
    }
    model = convert.build_model(config, CPU)
    assert model(torch.zeros(1, 3)).shape == (1, 2)
    assert not model.training


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_checkpoint_is_loaded(tmp_path: Path, suffix: str) -> None:
    weights = {"weight": torch.full((2, 3), 5.0), "bias": torch.zeros(2)}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": weights, "epoch": 3}, path)
    else:
        from safetensors.torch import save_file

        save_file(weights, path)
    config = {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2, "checkpoint": str(path)}
    assert convert.build_model(config, CPU)(torch.ones(1, 3)).tolist() == [[15, 15]]


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(torch.nn.Linear(3, 2), path)
    config = {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2, "checkpoint": str(path)}
    with pytest.raises(Exception, match=r"[Ww]eights"):
        convert.build_model(config, CPU)


def test_what_is_no_module_is_no_model() -> None:
    with pytest.raises(TypeError, match=r"not a torch\.nn\.Module"):
        convert.build_model({"_target_": "collections.OrderedDict"}, CPU)


def test_the_dispatcher_is_read_from_its_source() -> None:
    source = """
    def select(mode):
        match mode:
            case "A":
                return 1
            case "B" | "C":
                return 2
            case _:
                raise NotImplementedError
    """
    assert survey.dispatched(source) == {"A", "B", "C"}


@pytest.mark.parametrize(
    ("expression", "here"),
    [
        ("json", True),
        ("json:loads", True),
        ("json:no_such", False),
        ("no_such_module", False),
        ("no_such.module|json", True),
        ("no_such:attribute|neither", False),
    ],
)
def test_probes_find_modules_and_attributes(expression: str, here: bool) -> None:
    assert survey.probe(expression) is here


def test_a_moved_module_is_found_by_its_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "_in_place", set())
    monkeypatch.delitem(sys.modules, "json.gone", raising=False)
    compat._moved_module("gone-is-tool", "json.gone", "json.tool")
    import json.tool

    assert sys.modules["json.gone"] is json.tool
    assert compat._in_place == {"gone-is-tool"}


def test_a_module_that_is_still_there_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "_in_place", set())
    compat._moved_module("not-needed", "json.decoder", "json.tool")
    assert compat._in_place == set()
    assert sys.modules["json.decoder"].__name__ == "json.decoder"


def test_names_that_are_still_there_are_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    mended = object()
    monkeypatch.setattr(torch.export, "export_for_training", mended, raising=False)
    monkeypatch.setattr(torch.onnx, "dynamo_export", mended, raising=False)
    compat._export_for_training()
    compat._onnx_dynamo_export()
    assert torch.export.export_for_training is mended  # type: ignore[attr-defined]
    assert torch.onnx.dynamo_export is mended  # type: ignore[attr-defined]


@pytest.fixture
def alma_bf16(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    with warnings.catch_warnings(action="ignore"):  # alma uses pydantic's and torch's deprecated names
        compat.before_import()
        from alma.conversions.options import bf16

    monkeypatch.setattr(compat, "_gone_through", set())
    module: ModuleType = bf16
    return module


def test_a_factory_returned_for_its_product_is_called(alma_bf16: ModuleType) -> None:
    forward = compat.callable_from(alma_bf16.get_bfp16_eager_forward_call, torch.nn.Linear(3, 2))
    assert forward(torch.ones(1, 3)).dtype is torch.bfloat16
    assert compat._gone_through == {"bf16-eager-factory-called"}


def test_a_mended_alma_that_returns_the_product_is_left_alone(alma_bf16: ModuleType) -> None:
    product = alma_bf16.get_bfp16_eager_forward_call(torch.nn.Linear(3, 2))
    assert compat.callable_from(product, None) is product
    assert compat._gone_through == set()


def test_what_cannot_be_called_is_refused(alma_bf16: ModuleType) -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        compat.callable_from(None, None)
