from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from tests import rows
from tests.conftest import MakeCell

from sweep.errors import RunFolderFull
from sweep.plan import Plan
from sweep.report.live import Live
from sweep.result import not_run
from sweep.status import Reason

NOTHING = Plan(cells=[], ready=[], refused=[], doubts=[])


def test_the_page_is_written_when_a_row_comes_but_not_for_every_row(make_cell: MakeCell) -> None:
    now, took = 0.0, 0.0
    written: list[tuple[float, str]] = []

    def write(name: str, text: Iterable[str]) -> None:
        nonlocal now
        assert name == "report.html"
        written.append((now, "".join(text)))
        now += took

    live = Live(".", write, lambda: now)
    live.planned(NOTHING, [], {"plan": ["a"] * 100})
    row = not_run(make_cell(), Reason.NO_NODE, "no node")
    for number in range(100):
        live.ended(replace(row, id=f"row-{number}"))
        now += 1
    assert [at for at, _ in written] == list(range(0, 100, 5))
    assert "row-5" in written[1][1]
    assert "row-6" not in written[1][1]
    took, before = 2.0, len(written)  # two seconds a page: no more than a fiftieth of the time goes into it
    for number in range(100, 400):
        live.ended(replace(row, id=f"row-{number}"))
        now += 1
    starts = [at for at, _ in written[before:]]
    assert [b - a for a, b in pairwise(starts)] == [102, 102]


def test_in_the_end_the_page_has_every_row_and_runs_no_more(make_cell: MakeCell) -> None:
    written: list[str] = []
    live = Live(".", lambda name, text: written.append("".join(text)), lambda: 0.0)
    row = not_run(make_cell(), Reason.NO_NODE, "no node")
    live.planned(NOTHING, [replace(row, id="row-kept")], {"plan": ["a", "b", "c"]})
    live.ended(replace(row, id="row-first"))
    live.ended(replace(row, id="row-last"))
    live.done({"plan": ["a", "b", "c"], "command": ["+model=what_was_asked"]})
    running, done = written
    assert ('"running":true' in running, '"running":false' in done) == (True, True)
    assert all(f'"{name}"' in running for name in ("row-kept", "row-first"))
    assert not any(name in running for name in ('"row-last"', "what_was_asked"))
    assert all(name in done for name in ('"row-kept"', '"row-first"', '"row-last"', "what_was_asked"))


def test_a_newer_row_of_a_cell_takes_the_place_of_the_one_before() -> None:
    written: list[str] = []
    now = 0.0
    live = Live(".", lambda name, text: written.append("".join(text)), lambda: now)
    live.planned(NOTHING, [], {"plan": ["a", "b"]})
    live.ended(rows.ok(id="a", message="what it said first"))
    live.ended(rows.ok(id="b"))
    now = 100
    live.round(2, 1, confirms=True)
    now = 200
    live.refined(rows.ok(id="a", message="what it says now"))
    _, confirming, refined = written
    assert "running, 2 of 2 cells done · Confirming the fastest: fresh trials of 1 cell" in confirming
    assert "what it said first" in confirming
    assert "running, 2 of 2 cells done · Confirming the fastest: fresh trials of 1 cell" in refined
    assert "what it says now" in refined


def test_a_page_that_finds_no_room_ends_nothing(make_cell: MakeCell) -> None:
    def full(name: str, text: Iterable[str]) -> None:
        raise RunFolderFull("no room")

    live = Live(".", full)
    live.ended(not_run(make_cell(), Reason.NO_NODE, "no node"))
    live.done({})
    assert live.problems == ["the page could not be written: no room"]
