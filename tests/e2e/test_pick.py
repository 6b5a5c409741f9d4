"""A conversion chosen from a sweep, and the script that makes it again."""

import json
import subprocess
import sys

from tests.e2e.conftest import Sweep
from tests.e2e.test_compare import QUICKLY


def test_the_choice_is_made_again_by_its_script(sweep: Sweep) -> None:
    ran = sweep(
        "+model=mlp", "conversion=FP16+EAGER,NO_SUCH", "batch_size=2,4", "threads=1", "dispatch=serial", *QUICKLY
    )
    run = str(ran.run)
    all_ = sweep(run, "--json", module="sweep.pick")
    assert all_.code == 0, all_.err
    groups = json.loads(all_.out)["groups"]
    assert [one["best"]["conversion"] for one in groups] == ["FP16+EAGER"] * 2
    assert [one["passed_over"][-1]["conversion"] for one in groups] == ["NO_SUCH"] * 2
    assert sweep(run, "--p50-under=1e-9", module="sweep.pick").code == 1
    several = sweep(run, "--emit=python", module="sweep.pick")
    assert (several.code, several.out) == (2, "")
    assert "--batch" in several.err
    assert "batch 4" in several.err

    emitted = sweep(run, "--batch=4", "--emit=python", module="sweep.pick")
    assert (emitted.code, emitted.err) == (0, "")
    program = ran.folder / "again.py"
    program.write_text(emitted.out)
    again = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False, cwd=ran.folder)
    said = dict(line.split(": ", 1) for line in again.stdout.splitlines() if "REPRODUCED" in line.upper())
    assert list(said) == ["threads", "speed-up", "rel. L2 error", "engine"], again.stderr
    for what in ("threads", "rel. L2 error", "engine"):
        assert said[what].endswith(": reproduced"), said
    assert again.returncode == (0 if said["speed-up"].endswith(": reproduced") else 1)
    assert "1, reported 1" in said["threads"]


def test_what_is_not_there_is_told(sweep: Sweep) -> None:
    nothing = sweep("nowhere", module="sweep.pick")
    assert nothing.code == 2
    assert "there is no sweep in nowhere" in nothing.err
