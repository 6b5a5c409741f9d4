from collections.abc import Callable

import pytest

from sweep import registry, validate
from sweep.cell import Cell, Device, Mode, Model
from sweep.validate import Inventory

CUDA = Device(name="cuda", kind="cuda", gpus=1)


@pytest.fixture
def cpu_host(modes: dict[str, Mode]) -> Inventory:
    """A host without a GPU that has every package but those for other devices."""
    missing = {"torch-tensorrt", "torch-xla", "tvm.relay", "onnxruntime-gpu"}
    return Inventory(
        modes=modes,
        found=frozenset(set(registry.REQUIREMENTS) - missing),
        devices=frozenset({"cpu"}),
        versions={},
        node="here",
        hardware="a CPU",
    )


def refused(cell: Cell, inventory: Inventory) -> tuple[str, str, str]:
    ready, rows = validate.split([cell], [inventory])
    assert ready == []
    (row,) = rows
    assert row.id == cell.id
    return str(row.status), str(row.reason), row.message


def test_a_cell_that_can_run_is_ready(make_cell: Callable[..., Cell], cpu_host: Inventory) -> None:
    cell = make_cell(conversion="ONNX_CPU")
    assert validate.split([cell], [cpu_host]) == ([cell], [])


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"conversion": "OPENVINO"}, "invalid/unknown-conversion", "did you mean COMPILE_OPENVINO?"),
        ({"conversion": "XYZZY"}, "invalid/unknown-conversion", "python -m sweep.modes"),
        (
            {"conversion": "OPTIMIM_QUANTO_Wf8E5M2+COMPILE_CUDAGRAPHS"},
            "invalid/unimplemented-conversion",
            "implements nothing",
        ),
        ({"model": Model(name="resnt", known=False, config={}, near=("resnet",))}, "invalid/unknown-model", "resnet?"),
        ({"model": Model(name="m", config={})}, "invalid/bad-model", "_target_"),
        ({"model": Model(name="m", config={"_target_": "a.B"})}, "invalid/bad-model", "input.shape"),
        (
            {"model": Model(name="m", config={"_target_": "a.B", "input": {"shape": [3, "x"]}})},
            "invalid/bad-model",
            "input.shape",
        ),
        ({"device": Device(name="tpu", known=False, near=("cpu",))}, "invalid/unknown-device", "cpu?"),
        ({"duplicate_of": "first"}, "skipped/duplicate", "first"),
        ({"conversion": "COMPILE_CUDAGRAPHS"}, "skipped/needs-device", "use device=cuda"),
        ({"conversion": "ONNX_GPU"}, "skipped/needs-device", "pip install onnxruntime-gpu"),
        ({"conversion": "COMPILE_TENSORRT"}, "skipped/needs-device", "cuda"),
        ({"conversion": "COMPILE_OPENXLA"}, "skipped/needs-device", "torch-xla"),
        ({"conversion": "ONNX_CPU", "device": CUDA}, "skipped/needs-device", "use device=cpu"),
        ({"conversion": "EAGER", "device": CUDA}, "skipped/no-node", "dispatch.address"),
        ({"conversion": "COMPILE_TVM"}, "skipped/needs-package", "tvm.relay"),
    ],
)
def test_what_cannot_run_says_why_and_what_to_do(
    make_cell: Callable[..., Cell],
    cpu_host: Inventory,
    changes: dict[str, object],
    reason: str,
    said: str,
) -> None:
    status, why, message = refused(make_cell(**changes), cpu_host)
    assert f"{status}/{why}" == reason
    assert said in message


def test_all_that_is_wrong_with_a_cell_is_said_at_once(make_cell: Callable[..., Cell], cpu_host: Inventory) -> None:
    cell = make_cell(
        conversion="OPENVINO",
        model=Model(name="resnt", known=False, config={}),
        device=Device(name="tpu", known=False),
    )
    _, _, message = refused(cell, cpu_host)
    assert all(name in message for name in ("OPENVINO", "resnt", "tpu"))


def test_no_mode_that_needs_another_device_is_ready_on_a_cpu_host(
    make_cell: Callable[..., Cell], cpu_host: Inventory, modes: dict[str, Mode]
) -> None:
    for device in (Device(name="cpu"), CUDA):
        cells = [make_cell(conversion=name, device=device, id=name) for name in modes]
        ready, rows = validate.split(cells, [cpu_host])
        assert len(ready) + len(rows) == 72
        forbidden = ("CUDA", "TENSORRT", "XLA", "TVM", "ONNX_GPU", "ONNXRT", "OPTIMIM")
        assert not [cell.id for cell in ready if any(word in cell.id for word in forbidden)]
        assert len(ready) == (49 if device.kind == "cpu" else 0)
