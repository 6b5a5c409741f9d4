"""What runs in a cell's process, called here directly: building, comparing, mending."""

import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
import torch
from torch.utils.file_baton import FileBaton

from sweep.cell import Measure, Mode
from sweep.child import attest, compat, convert, engines, measure, survey
from sweep.evidence import OutputCheck

CPU = torch.device("cpu")


@pytest.fixture
def inputs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 5, generator=generator) for _ in range(3)]


def model(x: torch.Tensor) -> torch.Tensor:
    return x.cumsum(-1)


def checked(inputs: list[torch.Tensor], lie: Callable[[torch.Tensor], Any]) -> OutputCheck:
    return attest.Reference(model, inputs).check(lie, lambda x: x)


def test_figures_are_those_of_another_library(inputs: list[torch.Tensor]) -> None:
    check = checked(inputs, lambda x: model(x) + 0.01 * torch.roll(x, 1))
    pairs = [
        (model(x)[row].numpy().astype("f8"), (model(x) + 0.01 * torch.roll(x, 1))[row].numpy().astype("f8"))
        for x in inputs
        for row in range(2)
    ]
    norm = numpy.linalg.norm
    assert check.rel_l2 == pytest.approx(max(norm(y - r) / norm(r) for r, y in pairs))
    assert check.cosine == pytest.approx(min(r @ y / norm(r) / norm(y) for r, y in pairs))
    assert check.max_abs == pytest.approx(max(abs(y - r).max() for r, y in pairs))
    assert check.top1_agreement == 1.0
    assert (check.inputs, check.noise, check.problem) == (3, 0.0, None)


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (lambda x: torch.full_like(x, float("nan")), "10 of 10 values are not finite"),
        (lambda x: model(x)[:1], "shape [1, 5], eager's is [2, 5]"),
        (lambda x: [model(x), x], "2 tensors, eager gives 1"),
        (torch.zeros_like, "same output for inputs"),
        (lambda x: x.add_(1), "the conversion changes its input"),
        (lambda x: object(), "holds a object, which is no tensor"),
        (lambda x: model(x).to("meta"), "on the meta device, where tensors hold no values"),
    ],
)
def test_no_tolerance_excuses_a_wrong_form(inputs: list[torch.Tensor], lie: Any, message: str) -> None:
    problem = checked(inputs, lie).problem
    assert problem is not None
    assert message in problem


def test_one_wrong_row_of_one_input_is_seen_undiluted(inputs: list[torch.Tensor]) -> None:
    last = inputs[-1]

    def lie(x: torch.Tensor) -> torch.Tensor:
        y = model(x)
        if torch.equal(x, last):
            y[1] = -y[1]
        return y

    check = checked(inputs, lie)
    assert check.rel_l2 == pytest.approx(2.0)
    assert check.cosine == pytest.approx(-1.0)
    assert check.top1_agreement is not None
    assert check.top1_agreement < 1


def test_one_answer_that_serves_two_inputs_is_seen(inputs: list[torch.Tensor]) -> None:
    lies = {1: model(inputs[2])}
    answers = iter([lies.get(n, model(x)) for n, x in enumerate(inputs)])
    assert "same output" in str(checked(inputs, lambda _: next(answers)).problem)


def test_a_model_that_changes_its_own_input_may_be_converted_so(inputs: list[torch.Tensor]) -> None:
    def careless(x: torch.Tensor) -> torch.Tensor:
        return model(x.mul_(2))

    reference = attest.Reference(careless, inputs)
    assert reference.changes_input
    assert reference.check(careless, lambda x: x).problem is None


def test_a_model_that_changes_some_of_its_inputs_is_known_by_them(inputs: list[torch.Tensor]) -> None:
    first = inputs[0].clone()
    reference = attest.Reference(lambda x: model(x.mul_(2) if torch.equal(x, first) else x), inputs)
    assert reference.changes_input


def test_noise_on_one_input_is_noise(inputs: list[torch.Tensor]) -> None:
    last, calls = inputs[-1], iter(range(100))
    reference = attest.Reference(lambda x: model(x) * (1 + next(calls) if torch.equal(x, last) else 1), inputs)
    assert reference.noise > 0.1


@pytest.mark.parametrize(
    "whole",
    [
        lambda x: x.sum(),
        lambda x: x.sum(0),  # [5], of a batch of 2
        lambda x: (model(x), x.sum()),
        lambda x: (x.sum(0), model(x)),
    ],
)
def test_an_output_without_a_batch_is_compared_as_one(inputs: list[torch.Tensor], whole: Callable[..., Any]) -> None:
    def off(x: torch.Tensor) -> Any:
        right = whole(x)
        return tuple(part * 1.01 for part in right) if isinstance(right, tuple) else right * 1.01

    reference = attest.Reference(whole, inputs)
    assert reference.check(whole, lambda x: x).rel_l2 == 0
    check = reference.check(off, lambda x: x)
    assert check.rel_l2 == pytest.approx(0.01, rel=1e-3)
    assert (check.top1_agreement is None) is not isinstance(whole(inputs[0]), tuple)


def test_an_empty_output_agrees_with_itself(inputs: list[torch.Tensor]) -> None:
    check = attest.Reference(lambda x: x[:, :0], inputs).check(lambda x: x[:, :0], lambda x: x)
    assert (check.rel_l2, check.max_abs) == (0, 0)


