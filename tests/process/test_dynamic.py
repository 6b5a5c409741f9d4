"""Conversions that are told which sizes of their inputs vary."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.process import several

from sweep import isolate
from sweep.cell import Cell, Model
from sweep.child import data
from sweep.child.batches import Batch
from sweep.child.convert import build_model
from sweep.child.feed import Feed
from sweep.result import Result
from sweep.status import Status
from sweep.user_data import UserData

MakeCell = Callable[..., Cell]
CPU = torch.device("cpu")

CACHED: dict[str, Any] = {
    "_target_": "torch.nn.Identity",
    "past": 4,
    "seq": 1,
    "inputs": [{"shape": ["batch", "past+seq"]}, {"shape": ["batch", 3, "past"]}, {"shape": [3]}],
}
ONE = {"_target_": "torch.nn.Identity", "width": 5, "input": {"shape": ["width", 2]}}


@pytest.mark.parametrize(
    ("config", "batch", "varying", "shapes"),
    [
        (several.MASKED, 1, [{0, 1}, {0, 1}], [(2, 6), (2, 6)]),
        (several.LSTM, 3, [{1}, {1}, {1}], [(7, 3, 4), (1, 3, 5), (1, 3, 5)]),
        (CACHED, 1, [{0, 1}, {0, 2}, set()], [(2, 6), (2, 3, 4), (3,)]),
        (ONE, 4, [{0, 1}], [(4, 5, 2)]),
    ],
)
def test_what_follows_the_batch_or_a_named_size_varies(
    make_cell: MakeCell, config: dict[str, Any], batch: int, varying: list[set[int]], shapes: list[tuple[int, ...]]
) -> None:
    cell = make_cell(model=Model(name="m", config=config), batch_size=batch)
    feed = Feed(cell, build_model(config, CPU)[0], CPU, ())
    assert feed.varying() == varying
    assert [tuple(x.shape) for x in data.tensors(feed.without_ones())] == shapes


def test_of_data_the_first_dimension_varies(make_cell: MakeCell) -> None:
    given = UserData(name="d", arguments={"_target_": "a.b"})
    cell = make_cell(model=Model(name="m", config={"_target_": "torch.nn.Identity"}), batch_size=1, data=given)
    read = [Batch(inputs=[torch.ones(1, 4), torch.ones(3)])]
    feed = Feed(cell, torch.nn.Identity(), CPU, read)
    assert feed.varying() == [{0}, set()]
    with pytest.raises(ValueError, match="no batch"):
        feed.of_sizes({"batch": 2}, 3)
    assert [tuple(x.shape) for x in data.tensors(feed.without_ones())] == [(2, 4), (3,)]


def test_other_batches_of_data_are_of_that_data(make_cell: MakeCell) -> None:
    given = UserData(name="d", arguments={"_target_": "a.b"})
    cell = make_cell(model=Model(name="m", config={"_target_": "torch.nn.Identity"}), batch_size=2, data=given)
    read = [Batch(inputs=torch.tensor([[n], [n + 1]])) for n in (0, 2)]
    made, batch = Feed(cell, torch.nn.Identity(), CPU, read).of_sizes({"batch": 3}, 2)
    assert (batch, [data.tensors(one)[0].flatten().tolist() for one in made]) == (3, [[0, 1, 2], [3, 0, 1]])


def row_of(make_cell: MakeCell, supervisor: isolate.Supervisor, conversion: str, *, dynamic: bool) -> Result:
    config = {**several.MASKED, "output": "logits", "shapes": [{"seq": 9}, {"batch": 3, "seq": 2}]}
    cell = make_cell(model=Model(name="m", config=config), conversion=conversion, batch_size=1, dynamic=dynamic)
    return isolate.run(cell, supervisor).result


@pytest.mark.parametrize("conversion", ["EXPORT+EAGER", "ONNX_CPU", "ONNX+DYNAMO_EXPORT"])
def test_an_export_for_sizes_that_vary_takes_them(
    make_cell: MakeCell, supervisor: isolate.Supervisor, conversion: str
) -> None:
    fixed = row_of(make_cell, supervisor, conversion, dynamic=False)
    assert [one.status for one in fixed.shapes] == ["raised", "raised"]
    row = row_of(make_cell, supervisor, conversion, dynamic=True)
    assert row.status is Status.OK, row.message
    assert "dynamic changes nothing" not in row.message
    assert [one.status for one in row.shapes] == ["ok", "ok"], [one.message for one in row.shapes]
    assert "dynamic-shapes" in row.compat


@pytest.mark.slow
@pytest.mark.parametrize("conversion", ["COMPILE_INDUCTOR_DEFAULT", "EXPORT+AOT_INDUCTOR"])
def test_a_compiler_for_sizes_that_vary_takes_them(
    make_cell: MakeCell, supervisor: isolate.Supervisor, conversion: str
) -> None:
    row = row_of(make_cell, supervisor, conversion, dynamic=True)
    assert row.status is Status.OK, row.message
    assert [one.status for one in row.shapes] == ["ok", "ok"], [one.message for one in row.shapes]
    assert row.shapes[0].recompiled in {0, None}
    assert "dynamic-shapes" in row.compat


def test_where_nothing_is_exported_that_is_said(make_cell: MakeCell, supervisor: isolate.Supervisor) -> None:
    row = row_of(make_cell, supervisor, "JIT_TRACE", dynamic=True)
    assert row.status is Status.OK
    assert "dynamic changes nothing here" in row.message
