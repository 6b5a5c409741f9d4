"""Sweeps on machines that lack something that others have, or have it otherwise."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MARK
from tests.e2e.conftest import QUICKLY, Sweep, sweep_in

HELPERS = Path(__file__).parents[1] / "process" / "misbehaving.py"
DISPATCHES = ["serial", pytest.param("ray", marks=pytest.mark.slow)]


def rows(run: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    assert sorted(json.loads((run / "sweep.json").read_text())["plan"]) == sorted(row["id"] for row in found)
    return {row["conversion"]: row for row in found}


def statuses(run: Path) -> dict[str, str]:
    return {name: row["status"] for name, row in rows(run).items()}


@pytest.mark.slow
def test_without_a_compiler_what_needs_one_is_skipped_and_the_rest_runs(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "no compiler").mkdir()
    bare = {"PATH": str(tmp_path / "no compiler"), "CXX": "g++"}
    needing = ("COMPILE_INDUCTOR_DEFAULT", "EXPORT+AOT_INDUCTOR", "OPTIMUM_QUANTO_WI4")
    command = ("+model=mlp", f"conversion=EAGER,ONNX_CPU,{','.join(needing)}")
    ran = sweep(*command, "dispatch=serial", *QUICKLY, env=bare)
    assert ran.statuses() == {"EAGER": "ok", "ONNX_CPU": "ok"} | dict.fromkeys(needing, "skipped/needs-package"), (
        ran.err
    )
    for name in needing:
        said = "needs a C++ compiler: apt-get install g++, or name the one there is in CXX"
        assert ran.rows[name]["message"] == said
    compiler = shutil.which("g++")
    assert compiler
    named = sweep(*command, "dry_run=true", env=bare | {"CXX": compiler})  # found again, though it is on no path
    assert "5 cells planned: 5 would run, 0 would not." in named.out


NOBODY_IS_LISTED = """
import pwd

def getpwuid(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = getpwuid
"""


@pytest.fixture
def short_folder() -> Iterator[str]:
    """A temporary folder whose name leaves room for those of sockets."""
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.mark.slow
def test_a_user_of_whom_only_the_number_is_known(weird_path: Path, short_folder: str) -> None:
    """As in a container that is started with any number: no name, no home, and none of the usual variables."""
    as_nobody = ["unshare", "--user", "--map-user=12345"]
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", MARK) if name in os.environ}
    if not shutil.which("unshare") or subprocess.run([*as_nobody, "true"], check=False, capture_output=True).returncode:
        as_nobody = []  # without user namespaces the list of users is what nobody is in
        folder = Path(short_folder) / "site"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(NOBODY_IS_LISTED)
        kept["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [kept.get("PYTHONPATH")])])
    command = [*as_nobody, sys.executable, "-m", "sweep", "+model=mlp", "conversion=EAGER,COMPILE_INDUCTOR_DEFAULT"]
    ended = subprocess.run(
        [*command, "hydra.sweep.dir=run", *QUICKLY],
        cwd=weird_path,
        env={**kept, "TMPDIR": short_folder},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert statuses(weird_path / "run") == dict.fromkeys(["EAGER", "COMPILE_INDUCTOR_DEFAULT"], "ok"), ended.stdout
    assert (Path(short_folder) / f"sweep-home-{12345 if as_nobody else os.getuid()}" / ".cache" / "sweep").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_folder_with_a_colon_and_spaces(weird_path: Path, start: str) -> None:
    """In the name of the run folder, and in that of the folder that the user's model is imported from."""
    here = weird_path / "a:b c"
    (here / "conf" / "model").mkdir(parents=True)
    (here / "mine.py").write_text(HELPERS.read_text())
    (here / "conf" / "model" / "mine.yaml").write_text("_target_: mine.Misbehaving\nhow: well\ninput: {shape: [8]}\n")
    command = ("--config-dir", "conf", "+model=mine", "conversion=EAGER,JIT_TRACE", f"isolate.start={start}")
    ran = sweep_in(here)(*command, "dispatch=serial", "hydra.sweep.dir='run: x'", *QUICKLY)
    assert ran.code == 0, ran.out + ran.err
    assert statuses(here / "run: x") == {"EAGER": "ok", "JIT_TRACE": "ok"}, ran.out
    again = sweep_in(here)("resume='run: x'")
    assert "2 cells planned, 2 done before, 0 to run" in again.out, again.err


def test_a_folder_whose_name_is_no_utf_8_is_said_in_one_line(weird_path: Path) -> None:
    command = [sys.executable, "-m", "sweep", "+model=mlp"]
    named = subprocess.run(
        [*command, b"hydra.sweep.dir=run\xff"], cwd=weird_path, capture_output=True, text=True, check=False
    )
    assert (named.returncode, named.stdout) == (2, "")
    assert named.stderr == ("sweep: the name of this folder is no UTF-8: hydra.sweep.dir=run?; give it another name\n")
    here = weird_path / os.fsdecode(b"h\xff")
    here.mkdir()
    started = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert (started.returncode, started.stdout) == (2, "")
    assert started.stderr.startswith("sweep: the name of this folder is no UTF-8: ")
    assert len(started.stderr.splitlines()) == 1
    assert list(weird_path.iterdir()) == [here]


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_with_its_standard_streams_closed_it_does_the_same(weird_path: Path, dispatch: str) -> None:
    def ran(*arguments: str) -> int:
        command = ["sh", "-c", 'exec "$0" -m sweep "$@" <&- >&- 2>&-', sys.executable, *arguments]
        return subprocess.run(command, cwd=weird_path, check=False).returncode

    asked = ("+model=mlp", "conversion=EAGER,JIT_TRACE,EGAER", f"dispatch={dispatch}", *QUICKLY)
    assert ran(*asked, "hydra.sweep.dir=run", "fail_on=[invalid]") == 1
    assert statuses(weird_path / "run") == {"EAGER": "ok", "JIT_TRACE": "ok", "EGAER": "invalid"}
    assert "JIT_TRACE" in (weird_path / "run" / "matrix.md").read_text()
    assert ran(*asked, "hydra.sweep.dir=run") == 2  # it is taken
    assert ran("resume=run") == 1  # as was asked then
    assert statuses(weird_path / "run") == {"EAGER": "ok", "JIT_TRACE": "ok", "EGAER": "invalid"}


@pytest.mark.slow
def test_a_temporary_folder_with_a_name_too_long_for_sockets(sweep: Sweep, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    ran = sweep("+model=mlp", "conversion=EAGER,COMPILE_INDUCTOR_DEFAULT", *QUICKLY, env={"TMPDIR": str(folder)})
    assert ran.code == 0, ran.out + ran.err
    assert ran.statuses() == {"EAGER": "ok", "COMPILE_INDUCTOR_DEFAULT": "ok"}
