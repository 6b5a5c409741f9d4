import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweep import validate
from sweep.cell import Cell, Outcome, Reason
from sweep.errors import RunFolderTaken
from sweep.record import RunFolder


def lost(cell: Cell) -> Outcome:
    return Outcome(result=validate.row(cell, Reason.LOST, "gone"), files={"cell.log": "said\n", "samples.json": "{}"})


def test_the_request_is_written_before_any_row(weird_path: Path, make_cell: Callable[..., Cell]) -> None:
    folder = RunFolder(weird_path / "run")
    folder.start([make_cell(id="a"), make_cell(id="b")], {"command": ["+model=mlp"]})
    about = json.loads(folder.request.read_text())
    assert about["plan"] == ["a", "b"]
    assert about["command"] == ["+model=mlp"]
    assert folder.load() == []


def test_a_row_comes_back_as_it_went_with_the_paths_of_its_files(
    weird_path: Path, make_cell: Callable[..., Cell]
) -> None:
    folder = RunFolder(weird_path / "run")
    folder.start([make_cell(id="a")], {})
    written = folder.append(lost(make_cell(id="a")))
    assert folder.load() == [written]
    assert written == replace(lost(make_cell(id="a")).result, log="cells/a/cell.log", samples="cells/a/samples.json")
    assert (folder.path / "cells/a/cell.log").read_text() == "said\n"


def test_a_row_is_one_line_with_every_field_of_the_contract(weird_path: Path, make_cell: Callable[..., Cell]) -> None:
    folder = RunFolder(weird_path / "run")
    folder.start([make_cell(id="a")], {})
    folder.append(lost(make_cell(id="a")))
    (line,) = folder.journal.read_text().splitlines()
    contract = (
        "schema id model conversion device batch_size threads overrides status reason message phase seconds "
        "latency_ms throughput_per_s eager speedup fidelity engine memory_mb node hardware versions compat "
        "attempts log samples"
    )
    assert list(json.loads(line)) == contract.split()


def test_a_folder_with_a_sweep_in_it_is_left_alone(weird_path: Path, make_cell: Callable[..., Cell]) -> None:
    RunFolder(weird_path).start([make_cell(id="a")], {})
    before = (weird_path / "sweep.json").read_text()
    with pytest.raises(RunFolderTaken, match=r"hydra\.sweep\.dir"):
        RunFolder(weird_path).start([make_cell(id="b")], {})
    assert (weird_path / "sweep.json").read_text() == before


def test_a_folder_that_cannot_be_is_said(tmp_path: Path, make_cell: Callable[..., Cell]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderTaken, match="cannot write"):
        RunFolder(tmp_path / "file" / "run").start([], {})
