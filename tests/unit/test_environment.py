"""What a cell's processes see of devices and threads."""

from collections.abc import Callable

import pytest

from sweep.cell import Cell, Device
from sweep.isolate import environment


@pytest.mark.parametrize(
    ("device", "gpu", "seen"),
    [
        (Device(name="cpu"), None, {"CUDA_VISIBLE_DEVICES": ""}),
        (Device(name="cuda", kind="cuda", gpus=1), "3", {"CUDA_VISIBLE_DEVICES": "3"}),
        (Device(name="cuda", kind="cuda", gpus=1), "GPU-8a56a4bc", {"CUDA_VISIBLE_DEVICES": "GPU-8a56a4bc"}),
        (Device(name="cuda", kind="cuda", gpus=1), None, {}),  # as this process sees them
        (Device(name="xpu", kind="xpu", gpus=1), "3", {}),  # 3 is a name of CUDA's
        (Device(name="xla", kind="xla"), None, {}),
    ],
)
def test_a_cell_sees_the_device_it_may_use(
    make_cell: Callable[..., Cell], device: Device, gpu: str | None, seen: dict[str, str]
) -> None:
    assert environment.of_cell(make_cell(device=device, threads=None), gpu) == seen
    of_zygote = environment.of_zygote(make_cell(device=device), {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert of_zygote["CUDA_VISIBLE_DEVICES"] == ("" if device.kind == "cpu" else "0,1")


def test_what_says_which_devices_there_are_comes_through() -> None:
    outer = {"ZE_AFFINITY_MASK": "0", "PJRT_DEVICE": "TPU", "HABANA_VISIBLE_MODULES": "0,1", "AWS_SECRET": "secret"}
    assert environment.allowed(outer, (), ()).keys() >= outer.keys() - {"AWS_SECRET"}
    assert "AWS_SECRET" not in environment.allowed(outer, (), ())


def test_threads_are_told_where_a_number_was_asked_for(make_cell: Callable[..., Cell]) -> None:
    threads = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    assert environment.of_cell(make_cell(threads=2), None).items() >= threads.items()
    assert not environment.of_cell(make_cell(threads=None), None).keys() & threads.keys()
