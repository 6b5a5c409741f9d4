"""What is left in shared memory goes, unless somebody may use it whom nobody sees here."""

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
