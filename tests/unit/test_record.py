import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweep.cell import Cell
from sweep.errors import BadRequest, RunFolderBroken, RunFolderTaken
from sweep.record import RunFolder
from sweep.report import files, page
from sweep.report.__main__ import main as make_anew
from sweep.result import Outcome, Result, not_run
from sweep.status import Reason


def lost(cell: Cell) -> Outcome:
    return Outcome(result=not_run(cell, Reason.LOST, "gone"), files={"cell.log": "said\n", "samples.json": "{}"})


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
        "schema id model conversion device batch_size threads overrides status reason quality message phase seconds "
        "convert_cpus latency_ms throughput_per_s eager speedup fidelity engine memory_mb load crash node hardware "
        "fingerprint versions compat found shapes metric attempts log samples environment"
    )
    assert list(json.loads(line)) == contract.split()


def test_a_row_that_could_not_be_read_again_is_written_as_one_that_says_so(
    weird_path: Path, make_cell: Callable[..., Cell]
) -> None:
    folder = RunFolder(weird_path / "run")
    folder.start([make_cell(id="a"), make_cell(id="b")], {})
    bad = replace(lost(make_cell(id="a")).result, node="half a pair: \ud800")
    written = folder.append(Outcome(result=bad))
    folder.append(lost(make_cell(id="b")))
    assert (written.id, written.status, written.reason) == ("a", "crashed", "no-report")
    assert "could not be read again" in written.message
    assert [row.id for row in folder.load()] == ["a", "b"]


def test_a_folder_with_a_sweep_in_it_is_left_alone(weird_path: Path, make_cell: Callable[..., Cell]) -> None:
    first = RunFolder(weird_path)
    first.start([make_cell(id="a")], {})
    first.release()
    before = (weird_path / "sweep.json").read_text()
    with pytest.raises(RunFolderTaken, match=r"hydra\.sweep\.dir"):
        RunFolder(weird_path).start([make_cell(id="b")], {})
    assert (weird_path / "sweep.json").read_text() == before


def test_a_folder_that_cannot_be_is_said(tmp_path: Path, make_cell: Callable[..., Cell]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderTaken, match="cannot write"):
        RunFolder(tmp_path / "file" / "run").start([], {})


MakeCell = Callable[..., Cell]


@pytest.fixture
def half_done(weird_path: Path, make_cell: MakeCell) -> Path:
    """A run folder of four cells: one skipped, one crashed, one interrupted, and one without a row."""
    folder = RunFolder(weird_path / "run")
    folder.start([make_cell(id=name) for name in "abcd"], {"versions": {"torch": "2.13.0"}})
    for name, reason in (("a", Reason.NEEDS_DEVICE), ("b", Reason.TIMEOUT), ("c", Reason.INTERRUPTED)):
        row = replace(not_run(make_cell(id=name), reason, "so it was"), attempts=(f"{name} before",))
        folder.append(Outcome(result=row))
    folder.release()
    return folder.path


def resumed(path: Path, make_cell: MakeCell, *retry: str, ids: str = "abcd", torch: str = "2.13.0") -> list[Result]:
    folder = RunFolder(path)
    try:
        return folder.resume([make_cell(id=id_) for id_ in ids], {"versions": {"torch": torch}}, retry, anyway=False)
    finally:
        folder.release()


@pytest.mark.parametrize(
    ("retry", "stay"), [((), "ab"), (("crashed",), "a"), (("timeout",), "a"), (("skipped",), "b"), (("signal",), "ab")]
)
def test_finished_rows_stay_but_for_those_to_be_tried_again(
    half_done: Path, make_cell: MakeCell, retry: tuple[str, ...], stay: str
) -> None:
    assert [row.id for row in resumed(half_done, make_cell, *retry)] == list(stay)
    assert [row.id for row in RunFolder(half_done).load()] == list(stay)
    assert len((half_done / "results-before-1.jsonl").read_text().splitlines()) == 3  # nothing is lost


def test_a_row_that_comes_again_tells_of_its_earlier_attempts(half_done: Path, make_cell: MakeCell) -> None:
    folder = RunFolder(half_done)
    folder.resume([make_cell(id=name) for name in "abcd"], {"versions": {"torch": "2.13.0"}}, ["timeout"], anyway=False)
    row = replace(not_run(make_cell(id="b"), Reason.TIMEOUT, "again"), attempts=("b now",))
    assert folder.append(Outcome(result=row)).attempts == ("b before", "b now")


