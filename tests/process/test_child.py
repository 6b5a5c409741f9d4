"""What runs in a cell's process, called here directly: building, comparing, mending."""

import sys
import threading
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.file_baton import FileBaton

from sweep.cell import Cell, Mode
from sweep.child import attestors, compat, convert, data, survey
from sweep.child.feed import Feed

CPU = torch.device("cpu")


def test_nested_targets_are_built_and_the_model_is_in_evaluation_mode() -> None:
    config = {
        "_target_": "torch.nn.Sequential",
        "_args_": [{"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2}, {"_target_": "torch.nn.ReLU"}],
        "input": {"shape": [3]},
    }
    model, taken_off = convert.build_model(config, CPU)
    assert taken_off == ""
    assert model(torch.zeros(1, 3)).shape == (1, 2)
    assert not model.training


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, 2**40])
def test_new_inputs_are_none_of_those_that_are_compared(make_cell: Callable[..., Cell], seed: int) -> None:
    cell = make_cell(seed=seed)
    feed = Feed(cell, torch.nn.Linear(8, 4), CPU, ())
    known = feed.first()
    new = list(islice(feed.new(), 20))
    assert not any(data.same(a, b) for a in known for b in new)


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
    assert convert.build_model(config, CPU)[0](torch.ones(1, 3)).tolist() == [[15, 15]]


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "model."])
def test_what_a_wrapper_puts_before_the_keys_of_a_checkpoint_is_taken_off(tmp_path: Path, prefix: str) -> None:
    torch.save({f"{prefix}weight": torch.full((2, 3), 5.0), f"{prefix}bias": torch.zeros(2)}, tmp_path / "w.pt")
    config = {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2, "checkpoint": str(tmp_path / "w.pt")}
    model, taken_off = convert.build_model(config, CPU)
    assert model(torch.ones(1, 3)).tolist() == [[15, 15]]
    assert taken_off == prefix


class Forgetful(torch.nn.Linear):
    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


def test_a_train_that_returns_nothing_does_no_harm() -> None:
    config = {"_target_": f"{__name__}.Forgetful", "in_features": 3, "out_features": 2}
    model, _ = convert.build_model(config, CPU)
    assert isinstance(model, Forgetful)
    assert not model.training


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
                raise KeyError(mode)
    """
    assert survey.implemented_modes(source) == {"A", "B", "C"}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("json", True),
        ("json:loads", True),
        ("json:no_such", False),
        ("no_such_module", False),
        ("no_such.module|json", True),
        ("no_such:attribute|neither", False),
    ],
)
def test_probes_find_modules_and_attributes(expression: str, expected: bool) -> None:
    assert survey.probe(expression) is expected


def test_a_moved_module_is_found_by_its_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "_applied", set())
    monkeypatch.delitem(sys.modules, "json.gone", raising=False)
    compat._moved_module("gone-is-tool", "json.gone", "json.tool")
    import json.tool

    assert sys.modules["json.gone"] is json.tool
    assert compat._applied == {"gone-is-tool"}


def test_a_module_that_is_still_there_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "_applied", set())
    compat._moved_module("not-needed", "json.decoder", "json.tool")
    assert compat._applied == set()
    assert sys.modules["json.decoder"].__name__ == "json.decoder"


def test_names_that_are_still_there_are_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    mended = object()
    monkeypatch.setattr(torch.export, "export_for_training", mended, raising=False)
    monkeypatch.setattr(torch.onnx, "dynamo_export", mended, raising=False)
    compat._export_for_training()
    compat._onnx_dynamo_export()
    assert torch.export.export_for_training is mended  # type: ignore[attr-defined]
    assert torch.onnx.dynamo_export is mended  # type: ignore[attr-defined]


def test_the_lock_of_a_build_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    """As a build of quanto's kernels leaves it, in the package itself, when its cell is killed."""
    compat._locks_of_killed_builds()
    lock = tmp_path / "lock"
    lock.touch()
    first, second = FileBaton(str(lock)), FileBaton(str(lock))
    assert first.try_acquire()
    assert "lock-of-a-killed-build-taken" in compat.used()
    assert not second.try_acquire()
    waiting = threading.Thread(target=second.wait)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    first.release()
    waiting.join(10)
    assert not waiting.is_alive()
    second.wait()  # there is nothing to wait for
    assert second.try_acquire()
    second.release()
    assert not lock.exists()


def test_every_engine_that_a_label_names_has_an_attestor(modes: dict[str, Mode]) -> None:
    engines_named = {mode.engine.partition(" or ")[0] for mode in modes.values()}
    assert engines_named == set(attestors.ATTESTORS)


@pytest.fixture
def alma_bf16(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    with warnings.catch_warnings(action="ignore"):  # alma uses pydantic's and torch's deprecated names
        compat.before_import()
        from alma.conversions.options import bf16

    monkeypatch.setattr(compat, "_called", set())
    module: ModuleType = bf16
    return module


def test_a_factory_returned_for_its_product_is_called(alma_bf16: ModuleType) -> None:
    forward = compat.callable_from(alma_bf16.get_bfp16_eager_forward_call, torch.nn.Linear(3, 2))
    assert forward(torch.ones(1, 3)).dtype is torch.bfloat16
    assert compat._called == {"bf16-eager-factory-called"}


def test_a_mended_alma_that_returns_the_product_is_left_alone(alma_bf16: ModuleType) -> None:
    product = alma_bf16.get_bfp16_eager_forward_call(torch.nn.Linear(3, 2))
    assert compat.callable_from(product, None) is product
    assert compat._called == set()


def test_what_cannot_be_called_is_refused(alma_bf16: ModuleType) -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        compat.callable_from(None, None)
