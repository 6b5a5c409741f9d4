"""With resume=auto the same command starts a sweep, and goes on with it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.cell import Cell
from sweep.errors import BadRequest, RunFolderBroken, RunFolderTaken
from sweep.record import RunFolder
from sweep.request.compose import compose
from sweep.request.settings import Settings
from sweep.result import Outcome, not_run
from sweep.status import Reason

MakeCell = Callable[..., Cell]
ASKED = ("+model=mlp", "conversion=EAGER,JIT_TRACE", "batch_size=1,2")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(weird_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(weird_path)


def settings(*arguments: str) -> Settings:
    composed = compose(arguments)
    assert composed is not None
    return composed[1]


def sweep_in(folder: str, make_cell: MakeCell, *command: str, rows: int = 1) -> Path:
    """A run folder with a sweep that this command started."""
    run = RunFolder(Path(folder))
    run.start([make_cell(id="a")], {"command": command})
    for _ in range(rows):
        run.append(Outcome(result=not_run(make_cell(id="a"), Reason.TIMEOUT, "so it was")))
    run.release()
    return run.path


def test_it_starts_where_there_is_nothing_to_go_on_with() -> None:
    got = settings(*ASKED, "resume=auto", "retry=[lost]", "hydra.sweep.dir=run")
    assert (got.resume, got.retry, got.run_dir.name) == (False, (), "run")
    assert got.command == (*ASKED, "hydra.sweep.dir=run")


def test_it_goes_on_in_the_folder_that_is_named(make_cell: MakeCell) -> None:
    sweep_in("run", make_cell, *ASKED)
    got = settings(*ASKED, "resume=auto", "retry=[lost]", "hydra.sweep.dir=run")
    assert (got.resume, got.retry, got.run_dir.name) == (True, (Reason.LOST,), "run")


def test_in_a_folder_with_a_sweep_its_model_need_not_be_named_again(make_cell: MakeCell) -> None:
    sweep_in("run", make_cell, *ASKED, "hydra.sweep.dir=run")
    got = settings("resume=auto", "measure.budget=9", "hydra.sweep.dir=run")
    assert got.resume
    assert got.command == (*ASKED, "resume=auto", "measure.budget=9", "hydra.sweep.dir=run")


def test_without_a_folder_it_goes_on_with_the_newest_that_asked_the_same(make_cell: MakeCell) -> None:
    for name, command in {
        "1": (*ASKED, "hydra.sweep.dir=x"),
        "2": (
            "-m",
            ASKED[1],
            ASKED[0],
            ASKED[2],
            "resume=auto",
            "retry=[lost]",
            "dispatch.address=a:1",
        ),  # the same in another way
        "3": (*ASKED, "seed=1"),
        "4": ("+model=resnet",),
    }.items():
        sweep_in(f"multirun/day/it's {name}", make_cell, *command)
    Path("multirun/day/5").mkdir()
    Path("multirun/day/5/sweep.json").write_text("no sweep")
    got = settings(*ASKED, "resume=auto")
    assert (got.resume, got.run_dir) == (True, Path("multirun/day/it's 2").absolute())
    other = settings(*ASKED, "seed=2", "resume=auto")
    assert (other.resume, other.run_dir.parent.name == "day") == (False, False)


@pytest.mark.parametrize(
    "left",
    [
        {},
        {"multirun.yaml": "hydra:\n", ".lock": ""},
        {"sweep.json": ""},
        {"sweep.json": "\0\0\0"},
        {"sweep.json": '{\n "schema": 2,\n "command": [\n  "+mod'},
        {"sweep.json": '{\n "sch', "results.jsonl": ""},
    ],
)
def test_a_start_that_was_cut_off_is_begun_anew(left: dict[str, str], make_cell: MakeCell) -> None:
    Path("run").mkdir()
    for name, text in left.items():
        (Path("run") / name).write_text(text)
    got = settings(*ASKED, "resume=auto", "hydra.sweep.dir=run")
    assert not got.resume
    folder = RunFolder(got.run_dir)
    folder.start([make_cell(id="a")], {})
    assert (folder.about()["plan"], folder.load()) == (["a"], [])
    folder.release()


@pytest.mark.parametrize("text", ['{"schema": 99, "plan": []}', "{ mine: [1] }", None])
def test_what_may_be_somebodys_is_not_written_over(text: str | None, make_cell: MakeCell) -> None:
    run = sweep_in("run", make_cell, *ASKED)
    if text is None:
        (run / "sweep.json").unlink()  # and its rows are there
    else:
        (run / "sweep.json").write_text(text)
        (run / "results.jsonl").unlink()
    with pytest.raises(RunFolderBroken):
        settings(*ASKED, "resume=auto", "hydra.sweep.dir=run")
    with pytest.raises(RunFolderTaken):
        RunFolder(run).start([make_cell(id="a")], {})
    assert text is None or (run / "sweep.json").read_text() == text


def test_a_folder_that_is_another_one_each_time_is_refused() -> None:
    with pytest.raises(BadRequest, match="cannot tell which folder"):
        compose([*ASKED, "resume=auto", "hydra.sweep.dir=runs/${now:%H-%M}"])


def test_every_plan_is_written_the_way_a_torn_one_is_known_by(make_cell: MakeCell) -> None:
    run = RunFolder(sweep_in("run", make_cell, *ASKED, rows=0))
    text = run.request.read_text()
    assert json.loads(text)["plan"] == ["a"]
    for cut in range(len(text)):
        run.request.write_text(text[:cut])
        assert run.is_unused, text[:cut]
    run.request.write_text(text)
    assert not run.is_unused
