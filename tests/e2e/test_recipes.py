"""The recipes for clusters do what they say, with stand-ins for the programs of other machines."""

import json
import os
import shlex
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from sweep import reaper

ROOT = Path(__file__).parents[2]
SWEEP = ("+model=mlp", "conversion=EAGER,OPENVINO", "measure=quick", "hydra.sweep.dir=run")


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """One in which `ssh` and `srun` run their command here; whatever it leaves is ended after the test."""
    mark = uuid.uuid4().hex
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    programs = {
        # another machine's python is this one's, and what others have of Ray is not ended
        "python": f'case "$*" in *"s stop"*) echo "$*" >> {tmp_path}/stopped;; *) exec {sys.executable} "$@";; esac',
        "ssh": f'echo "$1" >> {tmp_path}/reached; shift; exec bash -c "$*"',
        "srun": f'echo "$3" >> {tmp_path}/reached; while [ "${{1#--}}" != "$1" ]; do shift; done; exec "$@"',
        "scontrol": "echo $SLURM_NODES | tr ' ' '\\n'",
    }
    for name, text in programs.items():
        (bin_ / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (bin_ / name).chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    yield {
        **os.environ,
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "SWEEP_PYTHON": str(bin_ / "python"),
        "SWEEP_PORT": str(port),
        "SWEEP_PATIENCE": "8",
        "RAY_AUTH_MODE": "disabled",
        "SWEEP_RECIPE": mark,
    }
    reaper.end_all(f"SWEEP_RECIPE={mark}")


def here() -> str:
    """This machine, as Ray names it."""
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())  # type: ignore[no-untyped-call]


def checked(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "run" / "results.jsonl").read_text().splitlines()]
    assert {row["conversion"]: row["status"] for row in rows} == {"EAGER": "ok", "OPENVINO": "invalid"}
    assert len(json.loads((folder / "run" / "sweep.json").read_text())["nodes"]) == 2


@pytest.mark.slow
def test_machines_that_ssh_reaches(environment: dict[str, str], tmp_path: Path) -> None:
    command = [str(ROOT / "recipes" / "bare.sh"), here(), "node2", "--", *SWEEP]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=300)
    checked(tmp_path)
    assert (tmp_path / "reached").read_text().split() == ["node2", "node2"]  # to start and to stop
    assert len((tmp_path / "stopped").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_job_of_slurm(environment: dict[str, str], tmp_path: Path) -> None:
    slurm = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NODES": f"{here()} node2"}
    command = ["bash", str(ROOT / "recipes" / "slurm.sbatch"), *SWEEP]
    subprocess.run(command, env=environment | slurm, cwd=tmp_path, check=True, timeout=300)
    checked(tmp_path)
    assert sorted((tmp_path / "reached").read_text().split()) == sorted([f"--nodelist={here()}", "--nodelist=node2"])


def test_a_job_of_kuberay_plans_what_it_says(tmp_path: Path) -> None:
    job: Any = OmegaConf.load(ROOT / "recipes" / "kuberay.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
    python, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert python == "python"
    arguments.remove("dispatch.address=auto")
    arguments.remove("hydra.sweep.dir=/results/run")
    done = subprocess.run(
        [sys.executable, *arguments, "dry_run=true"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "53 cells planned" in done.stdout
