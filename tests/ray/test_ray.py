"""The same rows through a real Ray as one after the other, and a row for what Ray loses."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from sweep import plan, validate
from sweep.cell import Cell, Device, Measure, Model, Outcome, Request, Tolerance
from sweep.dispatch import create
from sweep.dispatch.ray import RayDispatcher

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
        "measure": Measure(min_seconds=0),
        "tolerance": {"fp32": Tolerance(rel_l2=1e-4)},
    }
    return Request(**values | changes)


def misbehaving(how: str) -> Model:
    config = {"_target_": "misbehaving.Misbehaving", "how": how, "input": {"shape": [8]}}
    return Model(name=how.replace(" ", "_"), config=config)


def rows(name: str, requests: list[Request]) -> list[tuple[str, str, str | None]]:
    """Every row of a sweep, refused and run, as id, status and reason."""
    dispatcher = create(name, None)
    inventory = dispatcher.inventory()
    ready, refused = validate.split(plan.expand(requests, inventory.modes), inventory)
    ended = [outcome.result for outcome in dispatcher.run(ready, lambda cell: None)]
    return sorted((row.id, row.status, row.reason) for row in [*refused, *ended])


def test_ray_gives_the_rows_that_serial_gives() -> None:
    requests = [
        request(),
        request(device=Device(name="cuda", kind="cuda", gpus=1), conversions=("EAGER",)),
        request(model=misbehaving("segfault"), conversions=("EAGER",)),
        request(model=misbehaving("raise"), conversions=("EAGER",)),
    ]
    serial, ray = rows("serial", requests), rows("ray", requests)
    assert ray == serial
    assert [(status, reason) for _, status, reason in serial].count(("ok", None)) == 3
    assert ("skipped", "no-node") in [(status, reason) for _, status, reason in serial]


@pytest.fixture
def local_ray() -> Iterator[RayDispatcher]:
    dispatcher = RayDispatcher(None)
    yield dispatcher
    import ray

    ray.shutdown()


def test_a_lost_worker_costs_one_cell(local_ray: RayDispatcher, make_cell: Callable[..., Cell], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    config = {
        "_target_": "misbehaving.Misbehaving",
        "how": "kill the supervisor",
        "marker": str(marker),
        "input": {"shape": [8]},
    }
    cells = [make_cell(id="killer", model=Model(name="m", config=config)), make_cell(id="after")]
    found: dict[str, Outcome] = {outcome.result.id: outcome for outcome in local_ray.run(cells, lambda cell: None)}
    assert found["killer"].result.reason == "lost"
    assert "Ray task" in found["killer"].result.message
    assert found["after"].result.status == "ok"


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

    outcomes = local_ray.run([make_cell(model=Model(name="m", config=config))], interrupt_when_it_hangs)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(outcomes)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert int(marker.read_text()) > 0  # and no_process_survives looks for both
