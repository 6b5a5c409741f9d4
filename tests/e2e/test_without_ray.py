"""`dispatch=serial` runs where there is no Ray, or one that cannot be imported."""

import os
from pathlib import Path

from tests.e2e.conftest import QUICKLY, Sweep


def test_a_serial_sweep_imports_no_ray(sweep: Sweep, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked" / "ray"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('nothing here needs Ray')\n")
    path = os.pathsep.join([str(blocked.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = ("conversion=EAGER,JIT_TRACE", "dispatch=serial", *QUICKLY)
    ran = sweep("+model=mlp", *options, env={"PYTHONPATH": path})
    assert ran.code == 0, ran.err
    assert ran.statuses() == {"EAGER": "ok", "JIT_TRACE": "ok"}
    assert "needs Ray" not in ran.err + ran.out
    ran = sweep("+model=mlp", "conversion=EAGER", "dry_run=true", env={"PYTHONPATH": path})
    assert ran.code != 0  # the default is Ray, so it was blocked