@pytest.mark.parametrize(
    ("failed", "retry"), [(Reason.SIGNAL, "crashed"), (Reason.BAD_MODEL, "invalid"), (Reason.BAD_MODEL, "bad-model")]
)
def test_what_was_not_tried_for_another_cell_is_tried_with_it(
    failed: Reason, retry: str, weird_path: Path, make_cell: MakeCell
) -> None:
    folder = RunFolder(weird_path / "run")
    folder.start([make_cell(id=name) for name in "ab"], {})
    for name, reason in (("a", failed), ("b", Reason.EAGER_FAILS)):
        folder.append(Outcome(result=not_run(make_cell(id=name), reason, "so it was")))
    folder.release()
    cells = [make_cell(id=name) for name in "ab"]
    assert len(folder.resume(cells, {}, [], anyway=False)) == 2
    folder.release()
    assert folder.resume(cells, {}, [retry], anyway=False) == []


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"ids": "abc"}, "the plan changed: 1 cells fewer, such as d"),
        ({"ids": "abcdef"}, "2 cells more, such as e"),
        ({"torch": "2.14.0"}, "versions changed, so rows would not compare: torch 2.13.0 → 2.14.0"),
    ],
)
def test_another_plan_or_other_versions_are_refused_and_nothing_changes(
    half_done: Path, make_cell: MakeCell, now: dict[str, str], said: str
) -> None:
    before = (half_done / "results.jsonl").read_text(), (half_done / "sweep.json").read_text()
    with pytest.raises(BadRequest, match="resume_anyway=true") as refused:
        resumed(half_done, make_cell, **now)
    assert said in str(refused.value)
    assert ((half_done / "results.jsonl").read_text(), (half_done / "sweep.json").read_text()) == before


def test_another_plan_may_be_gone_on_with_anyway(half_done: Path, make_cell: MakeCell) -> None:
    folder = RunFolder(half_done)
    stay = folder.resume([make_cell(id=name) for name in "be"], {"versions": {}}, [], anyway=True)
    assert [row.id for row in stay] == ["b"]
    assert json.loads(folder.request.read_text())["plan"] == ["b", "e"]


def test_a_sweep_that_was_killed_before_its_journal_was_there_can_be_resumed(
    half_done: Path, make_cell: MakeCell
) -> None:
    (half_done / "results.jsonl").unlink()
    assert resumed(half_done, make_cell) == []
    assert (half_done / "results.jsonl").is_file()


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_last_row_is_as_if_it_had_not_come(half_done: Path, make_cell: MakeCell, cut: int) -> None:
    journal = half_done / "results.jsonl"
    journal.write_bytes(journal.read_bytes()[:-cut])
    whole = "abc" if cut == 1 else "ab"  # without its line's end a row is whole still
    assert [row.id for row in RunFolder(half_done).load()] == list(whole)
    assert [row.id for row in resumed(half_done, make_cell)] == ["a", "b"]
    assert journal.read_bytes().endswith(b"\n")


def test_a_broken_row_in_the_middle_is_said(half_done: Path) -> None:
    journal = half_done / "results.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0], lines[1][:50], lines[2]]) + "\n")
    with pytest.raises(RunFolderBroken, match="line 2 of "):
        RunFolder(half_done).load()


@pytest.mark.parametrize("text", [None, "{", "[]", '{"schema": 1}', '{"schema": 99, "plan": []}'])
def test_a_folder_that_holds_no_sweep_cannot_be_resumed(half_done: Path, make_cell: MakeCell, text: str | None) -> None:
    (half_done / "sweep.json").unlink()
    if text is not None:
        (half_done / "sweep.json").write_text(text)
    with pytest.raises(RunFolderBroken):
        resumed(half_done, make_cell)


def test_two_sweeps_do_not_write_to_one_folder(half_done: Path, make_cell: MakeCell) -> None:
    folder = RunFolder(half_done)
    folder.resume([make_cell(id=name) for name in "abcd"], {"versions": {"torch": "2.13.0"}}, [], anyway=False)
    with pytest.raises(RunFolderTaken, match="another sweep is writing"):
        resumed(half_done, make_cell)
    folder.release()
    resumed(half_done, make_cell)


