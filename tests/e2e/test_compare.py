"""Two sweeps compared, as a person or a pipeline asks for it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import QUICKLY, Ran, Sweep, sweep_in


@pytest.fixture(scope="module")
def swept_once(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    sweep = sweep_in(tmp_path_factory.mktemp("swept"))
    ran = sweep("+model=mlp", "conversion=EAGER,JIT_TRACE", "dispatch=serial", *QUICKLY)
    assert ran.statuses() == {"EAGER": "ok", "JIT_TRACE": "ok"}, ran.out
    return ran


@pytest.fixture
def swept(swept_once: Ran, weird_path: Path) -> Ran:
    """The same run for each test, in a folder of its own, and as if no other test had disturbed it."""
    shutil.copytree(swept_once.folder, weird_path, dirs_exist_ok=True)
    ran = replace(swept_once, folder=weird_path)
    as_if_undisturbed(ran.run)
    return ran


def as_if_undisturbed(run: Path) -> None:
    """Other tests that run meanwhile disturb every trial."""

    def quiet(row: dict[str, Any]) -> None:
        if row["speedup"]:
            row["quality"] = "firm"
            for quotient in row["speedup"]["quotients"]:
                quotient["disturbed"] = False

    change_rows(run, quiet)


def change_rows(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    rows = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    for row in rows:
        change(row)
    (run / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def copied(run: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """The same run again, its rows changed."""
    other = run.parents[2] / name
    shutil.copytree(run, other)
    change_rows(other, change)
    return other


def slower(run: Path) -> Path:
    """The same run again, but that every call of JIT_TRACE takes 20 times as long."""

    def change(row: dict[str, Any]) -> None:
        if row["conversion"] == "JIT_TRACE":
            row["latency_ms"]["p50"] *= 20
            row["speedup"]["value"] /= 20
            for quotient in row["speedup"]["quotients"]:
                quotient["value"] /= 20

    return copied(run, "slower", change)


def on_a_slow_day(run: Path) -> Path:
    """The same run again, but that eager and conversions all take 20 times as long."""

    def change(row: dict[str, Any]) -> None:
        row["latency_ms"]["p50"] *= 20
        row["eager"]["p50_ms"] *= 20

    return copied(run, "slow_day", change)


def of_schema_1(run: Path) -> Path:
    """The same run again, as the first schema has it: only its samples tell what trials found, and ids are others."""

    def change(row: dict[str, Any]) -> None:
        row.update(schema=1, quality=None, id=row["id"][:-3] + "old")
        for name in ("quotients", "decision", "trials"):
            row["speedup"].pop(name, None)
        for name in ("log", "samples"):
            row[name] = f"cells/{row['id']}/{Path(row[name]).name}"

    other = copied(run, "schema_1", change)
    for file in other.glob("cells/*/samples.json"):
        said = json.loads(file.read_text())
        for process in said["processes"]:
            for name in ("eager", "conversion"):
                process[name] = [sample for block in process[name] for sample in block]
        file.write_text(json.dumps(said))
        file.parent.rename(file.parent.with_name(file.parent.name[:-3] + "old"))
    about = json.loads((run / "sweep.json").read_text())
    plan = [f"{id_[:-3]}old" for id_ in about["plan"]]
    (other / "sweep.json").write_text(json.dumps(about | {"schema": 1, "plan": plan}))
    return other


def test_what_is_slower_is_named_and_makes_the_exit_code(swept: Ran, sweep: Sweep) -> None:
    run = str(swept.run)
    other = str(slower(swept.run))
    same = sweep(run, run, "--all", module="sweep.compare")
    assert (same.code, same.err) == (0, "")
    assert "0 slower, 0 faster, 1 no difference" in same.out
    assert "\x1b" not in same.out
    home = {"HOME": str(swept.folder)}  # what a shell did not make a path of is one nevertheless
    worse = sweep(run, f"~/{Path(other).name}", module="sweep.compare", env=home)
    assert worse.code == 1, worse.err
    assert "1 slower, 0 faster, 0 no difference" in worse.out
    assert "JIT_TRACE" in worse.out.partition("Slower: 1")[2]
    assert "0.050" in worse.out
    assert "20.000" in worse.out
    assert sweep(other, run, module="sweep.compare").code == 0
    both = sweep(run, run, other, "--format=json", "--output=it.json", module="sweep.compare")
    assert (both.code, both.out) == (1, "")
    said = json.loads((both.folder / "it.json").read_text())
    assert [len(one["timed"]) for one in said["against"]] == [1, 1]
    assert said["tests"] == 2
    page = sweep(run, other, "--format=html", module="sweep.compare").out
    assert page.startswith("<!doctype html>")
    assert sweep(run, other, "--format=markdown", module="sweep.compare").out.startswith("**1 slower, 0 faster")


def test_a_slow_day_is_said_and_no_alarm(swept: Ran, sweep: Sweep) -> None:
    ran = sweep(str(swept.run), str(on_a_slow_day(swept.run)), module="sweep.compare")
    assert ran.code == 0, ran.out
    assert "0 slower, 0 faster, 1 no difference" in ran.out
    assert "eager moved by 20.000" in ran.out
    assert "the machine or its load changed" in ran.out.partition("Eager itself moved: 1")[2]


def test_a_run_of_the_first_schema_is_compared_by_its_samples(swept: Ran, sweep: Sweep) -> None:
    folders = str(of_schema_1(swept.run)), str(swept.run)
    ran = sweep(*folders, "--all", "--threshold=50%", module="sweep.compare")  # its samples were not meant for that
    assert ran.code == 0, ran.out + ran.err
    assert "0 slower, 0 faster, 1 no difference" in ran.out
    assert "1 of them have a side of an earlier version" in ran.out


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
    earlier = of_schema_1(swept.run)
    for samples in earlier.glob("cells/*/samples.json"):
        samples.unlink()
    untested = sweep(run, str(earlier), module="sweep.compare")
    assert "1 not tested" in untested.out
    assert "no samples, not tested" in untested.out