def test_an_output_of_zeros_is_as_like_itself_as_can_be_and_unlike_all_else(inputs: list[torch.Tensor]) -> None:
    reference = attest.Reference(lambda x: x * 0, inputs)
    assert reference.check(lambda x: x * 0, lambda x: x).cosine == 1
    assert reference.check(lambda x: x * 0 + 1, lambda x: x).cosine == 0


def test_an_output_with_a_part_that_never_changes(inputs: list[torch.Tensor]) -> None:
    constant = torch.ones(2, 3)
    reference = attest.Reference(lambda x: (model(x), constant), inputs)
    assert reference.check(lambda x: (model(x), constant), lambda x: x).problem is None
    assert "same output" in str(reference.check(lambda x: (torch.zeros_like(x), constant), lambda x: x).problem)


def test_devices_are_those_of_outputs_and_parameters() -> None:
    layer = torch.nn.Linear(2, 2)
    assert attest.devices_of(layer(torch.ones(1, 2)), layer) == "cpu"
    assert attest.devices_of({"a": torch.ones(1, device="meta")}, layer) == "cpu+meta"
    assert attest.devices_of([numpy.ones(2)], torch.nn.ReLU()) == "cpu"


def test_work_that_is_done_when_the_output_is_read_is_seen_by_doing_it(inputs: list[torch.Tensor]) -> None:
    class Late(torch.Tensor):
        def detach(self) -> torch.Tensor:
            time.sleep(0.01)
            return self.as_subclass(torch.Tensor).detach()

    def subject_of(forward: Callable[[torch.Tensor], Any]) -> measure.Subject:
        subject = measure.Subject(forward, inputs[0], measure.Timer(CPU), Measure())
        subject.blocks, subject.new_input_delay = [[1e-3]], 0.0
        return subject

    def problem_of(converted: measure.Subject) -> str | None:
        attest.time_beyond_the_call(converted, eager, [])
        return attest.timing_problem(converted, eager)

    eager = subject_of(model)
    eager.read_whole(attest.tensors, enough=0.0)
    assert "before its work is done" in str(problem_of(subject_of(lambda x: model(x).as_subclass(Late))))
    honest = subject_of(model)
    assert problem_of(honest) is None
    honest.new_input_delay = 1.0
    assert "remembers its answers" in str(problem_of(honest))


def test_a_noisy_reference_knows_its_noise(inputs: list[torch.Tensor]) -> None:
    generator = torch.Generator().manual_seed(1)
    noisy = attest.Reference(lambda x: model(x) + 1e-3 * torch.randn(x.shape, generator=generator), inputs)
    assert 1e-5 < noisy.noise < 1e-1


def test_an_eager_output_that_is_not_finite_proves_nothing(inputs: list[torch.Tensor]) -> None:
    reference = attest.Reference(lambda x: x / 0, inputs)
    assert "eager's own output is not finite" in str(reference.check(lambda x: x / 0, lambda x: x).problem)


@pytest.mark.parametrize(
    ("call", "reading", "eager_reading", "late"),
    [
        (1e-3, 1e-5, 1e-5, False),
        (1e-3, 4e-4, 0.0, False),  # less than half of the call
        (1e-3, 6e-4, 0.0, True),
        (1e-3, 6e-4, 5e-4, False),  # eager's output takes as long to have
        (1e-5, 1.5e-4, 0.0, False),  # too short to tell from noise
        (1e-5, 3e-4, 0.0, True),
    ],
)
def test_work_put_off_until_the_output_is_read_is_seen(
    call: float, reading: float, eager_reading: float, late: bool
) -> None:
    timer = measure.Timer(CPU)
    subjects = []
    for seconds in (reading, eager_reading):
        subject = measure.Subject(model, None, timer, Measure())
        subject.blocks, subject.reading_delay = [[call]], seconds
        subjects.append(subject)
    assert (attest.deferred_work_problem(*subjects) is not None) is late


def test_outputs_are_copied_and_flattened_whatever_holds_them() -> None:
    buffer = torch.zeros(2)
    kept = attest.tensors({"a": [buffer], "b": (numpy.ones(3, dtype="f4"), None)})
    buffer.fill_(7)
    assert [t.tolist() for t in kept] == [[0, 0], [1, 1, 1]]
    assert all(t.dtype is torch.float64 for t in kept)


def test_every_kind_of_number_counts_with_its_values() -> None:
    class Doubled(torch.Tensor):
        def dequantize(self) -> torch.Tensor:
            return self.as_subclass(torch.Tensor) * 2

    assert attest.tensors(torch.tensor([1 + 2j]))[0].tolist() == [[1, 2]]
    assert attest.tensors(torch.tensor([1, 2]))[0].tolist() == [1, 2]
    assert attest.tensors(torch.tensor([1.0]).as_subclass(Doubled))[0].tolist() == [2]
    assert attest.tensors([numpy.float32(3), 4])[1].item() == 4
    assert attest.tensors(torch.tensor([1 + 1e-12], dtype=torch.float64))[0].item() == 1 + 1e-12


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


@pytest.mark.parametrize(("timed", "fresh", "saved"), [(1e-3, 4e-4, False), (1e-3, 1e-3, True), (1e-5, 1e-4, False)])
def test_answers_that_were_saved_up_are_seen(timed: float, fresh: float, saved: bool) -> None:
    subject = measure.Subject(model, None, measure.Timer(CPU), Measure())
    subject.blocks, subject.new_input_delay = [[timed]], fresh
    assert (attest.cached_answers_problem(subject) is not None) is saved


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
    assert engines_named == set(engines.ATTESTORS)


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
