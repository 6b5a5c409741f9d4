"""The recipes for clusters do what they say, with stand-ins for the programs of other machines."""

import importlib.util
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
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
        # another machine's python is this one's; `ray stop` would end the Ray of whoever has one here
        "python": f'case "$*" in *"s stop"*) exit 1;; *) exec {sys.executable} "$@";; esac',
        "ssh": f'echo "$1" >> {tmp_path}/reached; shift; exec bash -c "$*"',
        "srun": f'echo "$3" >> {tmp_path}/reached; while [ "${{1#--}}" != "$1" ]; do shift; done; exec "$@"',
        "scontrol": "echo $SLURM_NODES | tr ' ' '\\n'",
    }
    for name, text in programs.items():
        (bin_ / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (bin_ / name).chmod(0o755)
    yield {
        **os.environ,
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "SWEEP_PYTHON": str(bin_ / "python"),
        "SWEEP_PORT": str(free_port()),
        "RAY_AUTH_MODE": "disabled",
        "SWEEP_RECIPE": mark,
    }
    reaper.end_all(f"SWEEP_RECIPE={mark}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port


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
    assert (tmp_path / "reached").read_text().split() == ["node2"]
    assert not rays(environment)
    journal = (tmp_path / "run" / "results.jsonl").read_bytes()
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "run" / "results.jsonl").read_bytes() == journal  # it was done


@pytest.mark.slow
def test_a_signal_for_the_recipe_is_one_for_its_sweep(environment: dict[str, str], tmp_path: Path) -> None:
    options = ("+model=mlp", "conversion=EAGER,JIT_TRACE", "batch_size=1,2,3,4", "measure=quick", "threads=1")
    command = [str(ROOT / "recipes" / "bare.sh"), here(), "--", *options, "hydra.sweep.dir=run"]
    recipe = subprocess.Popen(command, env=environment, cwd=tmp_path)
    journal = tmp_path / "run" / "results.jsonl"
    while not (journal.exists() and journal.read_text()):
        assert recipe.poll() is None
        time.sleep(0.05)
    recipe.send_signal(signal.SIGTERM)
    assert recipe.wait(timeout=120) == 3
    assert not rays(environment)
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) == 8
    assert "interrupted" in {row["reason"] for row in rows}


def rays(environment: dict[str, str]) -> set[int]:
    """What runs of all that was started with this environment."""
    return reaper._marked(f"SWEEP_RECIPE={environment['SWEEP_RECIPE']}")


