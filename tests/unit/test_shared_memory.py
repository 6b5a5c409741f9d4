"""What is left in shared memory goes, unless somebody may use it whom nobody sees here."""

import os
from pathlib import Path

import pytest

from sweep import shared_memory


@pytest.mark.parametrize(
    ("first", "goes"),
    [
        ({"pid", "ipc"}, True),  # a machine
        (set(), True),  # a container
        ({"pid"}, True),
        ({"ipc"}, False),  # a container that shares the memory of its host
    ],
)
def test_only_what_nobody_can_use_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: set[str], goes: bool
) -> None:
    monkeypatch.setattr(shared_memory, "SHARED", tmp_path)
    monkeypatch.setattr(shared_memory, "_is_first", lambda namespace: namespace in first)
    (tmp_path / "older").touch()
    before = shared_memory.names()
    (tmp_path / "left").touch()
    with open(tmp_path / "used", "w"):
        shared_memory.remove_unused(shared_memory.names() - before)
        assert {path.name for path in tmp_path.iterdir()} == {"older", "used", *(() if goes else ["left"])}


def test_only_what_a_library_named_so_for_a_dead_process_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "SHARED", tmp_path)
    (tmp_path / "psm_older").touch()
    before = shared_memory.names()
    dead = 2**22 + 1  # no process has a number above 2 ** 22
    somebodys = ("train.npz", "torch.npz", f"torch_{os.getpid()}_1_0", f"__KMP_REGISTERED_LIB_{os.getpid()}_0")
    left = (f"torch_{dead}_1_0", f"__KMP_REGISTERED_LIB_{dead}_0", "psm_1a2b", "sem.mp-x", "nccl-QxYz")
    for name in (*somebodys, *left):
        (tmp_path / name).touch()
    assert shared_memory.left_since(before) == set(left)
