"""What a person types, and what comes of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import QUICKLY, Sweep


def test_a_misspelt_grid_has_a_row_for_every_name(sweep: Sweep) -> None:
    ran = sweep("+model=mlp", "conversion=EAGER,COMPILE_INDUCTOR,ONNX_CPU,OPENVINO", "-m", *QUICKLY)
    assert ran.code == 0, ran.err
    assert ran.statuses() == {
        "COMPILE_INDUCTOR": "invalid/unknown-conversion",
        "OPENVINO": "invalid/unknown-conversion",
        "EAGER": "ok",
        "ONNX_CPU": "ok",
    }
    assert "did you mean COMPILE_INDUCTOR_DEFAULT?" in ran.rows["COMPILE_INDUCTOR"]["message"]
    assert "did you mean COMPILE_OPENVINO?" in ran.rows["OPENVINO"]["message"]
    assert "\x1b" not in ran.out
    assert ran.err == ""


@pytest.mark.slow
def test_the_quick_preset_on_resnet_is_four_proved_rows(sweep: Sweep) -> None:
    ran = sweep("+model=resnet", *QUICKLY)
    assert ran.code == 0, ran.err
    assert ran.statuses() == dict.fromkeys(["EAGER", "COMPILE_INDUCTOR_DEFAULT", "ONNX_CPU", "COMPILE_OPENVINO"], "ok")
    for row in ran.rows.values():
        assert row["latency_ms"]["n"] >= 4  # a call takes longer than a block
        assert row["latency_ms"]["min"] <= row["latency_ms"]["p50"] <= row["latency_ms"]["max"]
        assert row["latency_ms"]["p50_low"] <= row["latency_ms"]["p50"] <= row["latency_ms"]["p50_high"]
        assert row["speedup"]["low"] <= row["speedup"]["value"] <= row["speedup"]["high"]
        (quotient,) = row["speedup"]["quotients"]
        assert row["speedup"]["value"] == pytest.approx(quotient["value"])
        build, eager, *phases, total, waited = row["seconds"].values()
        assert all(seconds > 0 for seconds in (build, *phases)), row["seconds"]
        assert sum(phases) <= total
        assert min(eager, waited) >= 0
        assert row["memory_mb"]["rss_peak"] > 10
        assert row["fidelity"]["inputs"] == 8
        assert row["versions"]["torch"]
        assert (ran.run / row["log"]).is_file()
        processes = json.loads((ran.run / row["samples"]).read_text())["processes"]
        assert len(processes) == row["latency_ms"]["processes"] == 1
        assert sum(len(block) for process in processes for block in process["conversion"]) == row["latency_ms"]["n"]
    assert sum(row["seconds"]["eager"] > 0 for row in ran.rows.values()) == 1  # one control for all
    openvino = ran.rows["COMPILE_OPENVINO"]
    assert openvino["engine"]["actual"] == "openvino"
    assert openvino["fidelity"]["tolerance_class"] == openvino["engine"]["precision"]
    assert {path.name for path in ran.run.iterdir()} >= {
        "sweep.json",
        "results.jsonl",
        "matrix.csv",
        "matrix.md",
        "matrix.json",
        "cells",
    }
    plan = json.loads((ran.run / "sweep.json").read_text())["plan"]
    assert sorted(plan) == sorted(row["id"] for row in ran.rows.values())


@pytest.mark.slow
def test_a_models_failures_are_its_own(sweep: Sweep, weird_path: Path) -> None:
    """The user's own model, found in the working folder, by a config of their own."""
    helpers = Path(__file__).parent.parent / "process" / "misbehaving.py"
    (weird_path / "mine.py").write_text(helpers.read_text())
    (weird_path / "conf" / "model").mkdir(parents=True)
    ways = {"segfault": "signal", "raise": "raised", "sys.exit": "exited", "hang": "timeout", "os._exit": "no-report"}
    for number, how in enumerate([*ways, "well"]):
        (weird_path / "conf" / "model" / f"m{number}.yaml").write_text(
            f"_target_: mine.Misbehaving\nhow: {how}\ninput: {{shape: [8]}}\n"
        )
    models = ",".join(f"m{number}" for number in range(len(ways) + 1))
    ran = sweep(
        *("--config-dir", "conf", f"+model={models}", "conversion=JIT_TRACE", "limits.eager=5"),
        *("dispatch=serial", "fail_on=[crashed]", *QUICKLY),
    )
    assert ran.code == 1, ran.err
    rows = [json.loads(line) for line in (ran.run / "results.jsonl").read_text().splitlines()]
    assert [row["reason"] for row in rows] == [*ways.values(), None]
    assert [row["status"] for row in rows] == ["crashed"] * len(ways) + ["ok"]


@pytest.mark.slow
def test_a_checkpoint_beside_the_user_is_loaded(sweep: Sweep, weird_path: Path) -> None:
    import torch

    layer = torch.nn.Linear(8, 4)
    torch.save(layer.state_dict(), weird_path / "weights.pt")
    (weird_path / "conf" / "model").mkdir(parents=True)
    (weird_path / "conf" / "model" / "linear.yaml").write_text(
        "_target_: torch.nn.Linear\nin_features: 8\nout_features: 4\ninput: {shape: [8]}\ncheckpoint: weights.pt\n"
    )
    command = ("--config-dir", "conf", "+model=linear", "conversion=EAGER", "dispatch=serial", *QUICKLY)
    ran = sweep(*command, "batch_size=3")
    assert ran.statuses() == {"EAGER": "ok"}, ran.out + ran.err
    assert (ran.rows["EAGER"]["batch_size"], ran.rows["EAGER"]["threads"]) == (3, 1)
    (weird_path / "weights.pt").write_bytes(b"torn")
    ran.run.rename(weird_path / "before")
    assert sweep(*command).statuses() == {"EAGER": "invalid/bad-model"}