@pytest.fixture
def anothers(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """Somebody else's Ray, at the port of the environment, and the environment in which its address is `auto`."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        there = {**os.environ, "TMPDIR": folder, "RAY_AUTH_MODE": "disabled"}
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={environment['SWEEP_PORT']}"]
        ports = [f"--ray-client-server-port={free_port()}", "--dashboard-agent-listen-port=0"]
        command = [*ray, *ports, "--include-dashboard=false", "--num-cpus=1", "--disable-usage-stats", "--block"]
        with subprocess.Popen(command, env=there, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            file = Path(folder) / "ray" / "ray_current_cluster"
            try:
                while not file.exists():
                    assert process.poll() is None
                    time.sleep(0.1)
                yield process, there
            finally:
                process.terminate()


ASK = "import ray; ray.init('{}', log_to_driver=False); print(len(ray.nodes()), ray.get_runtime_context().gcs_address)"


def asked(address: str, environment: dict[str, str]) -> tuple[int, str]:
    """How many nodes a Ray has, and where it is."""
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(address)], env=environment, check=True, capture_output=True, text=True
    )
    nodes, where = done.stdout.split()
    return int(nodes), where


@pytest.mark.slow
def test_the_ray_of_somebody_else_is_left_alone(
    environment: dict[str, str], anothers: tuple[subprocess.Popen[bytes], dict[str, str]], tmp_path: Path
) -> None:
    other, there = anothers
    before = asked("auto", there)
    command = [str(ROOT / "recipes" / "bare.sh"), here(), "--", *SWEEP]
    refused = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (
        2,
        f"recipes/bare.sh: port {environment['SWEEP_PORT']} is taken, perhaps by another Ray: "
        "leave SWEEP_PORT out, or name a free one\n",
    )
    elsewhere = {**environment, "SWEEP_PORT": ""}
    subprocess.run(command, env=elsewhere, cwd=tmp_path, check=True, timeout=300)
    assert len(json.loads((tmp_path / "run" / "sweep.json").read_text())["nodes"]) == 1
    assert not rays(environment)
    cluster = [sys.executable, str(ROOT / "scripts" / "local_cluster.py"), "2", "--"]
    ours = subprocess.run(
        [*cluster, "python", "-c", ASK.format("auto")], env=there, check=True, capture_output=True, text=True
    )
    said, (nodes, where) = ours.stdout, ours.stdout.splitlines()[-1].split()
    assert nodes == "2"
    assert f"2 nodes: dispatch.address={where} ({before[1]} is another Ray's" in said
    assert other.poll() is None
    assert asked("auto", there) == before


def test_a_cluster_takes_only_its_own_address_away(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("local_cluster", ROOT / "scripts" / "local_cluster.py")
    assert spec
    assert spec.loader
    local_cluster: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(local_cluster)
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("TMPDIR", folder)
        file = Path(folder) / "ray" / "ray_current_cluster"
        file.parent.mkdir()
        alive = f"127.0.0.1:{listening.getsockname()[1]}"
        for before, meanwhile, after in (
            (None, None, None),  # nobody's: ours is there, and then it is not
            ("127.0.0.1:1", None, None),  # of a Ray that is no more
            (alive, None, alive),
            (None, "127.0.0.1:2", "127.0.0.1:2"),  # written by another that came later
        ):
            file.unlink(missing_ok=True)
            if before:
                file.write_text(before)
            current = local_cluster.CurrentCluster()
            file.write_text("127.0.0.1:3")  # as Ray does
            current.keep_others("127.0.0.1:3")
            if meanwhile:
                file.write_text(meanwhile)
            current.forget_ours()
            assert (file.read_text() if file.exists() else None) == after


@pytest.mark.slow
def test_a_job_that_is_killed_and_requeued_goes_on(environment: dict[str, str], tmp_path: Path) -> None:
    """A queue that ends a job at its worst, with all that belongs to it, and starts the same command again."""
    slurm = {"SLURM_JOB_NODELIST": "node1", "SLURM_NODES": here(), "SLURM_JOB_ID": "17"}
    options = ("+model=mlp", "conversion=EAGER,JIT_TRACE,EGAER", "batch_size=1,2,3,4", "measure=quick", "threads=1")
    command = ["bash", str(ROOT / "recipes" / "slurm.sbatch"), *options]
    journal = tmp_path / "multirun" / "slurm-17" / "results.jsonl"

    def rows() -> list[dict[str, Any]]:
        return [json.loads(line) for line in journal.read_text().split("\n")[:-1]] if journal.exists() else []

    def measured() -> dict[str, Any]:
        return {row["id"]: row["latency_ms"] for row in rows() if row["status"] == "ok"}

    job = subprocess.Popen(command, env={**environment, **slurm}, cwd=tmp_path, start_new_session=True)
    while len(measured()) < 2:
        assert job.poll() is None
        time.sleep(0.05)
    reaper.end_all(f"SWEEP_RECIPE={environment['SWEEP_RECIPE']}")
    job.wait()
    before = measured()
    assert len(rows()) < 12
    again = {**environment, **slurm, "SWEEP_PORT": str(free_port())}
    subprocess.run(command, env=again, cwd=tmp_path, check=True, timeout=300)
    assert len({row["id"] for row in rows()}) == len(rows()) == 12
    assert {row["status"] for row in rows()} == {"ok", "invalid"}
    assert {id_: latency for id_, latency in measured().items() if id_ in before} == before  # not done again


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
    arguments.remove("hydra.sweep.dir=/results/run")  # which is on a claim, for a job that is tried again
    assert {"resume=auto", "retry=[lost]"} <= set(arguments)
    done = subprocess.run(
        [sys.executable, *arguments, "dry_run=true"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "53 cells planned" in done.stdout
