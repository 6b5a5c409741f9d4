"""One converted artefact, called with inputs of other sizes than it was made with."""

from collections.abc import Callable
from typing import Any

import pytest

from sweep import isolate
from sweep.cell import Cell, Model
from sweep.result import Result
from sweep.status import Status

MakeCell = Callable[..., Cell]


def row_of(make_cell: MakeCell, supervisor: isolate.Supervisor, name: str, conversion: str, **config: Any) -> Result:
    whole = {"_target_": f"several.{name}", "length": 4, "input": {"shape": ["length"]}, **config}
    return isolate.run(make_cell(model=Model(name=name, config=whole), conversion=conversion), supervisor).result


def test_a_trace_is_right_at_its_own_size_and_wrong_at_others(
    make_cell: MakeCell, supervisor: isolate.Supervisor
) -> None:
    shapes = [{"length": 4}, {"length": 2}, {"length": 9}, {"batch": 5}, {"batch": 1, "length": 3}]
    row = row_of(make_cell, supervisor, "Fixed", "JIT_TRACE", shapes=shapes)
    assert row.status is Status.OK, row.message
    assert [dict(one.sizes) for one in row.shapes] == shapes
    assert [one.status for one in row.shapes] == ["ok", "wrong", "wrong", "ok", "wrong"]
    assert "relative L2 error" in row.shapes[1].message
    assert "at length=2: wrong" in row.message
    assert all(one.p50_ms and one.eager_p50_ms and one.first_call_ms for one in row.shapes)


def test_eager_takes_every_size(make_cell: MakeCell, supervisor: isolate.Supervisor) -> None:
    row = row_of(make_cell, supervisor, "Fixed", "EAGER", shapes=[{"length": 2}, {"length": 9}])
    assert [one.status for one in row.shapes] == ["ok", "ok"]
    assert [one.recompiled for one in row.shapes] == [None, None]


def test_an_export_raises_at_other_sizes(make_cell: MakeCell, supervisor: isolate.Supervisor) -> None:
    row = row_of(make_cell, supervisor, "Fixed", "EXPORT+EAGER", shapes=[{"length": 4}, {"length": 2}])
    assert [one.status for one in row.shapes] == ["ok", "raised"]
    assert row.shapes[1].message


def test_a_size_at_which_its_process_dies_is_that_size_alone(
    make_cell: MakeCell, supervisor: isolate.Supervisor
) -> None:
    shapes = [{"length": 3}, {"length": 5}, {"length": 6}, {"length": 7}]
    row = row_of(make_cell, supervisor, "Dies", "EAGER", shapes=shapes)
    assert row.status is Status.OK, row.message
    assert [one.status for one in row.shapes] == ["ok", "raised", "eager raises", "ok"]
    assert "SIGSEGV" in row.shapes[1].message
    assert row.shapes[2].message == "ValueError: six is too many"


@pytest.mark.slow
def test_a_compiler_that_compiles_again_says_so(make_cell: MakeCell, supervisor: isolate.Supervisor) -> None:
    shapes = [{"length": 4}, {"length": 2}]
    row = row_of(make_cell, supervisor, "Fixed", "COMPILE_INDUCTOR_DEFAULT", shapes=shapes)
    assert [one.status for one in row.shapes] == ["ok", "ok"]
    assert [bool(one.recompiled) for one in row.shapes] == [False, True]