def test_the_plan_can_be_seen_without_running_it(sweep: Sweep) -> None:
    ran = sweep("+model=mlp", "conversions=all", "device=cpu,cuda", "dry_run=true")
    assert ran.code == 0, ran.err
    assert ran.out.count("invalid/unimplemented-conversion") == 2
    assert "144 cells planned: 45 would run, 99 would not." in ran.out
    assert not list(ran.folder.rglob("sweep.json"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "sweep: which model? Name one with +model=NAME, such as +model=resnet\n"),
        (["+model=resnt"], "sweep: unknown model 'resnt': did you mean resnet or resnet50?\n"),
        (["+model=mlp", "nonsense=1"], "Could not override 'nonsense'."),
        (["+model=mlp", "conversion=OPENVINO,EAGER", "on_invalid=abort"], "sweep: unknown conversion 'OPENVINO'"),
        (["+model=mlp", "conversion=OPENVINO,JIT", "on_invalid=abort"], "sweep: 2 problems\n"),
        (["+model=mlp", "conversion=[]"], "nothing to run"),
    ],
)
def test_a_wrong_request_runs_nothing_and_says_what_to_do(sweep: Sweep, arguments: list[str], said: str) -> None:
    ran = sweep(*arguments)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""
    assert not list(ran.folder.rglob("sweep.json"))


def test_help_needs_neither_torch_nor_ray(weird_path: Path) -> None:
    code = (
        "import sys; from sweep.__main__ import main; code = main(['--help']); "
        "heavy = {'torch', 'ray', 'alma', 'torchvision', 'openvino', 'onnxruntime'} & set(sys.modules); "
        "sys.exit(repr(heavy) if heavy else code)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=weird_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "+model=resnet" in ended.stdout
    assert "mobilenet" in ended.stdout


@pytest.mark.slow
def test_ctrl_c_ends_the_cells_and_keeps_the_rows(weird_path: Path) -> None:
    command = [sys.executable, "-m", "sweep", "+model=mlp", "conversion=EAGER,COMPILE_INDUCTOR_DEFAULT,JIT_TRACE"]
    process = subprocess.Popen(
        [*command, *QUICKLY], cwd=weird_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not (journals := list(weird_path.glob("multirun/*/*/results.jsonl"))) or not journals[0].read_text():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    assert process.returncode == 3, out
    rows = [json.loads(line) for line in journals[0].read_text().splitlines()]
    assert {row["conversion"] for row in rows} == {"EAGER", "COMPILE_INDUCTOR_DEFAULT", "JIT_TRACE"}
    assert rows[0]["status"] == "ok"
    assert {row["reason"] for row in rows[1:]} == {"interrupted"}
    assert (journals[0].parent / "matrix.md").is_file()


@pytest.mark.slow
def test_an_installed_wheel_in_an_empty_folder_does_the_same(sweep: Sweep, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, root], check=True)
    (wheel,) = wheels.glob("sweep-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    installed = {"PYTHONPATH": str(site)}
    where = subprocess.run(
        [sys.executable, "-c", "from sweep.request import compose; print(compose.sweep.__file__, compose.conf_dir())"],
        env={**os.environ, **installed},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.split() == [str(site / "sweep/__init__.py"), str(site / "sweep/conf")]
    command = [str(site / "bin" / "sweep"), "pick", "--help"]
    environment = {**os.environ, **installed}
    program = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "bin/sweep pick" in program.stdout
    from_wheel = sweep("+model=mlp", "conversion=EAGER,ONNX_CPU,OPENVINO,COMPILE_TVM", *QUICKLY, env=installed)
    statuses, ids = from_wheel.statuses(), {row["id"] for row in from_wheel.rows.values()}
    from_wheel.run.rename(tmp_path / "wheel-run")
    from_checkout = sweep("+model=mlp", "conversion=EAGER,ONNX_CPU,OPENVINO,COMPILE_TVM", *QUICKLY)
    assert from_checkout.statuses() == statuses
    assert statuses["ONNX_CPU"] == "ok"
    assert {row["id"] for row in from_checkout.rows.values()} == ids


@pytest.mark.slow
def test_a_space_in_the_path_of_the_environment_breaks_no_compiler(weird_path: Path, tmp_path: Path) -> None:
    environment = tmp_path / "with a space"
    environment.symlink_to(sys.prefix)
    conversion = "conversion=COMPILE_INDUCTOR_DEFAULT,OPTIMUM_QUANTO_WI4"
    program = [str(environment / "bin/python"), "-m", "sweep"]
    command = [*program, "+model=mlp", conversion, "dispatch=serial", *QUICKLY]
    ended = subprocess.run(command, cwd=weird_path, capture_output=True, text=True, check=False)
    (journal,) = weird_path.glob("multirun/*/*/results.jsonl")
    inductor, quanto = (json.loads(line) for line in journal.read_text().splitlines())
    assert inductor["status"] == "ok", inductor["message"] + ended.stderr
    assert "inductor-library-paths-quoted" in inductor["compat"]
    assert quanto["status"] == "ok", quanto["message"] + ended.stderr
    assert "extension-library-paths-quoted" in quanto["compat"]
