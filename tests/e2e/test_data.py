"""A model trained on real data, swept with that data: what its conversions keep of what it learned."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import QUICKLY, Ran, Sweep
from tests.e2e.test_compare import as_if_undisturbed
from tests.process import digits

CALIBRATED = ("NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED", "OPTIMUM_QUANTO_AI8WI8", "EXPORT+AI8WI8_FLOAT_QUANTIZED")
CONVERSIONS = ("EAGER", "ONNX_CPU", "BF16+EAGER", "OPTIMUM_QUANTO_WI8", "OPTIMUM_QUANTO_WI4", *CALIBRATED)

MODEL = """
_target_: digits.Digits
checkpoint: weights.pt
"""  # no input: its data says what it is called with

DATA = """
_target_: digits.loader
metric: digits.accuracy
allowed_drop: 0.02
calibration: 8
"""


@pytest.fixture
def trained(weird_path: Path) -> Path:
    """A folder with the trained model, its code and its configs."""
    (weird_path / "digits.py").write_text(Path(digits.__file__).read_text())
    subprocess.run(
        [sys.executable, "-c", "import digits, pathlib; digits.trained(pathlib.Path('weights.pt'))"],
        cwd=weird_path,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
        },  # two threads, and other tests beside them, would wait for each other
        check=True,
    )
    for name, text in {"model/digits": MODEL, "data/digits": DATA}.items():
        path = weird_path / "my_conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return weird_path


def swept(sweep: Sweep, *arguments: str) -> Ran:
    ran = sweep("--config-dir=my_conf", "+model=digits", "dispatch=serial", "batch_size=50", *arguments, *QUICKLY)
    assert ran.code == 0, ran.err
    return ran


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_honest_int8_keeps_what_was_learned_and_broken_int8_does_not(sweep: Sweep) -> None:
    built_once = "exclude=[{conversion: OPTIMUM_QUANTO_WI4, data.calibration: 0}]"  # its kernels, which takes a minute
    ran = swept(sweep, "+data=digits", "data.calibration=8,0", f"conversion={','.join(CONVERSIONS)}", built_once)
    rows = [json.loads(line) for line in (ran.run / "results.jsonl").read_text().splitlines()]
    honest = {row["conversion"]: row for row in rows if row["overrides"]["data.calibration"] == "8"}
    broken = {row["conversion"]: row for row in rows if row["overrides"]["data.calibration"] == "0"}
    assert {name: row["status"] for name, row in honest.items()} == dict.fromkeys(CONVERSIONS, "ok")
    for name, row in honest.items():
        assert row["metric"]["eager"] > 0.9
        assert row["metric"]["samples"] == digits.TESTED
        assert row["metric"]["drop"] <= 0.02
        assert ("calibrated-on-your-data" in row["compat"]) == (name in CALIBRATED)
        assert f"accuracy {row['metric']['value']:.4g}, eager {row['metric']['eager']:.4g}" in row["message"]
        assert {found["kind"] for found in row["found"]} >= {"data"}
    native = broken["NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED"]
    assert (native["status"], native["reason"]) == ("mismatch", "output")
    assert native["metric"]["drop"] > 0.02
    assert "is lost, 0.02 is allowed: do not ship it" in native["message"]
    assert all(broken[name]["status"] == "ok" for name in ("EAGER", "ONNX_CPU", "OPTIMUM_QUANTO_WI8"))


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_the_choice_changes_when_less_may_be_lost(sweep: Sweep) -> None:
    int8 = "NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED"
    options = ("+data=digits", "data.metric=digits.loss", "+data.higher_is_better=false", "data.calibration=1")
    ran = swept(sweep, *options, f"conversion=EAGER,{int8}")
    drop = ran.rows[int8]["metric"]["drop"]
    as_if_undisturbed(ran.run)

    def chosen(most: float) -> dict[str, Any]:
        said = sweep(str(ran.run), f"--max-metric-drop={most}", "--json", module="sweep.pick")
        (group,) = json.loads(said.out)["groups"]
        return {"best": group["best"]["conversion"], "passed over": [o["conversion"] for o in group["passed_over"]]}

    assert drop > 0
    assert chosen(drop * 2) == {"best": int8, "passed over": []}
    assert chosen(drop / 2) == {"best": "EAGER", "passed over": [int8]}


@pytest.mark.usefixtures("trained")
def test_data_that_cannot_be_used_is_said_in_a_row_and_ends_no_sweep(sweep: Sweep) -> None:
    targets = ("digits.shuffled_anew", "digits.nosuch", "digits.loader")
    ran = swept(
        sweep, "+data=digits", f"data._target_={','.join(targets)}", "data.metric=math.floor", "conversion=EAGER"
    )
    rows = [json.loads(line) for line in (ran.run / "results.jsonl").read_text().splitlines()]
    assert {f"{row['status']}/{row['reason']}" for row in rows} == {"invalid/bad-data"}
    said = " ".join(row["message"] for row in rows)
    assert "target 'digits.nosuch': digits has no 'nosuch'" in said
    assert "its metric: TypeError" in said
