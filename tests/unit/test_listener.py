"""None of those that follow a sweep can end it."""

from types import TracebackType

import pytest

from sweep.cell import Cell
from sweep.errors import RunFolderFull
from sweep.report.listener import Listener, Listeners


class Noting(Listener):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def __enter__(self) -> "Noting":
        self.heard.append("enter")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heard.append("exit")

    def started(self, cell: Cell) -> None:
        self.heard.append("started")


class Failing(Noting):
    name = "the display"

    def started(self, cell: Cell) -> None:
        raise OSError(5, "Input/output error\x1b[2J")


def test_one_that_fails_is_left_out_and_the_others_go_on() -> None:
    before, failing, after = Noting(), Failing(), Noting()
    listeners = Listeners([before, failing, after])
    with listeners:
        for _ in range(2):
            listeners.tell(lambda one: one.started(None))  # type: ignore[arg-type]
    assert before.heard == after.heard == ["enter", "started", "started", "exit"]
    assert failing.heard == ["enter", "exit"]  # what it has begun is ended
    assert listeners.problems == [
        "the display failed, and was left out from then on: OSError: [Errno 5] Input/output error"
    ]


def test_what_keeps_rows_from_being_written_is_no_listeners_own_affair() -> None:
    class Full(Listener):
        def started(self, cell: Cell) -> None:
            raise RunFolderFull("no room")

    with pytest.raises(RunFolderFull):
        Listeners([Full()]).tell(lambda one: one.started(None))  # type: ignore[arg-type]
