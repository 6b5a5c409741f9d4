from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sweep.cell import Cell, Device, Mode, Model
from sweep.devices import KINDS, Kind
from sweep.plan import registry, validate
from sweep.plan.inventory import Inventory, fingerprint, nodes_as_json

CUDA = Device(name="cuda", kind="cuda", gpus=1)
XPU, XLA = Device(name="xpu", kind="xpu", gpus=1), Device(name="xla", kind="xla")


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
    ready, rows = validate.split_by_eligibility([cell], [inventory])
    assert ready == []
    (row,) = rows
    assert row.id == cell.id
    return str(row.status), str(row.reason), row.message


def test_a_cell_that_can_run_is_ready(make_cell: Callable[..., Cell], cpu_host: Inventory) -> None:
    cell = make_cell(conversion="ONNX_CPU")
    assert validate.split_by_eligibility([cell], [cpu_host]) == ([cell], [])


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
        ({"conversion": "COMPILE_OPENXLA"}, "skipped/needs-device", "use device=xla"),
        ({"conversion": "COMPILE_OPENXLA", "device": XLA}, "skipped/no-node", "no node has an xla device"),
        ({"conversion": "EAGER", "device": XPU}, "skipped/no-node", "no node has an xpu device"),
        ({"conversion": "OPENVINO", "device": XPU}, "invalid/unknown-conversion", "COMPILE_OPENVINO"),
        ({"conversion": "COMPILE_OPENVINO", "device": XPU}, "skipped/needs-device", "use device=cpu"),
        ({"conversion": "COMPILE_TVM", "device": XPU}, "skipped/needs-device", "use device=cpu or cuda"),
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
        ready, rows = validate.split_by_eligibility(cells, [cpu_host])
        assert len(ready) + len(rows) == 72
        forbidden = ("CUDA", "TENSORRT", "XLA", "TVM", "ONNX_GPU", "ONNXRT", "OPTIMIM")
        assert not [cell.id for cell in ready if any(word in cell.id for word in forbidden)]
        assert len(ready) == (49 if device.kind == "cpu" else 0)


def gpu_host(cpu_host: Inventory, **changes: Any) -> Inventory:
    values: dict[str, Any] = {"node": "gpu-1", "devices": frozenset({"cpu", "cuda"}), "gpus": 1, "cpus": 16}
    return replace(cpu_host, **values | changes)


def test_a_cell_is_ready_if_any_node_can_run_it(make_cell: Callable[..., Cell], cpu_host: Inventory) -> None:
    cell = make_cell(device=CUDA)
    assert validate.split_by_eligibility([cell], [cpu_host, gpu_host(cpu_host)]) == ([cell], [])
    poor = replace(cpu_host, found=cpu_host.found - {"openvino"})
    cell = make_cell(conversion="COMPILE_OPENVINO")
    assert validate.split_by_eligibility([cell], [poor, cpu_host]) == ([cell], [])
    assert validate.obstacle(cell, poor) is not None  # it goes to the other


def test_a_gpu_that_is_declared_but_not_there_is_named(make_cell: Callable[..., Cell], cpu_host: Inventory) -> None:
    liar = replace(cpu_host, node="gpu-1", no_gpu="gpu-1 offers 1 GPU to Ray, but torch finds none there")
    _, (row,) = validate.split_by_eligibility([make_cell(device=CUDA)], [cpu_host, liar])
    assert (row.status, row.reason) == ("skipped", "no-node")
    assert row.message.startswith("no node has a cuda device: gpu-1 offers 1 GPU")


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (Device(name="big", cpus=64), "gpu-1 has 16 CPUs, not 64"),
        (Device(name="big", memory=1e6), "MB of memory"),
        (Device(name="four", kind="cuda", gpus=4), "has 1 GPUs, not 4"),
        (Device(name="h100", kind="cuda", gpus=1, accelerator="H100"), "no accelerator of type H100"),
        (Device(name="zone", labels={"zone": "b"}), "no label zone=b"),
        (Device(name="licence", resources={"licence": 1}), "has 0 licence, not 1"),
    ],
)
def test_what_a_device_asks_for_is_compared_with_every_node(
    make_cell: Callable[..., Cell], cpu_host: Inventory, device: Device, said: str
) -> None:
    node = gpu_host(cpu_host, memory=64_000, labels={"zone": "a"}, resources={"accelerator_type:A100": 1.0})
    _, (row,) = validate.split_by_eligibility([make_cell(device=device)], [node])
    assert (row.status, row.reason) == ("skipped", "no-node")
    assert said in row.message


def test_a_device_that_a_node_has_all_of_is_ready(make_cell: Callable[..., Cell], cpu_host: Inventory) -> None:
    device = Device(
        name="a100", kind="cuda", gpus=1, accelerator="A100", labels={"zone": "a"}, resources={"licence": 1}, cpus=8
    )
    node = gpu_host(cpu_host, labels={"zone": "a"}, resources={"accelerator_type:A100": 1.0, "licence": 2.0})
    cell = make_cell(device=device)
    assert validate.split_by_eligibility([cell], [node]) == ([cell], [])


def test_a_fingerprint_is_of_what_the_device_kind_rests_on() -> None:
    facts: dict[str, Any] = {"cpu": "a CPU", "cpus": 8, "gpus": []}
    with_gpu = {**facts, "gpus": [{"name": "H100"}]}
    assert fingerprint(facts, "cpu") == fingerprint(with_gpu, "cpu")
    assert fingerprint(facts, "cuda") != fingerprint(with_gpu, "cuda")
    assert fingerprint(facts, "cpu") != fingerprint({**facts, "cpus": 4}, "cpu")


def test_other_devices_count_for_their_own_kind_only() -> None:
    facts: dict[str, Any] = {"cpu": "a CPU", "cpus": 8, "gpus": [{"name": "H100"}], "driver": "1"}
    with_xpu = {**facts, "accelerators": {"xpu": [{"name": "Max 1550", "memory_gib": 128}]}}
    with_two = {**facts, "accelerators": {"xpu": [{"name": "Max 1550", "memory_gib": 128}] * 2}}
    for kind in ("cpu", "cuda"):
        assert fingerprint(facts, kind) == fingerprint(with_xpu, kind)
    assert len({fingerprint(one, "xpu") for one in (facts, with_xpu, with_two)}) == 3
    without_nvidia = {**with_xpu, "gpus": [], "driver": None}
    assert fingerprint(with_xpu, "xpu") == fingerprint(without_nvidia, "xpu")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_device_can_be_asked_for_and_runs_where_there_is_one(
    make_cell: Callable[..., Cell], cpu_host: Inventory, kind: Kind
) -> None:
    cell = make_cell(device=Device(name=kind, kind=kind))
    node = replace(cpu_host, devices=frozenset({"cpu", kind}))
    assert validate.split_by_eligibility([cell], [node]) == ([cell], [])


def test_versions_that_differ_between_nodes_are_both_told(cpu_host: Inventory) -> None:
    old, new = (replace(cpu_host, versions={"torch": version}) for version in ("2.12.0", "2.13.0"))
    said = nodes_as_json([old, new])
    assert said["versions"] == {"torch": "2.12.0 or 2.13.0"}
    assert [node["versions"] for node in said["nodes"]] == [{"torch": "2.12.0"}, {"torch": "2.13.0"}]
