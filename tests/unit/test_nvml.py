"""Who else is on a GPU, by what stands in for NVIDIA's library and for /proc."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.child import nvml
from sweep.child.machine_load import LoadWatch

SUPERVISOR, ZYGOTE, OWN, CONTROL, STRANGER = 100, 101, 102, 104, 900


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A supervisor with a cell and its control, each below a zygote of its own, and somebody else's process."""
    parents = {1: 0, SUPERVISOR: 1, ZYGOTE: SUPERVISOR, OWN: ZYGOTE, 103: SUPERVISOR, CONTROL: 103, STRANGER: 1}
    for pid, parent in parents.items():
        folder = tmp_path / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} (a (strange) name) S {parent} 1 1")
    for pid in (OWN, CONTROL, STRANGER):
        (tmp_path / str(pid) / "fd" / "7").symlink_to("/dev/nvidia0")
    (tmp_path / str(ZYGOTE) / "fd" / "7").symlink_to("/dev/nvidiactl")
    return tmp_path


def test_a_familys_members_are_below_its_supervisor(proc: Path) -> None:
    family = nvml.Family(proc, OWN)
    assert [pid for pid in (OWN, CONTROL, ZYGOTE, SUPERVISOR, STRANGER, 1, 12345) if family.has(pid)] == [
        OWN,
        CONTROL,
        ZYGOTE,
        SUPERVISOR,
    ]
    assert family.on_gpu(0) == 2  # not the stranger, and not who has only opened what NVML opens
    assert family.on_gpu(1) == 0


def test_nobody_is_family_of_a_process_whose_parents_are_gone(tmp_path: Path) -> None:
    assert not nvml.Family(tmp_path, OWN).has(STRANGER)


@pytest.mark.parametrize(
    ("listed", "count"),
    [
        ([OWN, CONTROL], 0),
        ([OWN, CONTROL, STRANGER], 1),
        ([OWN], 0),
        ([500_001, 500_002], 0),  # as the host numbers them: as many as the family has there
        ([500_001, 500_002, 500_003], 1),
        ([500_001], 0),
        ([500_001, 500_001, 500_002], 0),  # some drivers list one twice
        ([], None),  # a container that hides them all, this one among them
    ],
)
def test_others_are_told_from_the_sweeps_own(proc: Path, listed: list[int], count: int | None) -> None:
    family = nvml.Family(proc, OWN)
    assert nvml.others(listed, OWN, family.has, lambda: family.on_gpu(0)) == count


class Library:
    """As pynvml: a list of processes, and a reason for a lower clock at each look."""

    def __init__(self, *reasons: int, pids: tuple[int, ...] = ()) -> None:
        self._reasons, self._pids = iter(reasons), pids

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in self._pids]

    def nvmlDeviceGetMinorNumber(self, handle: Any) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any) -> int:  # noqa: N802
        return next(self._reasons)


@pytest.mark.parametrize(
    ("reasons", "slowed"),
    [
        ((0x1,), False),  # idle
        ((0x2, 0x4), False),  # a clock or a power limit that somebody set
        ((0x0, 0x20, 0x0), True),  # heat, once, is enough
        ((0x80,), True),
        ((), None),
    ],
)
def test_a_gpu_that_was_slowed_down_is_told_of(reasons: tuple[int, ...], slowed: bool | None) -> None:
    gpu = nvml.Gpu(Library(*reasons), None)
    for _ in reasons:
        gpu.look()
    assert gpu.slowed() is slowed


def test_a_library_that_fails_gives_no_figures() -> None:
    gpu = nvml.Gpu(object(), None)
    gpu.look()
    assert (gpu.slowed(), gpu.other_processes()) == (None, None)


def test_a_load_has_the_figures_of_its_gpu() -> None:
    watch = LoadWatch(nvml.Gpu(Library(0x40, pids=(os.getpid(),)), None))
    with watch.during():
        pass
    load = watch.load()
    assert (load.gpu_processes, load.gpu_throttled) == (0, True)
    assert LoadWatch().load().gpu_processes is None
