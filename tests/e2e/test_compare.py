"""Two sweeps compared, as a person or a pipeline asks for it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Ran, Sweep, sweep_in

QUICKLY = ("measure=quick", "measure.min_seconds=0.2", "measure.max_seconds=0.5", "measure.max_warmup_seconds=0.2")


@pytest.fixture(scope="module")
def swept_once(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    sweep = sweep_in(tmp_path_factory.mktemp("swept"))
    ran = sweep("+model=mlp", "conversion=EAGER,JIT_TRACE", "dispatch=serial", *QUICKLY)
    assert ran.statuses() == {"EAGER": "ok", "JIT_TRACE": "ok"}, ran.out
    return ran


@pytest.fixture
def swept(swept_once: Ran, weird_path: Path) -> Ran:
    """The same run for each test, in a folder of its own."""
    shutil.copytree(swept_once.folder, weird_path, dirs_exist_ok=True)
    return replace(swept_once, folder=weird_path)


def copied(run: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """The same run again, its rows changed."""
    other = run.parents[2] / name
    shutil.copytree(run, other)
    rows = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    for row in rows:
        change(row)
    (other / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return other


def slower(run: Path) -> Path:
    """The same run again, but that every call of JIT_TRACE takes 20 times as long."""

    def change(row: dict[str, Any]) -> None:
        if row["conversion"] == "JIT_TRACE":
            row["latency_ms"] = {
                name: figure if name in {"n", "processes"} else 20 * figure
                for name, figure in row["latency_ms"].items()
            }

    other = copied(run, "slower", change)
    (samples,) = other.glob("cells/*jit*/samples.json")
    said = json.loads(samples.read_text())
    said["processes"][0]["conversion"] = [20 * seconds for seconds in said["processes"][0]["conversion"]]
    samples.write_text(json.dumps(said))
    return other


def test_what_is_slower_is_named_and_makes_the_exit_code(swept: Ran, sweep: Sweep) -> None:
    run = str(swept.run)
    other = str(slower(swept.run))
    same = sweep(run, run, "--all", module="sweep.compare")
    assert (same.code, same.err) == (0, "")
    assert "0 slower, 0 faster, 2 no difference" in same.out
    assert "\x1b" not in same.out
    home = {"HOME": str(swept.folder)}  # what a shell did not make a path of is one nevertheless
    worse = sweep(run, f"~/{Path(other).name}", module="sweep.compare", env=home)
    assert worse.code == 1, worse.err
    assert "1 slower, 0 faster, 1 no difference" in worse.out
    assert "JIT_TRACE" in worse.out.partition("Slower: 1")[2]
    assert "20.000" in worse.out
    assert sweep(other, run, module="sweep.compare").code == 0
    both = sweep(run, run, other, "--format=json", "--output=it.json", module="sweep.compare")
    assert (both.code, both.out) == (1, "")
    said = json.loads((both.folder / "it.json").read_text())
    assert [len(one["timed"]) for one in said["against"]] == [2, 2]
    assert said["tests"] == {"block": 4}
    page = sweep(run, other, "--format=html", module="sweep.compare").out
    assert page.startswith("<!doctype html>")
    assert sweep(run, other, "--format=markdown", module="sweep.compare").out.startswith("**1 slower, 0 faster")


def test_what_cannot_be_compared_is_refused_with_the_reason(swept: Ran, sweep: Sweep) -> None:
    def elsewhere(row: dict[str, Any]) -> None:
        row.update(fingerprint="0000", hardware="Another CPU x64")

    run, other = str(swept.run), str(copied(swept.run, "elsewhere", elsewhere))
    refused = sweep(run, other, module="sweep.compare")
    assert (refused.code, refused.out) == (2, "")
    assert "2 cells" in refused.err
    assert "Another CPU x64 [0000]" in refused.err
    assert next(iter(swept.rows.values()))["hardware"] in refused.err
    assert sweep(run, other, "--unlike-hardware", module="sweep.compare").code == 0
    wrong = sweep("nowhere", run, "not/there", "--threshold=5", module="sweep.compare")
    assert wrong.code == 2
    for named in ("nowhere", "not/there", "--threshold"):
        assert named in wrong.err
    for samples in Path(other).glob("cells/*/samples.json"):
        samples.unlink()
    untested = sweep(run, other, "--unlike-hardware", module="sweep.compare")
    assert "2 not tested" in untested.out
    assert "no samples, not tested" in untested.out