FULL = """
import resource, sys
from pathlib import Path
from sweep.record import RunFolder
from sweep.report import files, page
from sweep.result import Outcome
from sweep.errors import RunFolderFull
folder = RunFolder(Path(sys.argv[1]))
(row,) = [row for row in folder.load() if row.id == "a"]
size = folder.journal.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, size + 20))
try:
    folder.append(Outcome(result=row))
except RunFolderFull as error:
    print(error)
"""


def test_a_full_disk_is_said_and_takes_nothing_that_is_written(half_done: Path) -> None:
    before = (half_done / "results.jsonl").read_bytes()
    ended = subprocess.run([sys.executable, "-c", FULL, half_done], capture_output=True, text=True, check=True)
    assert "All rows so far are kept; make room" in ended.stdout
    assert (half_done / "results.jsonl").read_bytes() == before
    assert not list(half_done.glob(".results*"))


@pytest.mark.parametrize("write", range(1, 4))  # the cell's two files, and the row
def test_an_interrupt_takes_nothing_of_what_has_ended(
    half_done: Path, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == write:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(KeyboardInterrupt):
        RunFolder(half_done).append(lost(make_cell(id="d")))
    assert len(synced) == 3
    assert [row.id for row in RunFolder(half_done).load()] == ["a", "b", "c", "d"]
    assert (half_done / "cells" / "d" / "samples.json").read_text() == "{}"


def test_a_run_of_the_first_version_loads_and_can_be_shown() -> None:
    folder = RunFolder(Path(__file__).parent / "run_of_the_first_version")
    rows = folder.load()
    assert [row.id for row in rows] == folder.about()["plan"]
    assert [row.status for row in rows] == ["ok", "ok", "invalid"]
    assert rows[1].speedup is not None
    assert (rows[1].speedup.value, rows[1].fingerprint, rows[1].load) == (1.515, None, None)
    made = {name: "".join(text) for name, text in files.file_texts(rows).items()}
    assert "| JIT_TRACE | ok |" in made["matrix.md"]
    assert "JIT_TRACE" in "".join(page.from_rows(rows, folder.about()))


def test_its_files_can_be_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(Path(__file__).parent / "run_of_the_first_version", tmp_path / "run")
    assert make_anew([str(tmp_path / "run"), "--junit"]) == 0
    made = {path.name for path in (tmp_path / "run").iterdir()} - {"sweep.json", "results.jsonl"}
    assert made == {"report.html", "matrix.md", "matrix.csv", "matrix.json", "results.parquet", "junit.xml"}
    assert make_anew([str(tmp_path)]) == make_anew([str(tmp_path / "run" / "results.jsonl")]) == 2
    assert "there is no sweep in" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sweep.json", "results.jsonl"])
def test_a_run_of_a_later_version_is_not_guessed_at(tmp_path: Path, name: str) -> None:
    shutil.copytree(Path(__file__).parent / "run_of_the_first_version", tmp_path / "run")
    file = tmp_path / "run" / name
    file.write_text(file.read_text().replace('"schema": 1', '"schema": 3'))
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(RunFolderBroken, match="has schema 3, and this sweep knows none above 2: use a newer sweep"):
        folder.about(), folder.load()


def test_what_a_killed_process_has_half_written_goes_when_the_sweep_goes_on(
    half_done: Path, make_cell: MakeCell
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    cell = half_done / "cells" / "a.b"
    cell.mkdir(parents=True)
    half = [half_done / f".results.parquet.{gone.pid}.sweep", half_done / f".sweep.json.{gone.pid}.sweep"]
    half.append(cell / f".cell.json.{gone.pid}.sweep")
    others = [half_done / f".of-another.{os.getpid()}.sweep", half_done / ".hidden.txt", cell / f"cell.log.{gone.pid}"]
    others.append(half_done / f".backup.{gone.pid}")
    for file in (*half, *others):
        file.write_text("{")
    resumed(half_done, make_cell)
    assert [file for file in half if file.exists()] == []
    assert all(file.exists() for file in others)
