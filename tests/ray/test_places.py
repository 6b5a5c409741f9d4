"""Conversions in environments of their own, in one sweep on one machine: a real pip, a real Ray, real cells."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import MakeCell
from tests.wheels import wheel

import sweep
from sweep.cell import Device
from sweep.dispatch.backlog import Backlog
from sweep.dispatch.node import DOUBT_SECONDS, Node
from sweep.dispatch.patience import Patience
from sweep.dispatch.ray import RayDispatcher
from sweep.plan.inventory import Inventory
from sweep.request.settings import Dispatch
from sweep.status import Reason, Status

CONVERSION = """
def same(model, data):
    return model

same.sweep = {"engine": "eager"}
"""


@pytest.mark.slow
def test_a_conversion_that_only_an_environment_has_runs_there_when_the_others_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one whose environment cannot be made has its row. What the package calls itself is in versions of rows."""
    monkeypatch.chdir(tmp_path)
    asked_for: list[tuple[str | None, bool]] = []
    ask = Node.actor_asked_for

    def noted(node: Node, *arguments: Any, holds: bool) -> None:
        asked_for.append((node.has.environment_name, holds))
        ask(node, *arguments, holds=holds)

    monkeypatch.setattr(Node, "actor_asked_for", noted)
    points = "[sweep.conversions]\nSAME = tiny_conversion:same\n"
    package = wheel(tmp_path, "apache-tvm", "0.0.1", {"tiny_conversion.py": CONVERSION}, points)
    offline = {"pip_install_options": ["--no-index"]}
    asked = {
        "tiny": {"conversions": "SAME", "runtime_env": {"pip": {"packages": [str(package)], **offline}}},
        "none": {"conversions": "TORCH_*", "runtime_env": {"pip": {"packages": ["no-such-package"], **offline}}},
    }
    measure = {"measure.seconds": 0.2, "measure.max_warmup_seconds": 0.5, "measure.budget": 0.001}
    run = sweep.run(
        "mlp",
        ["EAGER", "SAME", "TORCH_SCRIPT"],
        folder=tmp_path / "run",
        options={"+environments": asked, **measure},
        quiet=True,
    )
    row_of = {row.conversion: row for row in run.rows}
    assert {name: (row.status, row.environment) for name, row in row_of.items()} == {
        "EAGER": (Status.OK, None),
        "SAME": (Status.OK, "tiny"),
        "TORCH_SCRIPT": (Status.SKIPPED, "none"),
    }
    assert [row_of[name].versions.get("apache-tvm") for name in ("EAGER", "SAME")] == [None, "0.0.1"]
    assert row_of["TORCH_SCRIPT"].reason is Reason.NEEDS_PACKAGE
    assert "No matching distribution found for no-such-package" in row_of["TORCH_SCRIPT"].message
    found = run.about["environments"]
    assert found["tiny"]["versions"]["apache-tvm"] == "0.0.1"
    assert found["tiny"]["runtime_env"] == asked["tiny"]["runtime_env"]
    assert "No matching distribution" in found["none"]["nodes"][0]["problem"]
    assert asked_for == [(None, True), ("tiny", False)], "the first holds the machine, for further rounds may come"


def test_a_cell_waits_for_the_only_node_that_can_run_it_while_that_one_is_doubted(
    make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a Ray: another node, which cannot run it, has nothing to do meanwhile."""
    now, slept = [100.0], list[float]()
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", slept.append)
    node = Inventory(
        id="1",
        modes={"EAGER": make_cell().mode},  # type: ignore[dict-item]
        found=frozenset(),
        devices=frozenset({"cpu"}),
        versions={},
        node="n1",
        hardware="",
        resources={"licence": 1},
    )
    dispatcher = RayDispatcher(Dispatch())
    dispatcher._patience = Patience(0, dispatcher._connection, lambda text: None)
    for has in (node, replace(node, id="2", node="n2", resources={})):
        dispatcher._nodes.add(has)
    backlog = Backlog([make_cell(device=Device(name="licensed", resources={"licence": 1}))], 0)
    next(iter(dispatcher._nodes)).lost_a_cell(100.0)
    assert dispatcher._wait_or_decide(backlog) == []
    assert (len(backlog), slept) == (1, [1])
    now[0] += DOUBT_SECONDS + 1
    (outcome,) = dispatcher._wait_or_decide(backlog)
    assert outcome.result.reason is Reason.NO_NODE
