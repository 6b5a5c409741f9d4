"""A conversion chosen from a sweep, and the script that makes it again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import QUICKLY, Sweep
from tests.e2e.test_compare import as_if_undisturbed

EARLIER = Path(__file__).with_name("version_before") / "convert.py.txt"
"""A script that an earlier version emitted, as it was."""


def checks_of(script: Path) -> tuple[int, dict[str, str], str]:
    """The exit code of a script, what it says of each figure by its name, and what went wrong."""
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=script.parent)
    lines = [line for line in ended.stdout.splitlines() if "REPRODUCED" in line.upper()]
    return ended.returncode, dict(line.split(": ", 1) for line in lines), ended.stderr


@pytest.mark.slow
def test_the_choice_is_made_again_by_its_script(sweep: Sweep) -> None:
    ran = sweep("+model=mlp", "conversion=FP16+EAGER,NO_SUCH", "batch_size=2,4", "dispatch=serial", *QUICKLY)
    as_if_undisturbed(ran.run)
    run = str(ran.run)
    all_ = sweep(run, "--json", module="sweep.pick")
    assert all_.code == 0, all_.err
    groups = json.loads(all_.out)["groups"]
    assert [group["best"]["conversion"] for group in groups] == ["FP16+EAGER"] * 2
    assert [group["passed_over"][-1]["conversion"] for group in groups] == ["NO_SUCH"] * 2
    assert sweep(run, "--p50-under=1e-9", module="sweep.pick").code == 1
    several = sweep(run, "--emit=python", module="sweep.pick")
    assert (several.code, several.out) == (2, "")
    assert "--batch" in several.err
    assert "batch 4" in several.err

    emitted = sweep(run, "--batch=4", "--emit=python", module="sweep.pick")
    assert (emitted.code, emitted.err) == (0, "")
    program = ran.folder / "again.py"
    program.write_text(emitted.out)
    code, checks, err = checks_of(program)
    assert list(checks) == ["threads", "speed-up", "rel. L2 error", "engine"], err
    for name in ("threads", "rel. L2 error", "engine"):
        assert checks[name].endswith(": reproduced"), checks
    assert code == (0 if checks["speed-up"].endswith(": reproduced") else 1)
    assert "1, reported 1" in checks["threads"]


def test_a_script_of_an_earlier_version_says_that_it_is(tmp_path: Path) -> None:
    script = tmp_path / "earlier.py"
    script.write_text(EARLIER.read_text())
    code, _, err = checks_of(script)
    assert code == 1
    assert "this script was written by an earlier version of sweep" in err


def test_what_is_not_there_is_told(sweep: Sweep) -> None:
    nothing = sweep("nowhere", module="sweep.pick")
    assert nothing.code == 2
    assert "there is no sweep in nowhere" in nothing.err
