"""The same rows through a real Ray as one after the other, and a row for what Ray loses."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from sweep import plan, validate
from sweep.backlog import Backlog
from sweep.cell import Cell, Device, Measure, Model, Request, Result, Tolerance
from sweep.dispatch import Dispatcher, create
from sweep.dispatch.ray import RayDispatcher
from sweep.settings import Dispatch

HELPERS = str(Path(__file__).parent.parent / "process")


def request(**changes: Any) -> Request:
    values: dict[str, Any] = {
        "model": Model(
            name="linear",
            config={"_target_": "torch.nn.Linear", "in_features": 8, "out_features": 4, "input": {"shape": [8]}},
        ),
        "device": Device(name="cpu"),
        "conversions": ("EAGER", "OPENVINO", "JIT_TRACE", "COMPILE_CUDAGRAPHS", "ONNX_CPU"),
        "python_path": (HELPERS,),
        "measure": Measure(min_seconds=0, processes=1),
        "tolerance": {"fp32": Tolerance(rel_l2=1e-4)},
    }
    return Request(**values | changes)


def misbehaving(how: str) -> Model:
    config = {"_target_": "misbehaving.Misbehaving", "how": how, "input": {"shape": [8]}}
    return Model(name=how.replace(" ", "_"), config=config)


def rows(options: Dispatch, requests: list[Request]) -> list[tuple[str, str, str | None]]:
    """Every row of a sweep, refused and run, as id, status and reason."""
    dispatcher = create(options)
    nodes = dispatcher.nodes()
    ready, refused = validate.split(plan.expand(requests, validate.all_modes(nodes)), nodes)
    ended = [outcome.result for outcome in dispatcher.run(Backlog(ready, 0), lambda cell: None)]
    return sorted((row.id, row.status, row.reason) for row in [*refused, *ended])


def test_ray_gives_the_rows_that_serial_gives() -> None:
    requests = [
        request(),
        request(device=Device(name="cuda", kind="cuda", gpus=1), conversions=("EAGER",)),
        request(model=misbehaving("segfault"), conversions=("EAGER",)),
        request(model=misbehaving("raise"), conversions=("EAGER",)),
    ]
    serial, ray = rows(Dispatch(name="serial"), requests), rows(Dispatch(), requests)
    assert ray == serial
    assert [(status, reason) for _, status, reason in serial].count(("ok", None)) == 3
    assert ("skipped", "no-node") in [(status, reason) for _, status, reason in serial]


@pytest.fixture
def local_ray() -> Iterator[RayDispatcher]:
    dispatcher = RayDispatcher(Dispatch())
    yield dispatcher
    dispatcher.close()


def test_a_lost_worker_costs_an_attempt_and_no_other_cell(
    local_ray: RayDispatcher, make_cell: Callable[..., Cell]
) -> None:
    config = {"_target_": "misbehaving.Misbehaving", "how": "kill the supervisor", "input": {"shape": [8]}}
    cells = [make_cell(id="killer", model=Model(name="m", config=config)), make_cell(id="after")]
    found = recorded(local_ray, Backlog(cells, retries=1))
    assert found["killer"].reason == "lost"
    assert "Ray task" in found["killer"].message
    assert len(found["killer"].attempts) == 2
    assert all(attempt.startswith("lost, ") for attempt in found["killer"].attempts)
    assert found["after"].status == "ok"


def recorded(dispatcher: Dispatcher, backlog: Backlog, then: Callable[[], None] = lambda: None) -> dict[str, Result]:
    """Every row by its cell, each recorded once; `then` is called after each outcome."""
    found: dict[str, Result] = {}
    for outcome in dispatcher.run(backlog, lambda cell: None):
        for told in backlog.ended(outcome):
            assert told.result.id not in found
            found[told.result.id] = told.result
        then()
    return found


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Three nodes of one CPU each, on this machine."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    yield nodes
    import ray

    ray.shutdown()
    nodes.shutdown()  # type: ignore[no-untyped-call]


def test_a_node_that_goes_away_in_mid_sweep_costs_no_row(cluster: Any, make_cell: Callable[..., Cell]) -> None:
    config = {"_target_": "misbehaving.Misbehaving", "how": "take two seconds", "input": {"shape": [8]}}
    cells = [make_cell(id=f"cell-{n}", model=Model(name="m", config=config)) for n in range(9)]
    went: list[Any] = []

    def lose_a_node() -> None:
        if not went:  # the first outcome is there, so the other two nodes are at work
            went.append(cluster.worker_nodes.copy().pop())
            cluster.remove_node(went[0], allow_graceful=False)

    found = recorded(RayDispatcher(Dispatch(address=cluster.address)), Backlog(cells, retries=2), lose_a_node)
    assert {name: row.status for name, row in found.items()} == {cell.id: "ok" for cell in cells}
    tried_twice = [row for row in found.values() if len(row.attempts) > 1]
    assert len(tried_twice) == 1
    assert tried_twice[0].attempts[0].startswith("lost, ")
    assert tried_twice[0].attempts[1].startswith("ok on ")


def test_closing_early_ends_what_runs(local_ray: RayDispatcher, make_cell: Callable[..., Cell], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    config = {
        "_target_": "misbehaving.Misbehaving",
        "how": "leave a grandchild and hang",
        "marker": str(marker),
        "input": {"shape": [8]},
    }

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if marker.exists():
            raise KeyboardInterrupt

    def interrupt_when_it_hangs(_cell: Cell) -> None:
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)

    outcomes = local_ray.run(Backlog([make_cell(model=Model(name="m", config=config))], 0), interrupt_when_it_hangs)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(outcomes)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert int(marker.read_text()) > 0  # and no_process_survives looks for both
