"""Which cells a node takes, as the driver decides it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.conftest import MakeCell

from sweep.cell import Cell, Model
from sweep.dispatch.backlog import Backlog
from sweep.dispatch.node import Node, Nodes
from sweep.plan.inventory import Inventory
from sweep.result import Outcome, not_run
from sweep.status import Reason


def model(name: str, *needs: str) -> Model:
    return Model(name=name, config={"_target_": "a.B", "input": {"shape": [8]}, "needs": list(needs)})


@pytest.fixture
def node(make_cell: MakeCell) -> Node:
    """One with nothing but torch and alma's eager mode."""
    mode = make_cell().mode
    assert mode
    has = Inventory(
        modes={"EAGER": mode},
        found=frozenset(),
        devices=frozenset({"cpu"}),
        versions={},
        node="n1",
        hardware="",
        fingerprints={"cpu": "abc"},
    )
    return Node(has=has, cells=2)


def test_what_a_model_needs_is_asked_of_each_model(node: Node, make_cell: MakeCell) -> None:
    plain, of_timm = (make_cell(id=name, model=model(name, *needs)) for name, needs in (("a", ()), ("b", ("timm",))))
    for first, second in ((plain, of_timm), (of_timm, plain)):
        asked = replace(node)
        assert [asked.fits(first), asked.fits(second)] == [first is plain, second is plain]
    backlog = Backlog([of_timm, plain], 0)  # one that does not fit keeps off none that does
    assert backlog.take(node.fits) == plain


def test_a_backlog_in_which_nothing_fits_is_looked_through_again_when_something_came(
    node: Node, make_cell: MakeCell
) -> None:
    looked: list[str] = []

    def counting(fits: Callable[[Cell], bool]) -> Callable[[Cell], bool]:
        return lambda cell: bool(looked.append(cell.id)) or fits(cell)  # type: ignore[func-returns-value]

    cells = [make_cell(id="other", conversion="JIT_TRACE"), make_cell(id="fits")]
    backlog = Backlog(cells, 1)
    assert node.finds_any(backlog, counting(node.fits))
    lost = backlog.take(node.fits)
    assert lost == cells[1]
    looked.clear()
    assert not node.finds_any(backlog, counting(node.fits))
    assert not node.finds_any(backlog, counting(node.fits))
    assert looked == ["other"]
    assert backlog.ended(Outcome(result=not_run(lost, Reason.LOST, "its node died"))) == []
    assert node.finds_any(backlog, counting(node.fits))


def test_what_only_a_node_that_is_given_up_could_run_is_told_of_that_node(node: Node, make_cell: MakeCell) -> None:
    nodes = Nodes(None)
    nodes.add(replace(node.has, id="1", found=frozenset({"timm"})))
    nodes.add(replace(node.has, id="2", node="n2"))
    busy, _ = nodes
    busy.unfit = "n1 was busy for 30 s"
    cells = [make_cell(id="a", model=model("a", "timm")), make_cell(id="b", model=model("b", "diffusers"))]
    rows = {outcome.result.id: outcome.result for outcome in nodes.refuse(Backlog(cells, 0))}
    assert (rows["a"].reason, rows["a"].message) == (Reason.NO_NODE, "n1 was busy for 30 s")
    assert rows["b"].reason is Reason.NEEDS_PACKAGE


def test_nodes_are_waited_for_once_one_was_asked_for_and_not_given(node: Node) -> None:
    nodes = Nodes(None)
    nodes.add(node.has)
    (asked,) = nodes
    assert not nodes.waits(1000.0)
    asked.actor_asked_for("actor", "task", 1000.0)
    assert not nodes.waits(1001.0)
    assert nodes.waits(1011.0)
    asked.came_up()
    assert not nodes.waits(1011.0)
