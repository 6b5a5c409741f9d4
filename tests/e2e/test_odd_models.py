"""What is odd about a model is said of the model, and its conversions are judged fairly all the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import QUICKLY, sweep_in

HERE = Path(__file__).parent

ODD: dict[str, tuple[str, str, str]] = {
    # EAGER, JIT_TRACE, what is found of the model
    "FrozenNorm": ("ok", "ok", ""),
    "Profiled": ("ok", "ok", ""),
    "ScoresAndBoxes": ("ok", "mismatch/output", ""),
    "Labels": ("ok", "ok", ""),
    "Filtered": ("ok", "ok", ""),
    "FindsNothing": ("unproved/output", "unproved/output", ""),
    "Remembers": ("ok", "crashed/raised", "memory"),
    "SetsThreads": ("ok", "ok", "threads"),
    "Clamps": ("ok", "ok", "input"),
    "Saturates": ("ok", "ok", "insensitive"),
    "GoesOn": ("ok", "mismatch/output", "latency"),
    "Noisy": ("unproved/output", "unproved/output", "random"),
    "Counts": ("unproved/output", "crashed/raised", "state"),
    "Typed": ("ok", "crashed/raised", ""),
    "Spectrum": ("ok", "crashed/raised", ""),
    "Double": ("mismatch/engine", "mismatch/engine", "dtype"),
    "Amplifies": ("ok", "ok", "rounding"),
    "Hooked": ("mismatch/output", "ok", "hooks"),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("odd models")
    shutil.copy(HERE / "odd.py", folder / "odd.py")
    (folder / "conf" / "model").mkdir(parents=True)
    for name in ODD:
        dtype = ", dtype: float64" if name == "Double" else ""
        (folder / "conf" / "model" / f"{name}.yaml").write_text(
            f"_target_: odd.{name}\ninput: {{shape: [32]{dtype}}}\n"
        )
    ran = sweep_in(folder)(
        *("--config-dir", "conf", f"+model={','.join(ODD)}", "conversion=EAGER,JIT_TRACE"),
        *("dispatch=serial", "batch_size=2", *QUICKLY),
    )
    assert ran.code == 0, ran.err
    found = [json.loads(line) for line in (ran.run / "results.jsonl").read_text().splitlines()]
    return {(row["model"], row["conversion"]): row for row in found} | {("", ""): {"out": ran.out}}


def verdict(row: dict[str, Any]) -> str:
    return f"{row['status']}/{row['reason']}" if row["reason"] else str(row["status"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_it_is_found_once_and_no_conversion_is_blamed(rows: dict[tuple[str, str], dict[str, Any]], name: str) -> None:
    eager, traced, found = ODD[name]
    row = rows[name, "EAGER"]
    assert verdict(row) == eager, row["message"]
    assert verdict(rows[name, "JIT_TRACE"]) == traced, rows[name, "JIT_TRACE"]["message"]
    kinds = {one["kind"] for one in row["found"]}
    assert kinds - {"latency"} == {found} - {"", "latency"}  # on a busy machine some input may seem to take longer
    assert found in {*kinds, ""}


@pytest.mark.slow
def test_what_is_found_of_a_model_is_shown_once(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    shown = rows["", ""]["out"]
    assert shown.count("The model Clamps changes its input: every call gets a copy of it.") == 1


@pytest.mark.slow
def test_parts_are_told_by_their_paths(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    parts = {one["name"] for one in rows["Typed", "EAGER"]["fidelity"]["outputs"]}
    assert parts == {"logits", "past.layers[0]", "past.layers[1]", "extra.hidden"}
    assert {one["name"] for one in rows["Spectrum", "EAGER"]["fidelity"]["outputs"]} == {"[0]", "[1]"}
    empty = rows["FindsNothing", "EAGER"]["fidelity"]
    assert (empty["rel_l2"], empty["cosine"]) == (None, None)
    assert rows["Labels", "EAGER"]["fidelity"]["differing_share"] == 0
    boxes = rows["ScoresAndBoxes", "JIT_TRACE"]
    assert "in its worst column" in boxes["message"] or "in its smaller values" in boxes["message"]
