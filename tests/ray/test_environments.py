"""Conversions in environments of their own, in one sweep on one machine: a real pip, a real Ray, real cells."""

from pathlib import Path
from typing import Any

import pytest
from tests.wheels import wheel

import sweep
from sweep.dispatch.node import Node
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
