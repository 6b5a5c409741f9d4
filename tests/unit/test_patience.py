"""What cells wait for is said once, an autoscaler is asked, and in the end it is decided."""

import pytest
from tests.conftest import MakeCell

from sweep.cell import Cell, Device
from sweep.dispatch.node import Node, declared
from sweep.dispatch.patience import Patience
from sweep.plan.inventory import Inventory


class Cluster:
    def __init__(self, *holders: str) -> None:
        self.asked: list[list[dict[str, float]]] = []
        self._holders = list(holders)

    def ask_for(self, bundles: list[dict[str, float]]) -> None:
        self.asked.append(bundles)

    def holders(self, node: Inventory) -> str:
        if self._holders:
            return self._holders.pop(0)
        return f"2 of its {node.cpus:g} CPUs are in use, by 1 x Trainer"


@pytest.fixture
def waiting(make_cell: MakeCell) -> list[Cell]:
    gpu = Device(name="big", kind="cuda", gpus=2, accelerator="A100", resources={"disk": 1})
    return [make_cell(conversion=name, device=gpu) for name in ("EAGER", "JIT_TRACE")]


def test_cells_wait_for_a_node_as_long_as_they_may(waiting: list[Cell]) -> None:
    cluster, told = Cluster(), list[str]()
    patience = Patience(30, cluster, told.append)
    assert patience.lasts(waiting, 100.0)
    assert patience.lasts(waiting, 129.0)
    assert told == ["waits 30 s at most for a node that can run EAGER on big, JIT_TRACE on big"]
    bundle = {"CPU": 1.0, "GPU": 2.0, "disk": 1.0, "accelerator_type:A100": 0.001}
    assert cluster.asked == [[bundle]]  # one node can run both
    patience.with_busy([], 129.5)  # something runs again, and then nothing does
    assert patience.lasts(waiting, 140.0)
    assert not patience.lasts(waiting, 170.0)
    assert cluster.asked[-1] == []  # what was asked for is not needed any more


@pytest.mark.parametrize("seconds", [0, 30])
def test_without_cells_or_without_patience_nothing_waits(seconds: float, waiting: list[Cell]) -> None:
    cluster, told = Cluster(), list[str]()
    assert not Patience(seconds, cluster, told.append).lasts(waiting if not seconds else [], 0.0)
    assert (cluster.asked, told) == ([], [])


@pytest.mark.parametrize(("seconds", "unfit"), [(0, ""), (60, "n1 was busy for 61 s: ")])
def test_who_has_a_busy_node_is_said_and_it_is_given_up_if_it_may_be(seconds: float, unfit: str) -> None:
    n1 = declared({"NodeID": "1", "NodeManagerHostname": "n1", "Resources": {"CPU": 4}})
    node = Node(has=n1, cells=1)
    node.actor_asked_for("actor", "task", 100.0)
    told: list[str] = []
    patience = Patience(seconds, Cluster(), told.append)
    for now in (105.0, 111.0, 115.0, 161.0):
        patience.with_busy([node], now)
    assert told == ["waits for n1: 2 of its 4 CPUs are in use, by 1 x Trainer"]
    assert node.unfit == unfit + ("2 of its 4 CPUs are in use, by 1 x Trainer" if unfit else "")
    node.came_up()
    patience.with_busy([node], 500.0)
    assert len(told) == 1


def test_of_a_busy_node_it_is_said_once_however_its_users_change() -> None:
    nodes = [declared({"NodeID": name, "NodeManagerHostname": name, "Resources": {"CPU": 4}}) for name in ("1", "2")]
    busy = [Node(has=has, cells=1) for has in nodes]
    for node in busy:
        node.actor_asked_for("actor", "task", 100.0)
    told: list[str] = []
    patience = Patience(0, Cluster("Ann", "Bob", "Cid", "Dan"), told.append)
    for now in (111.0, 112.0):
        patience.with_busy(busy, now)
    assert told == ["waits for 1: Ann", "waits for 2: Bob"]
