"""The images of recipes/Dockerfile, as far as they can be known without a daemon that builds them."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]
FILE = ROOT / "recipes" / "Dockerfile"
TARGETS = ("cpu", "cuda")


@dataclass
class Stage:
    """What is written from one FROM to the next, each instruction with its arguments."""

    image: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [arguments for name, arguments in self.steps if name == instruction]


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    lines = [line for line in FILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    found: dict[str, Stage] = {}
    for instruction in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, arguments = instruction.partition(" ")
        if name == "FROM":
            image, stage = arguments.split(" AS ")
            found[stage] = Stage(image, stage)
        else:
            list(found.values())[-1].steps.append((name, arguments.strip()))
    return found


def steps_of(stages: dict[str, Stage], target: str) -> list[tuple[str, str]]:
    """All steps that make a target, those of the stages that it rests on first."""
    stage = stages[target]
    return [*(steps_of(stages, stage.image) if stage.image in stages else []), *stage.steps]


def test_every_image_that_it_rests_on_is_one_release(stages: dict[str, Stage]) -> None:
    assert {*TARGETS} < stages.keys()
    images = {stage.image for stage in stages.values()} - stages.keys()
    assert images
    for image in images:
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*", image), f"{image} is another one tomorrow"
        assert image.startswith("python:3.11."), "constraints.txt is for Python 3.11"


@pytest.mark.parametrize("target", TARGETS)
def test_nobody_runs_there_as_root(stages: dict[str, Stage], target: str) -> None:
    steps = steps_of(stages, target)
    users = [arguments for name, arguments in steps if name == "USER"]
    assert users[-1] not in {"root", "0"}
    made = " ".join(arguments for name, arguments in steps if name == "RUN" and "useradd" in arguments)
    assert users[-1] in shlex.split(made)
    assert steps[-1][0] == "CMD"
    assert json.loads(steps[-1][1])[0] == "sweep"


def test_nothing_is_left_of_installing(stages: dict[str, Stage]) -> None:
    for run in (run for stage in stages.values() for run in stage.all("RUN")):
        if "apt-get" in run:
            steps = [step.strip() for step in run.split("&&")]
            assert steps[0] == "apt-get update"
            assert steps[-1] == "rm -rf /var/lib/apt/lists/*"
            assert all({"--yes", "--no-install-recommends"} <= set(step.split()) for step in steps[1:-1])
        if re.search(r"\bpip (install|wheel)\b", run):
            assert "--no-cache-dir" in run


def test_every_package_is_the_tested_one(stages: dict[str, Stage]) -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    for run in (run for stage in stages.values() for run in stage.all("RUN") if "pip install" in run):
        named = dict(re.findall(r"([\w-]+)==([\w.]+)", run))
        assert "-c" in run.split() or named
        assert {name: pins[name] for name in named} == named
    more = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "recipes/constraints-kuberay.txt").read_text(), re.MULTILINE))
    assert "aiohttp" in more
    assert not more.keys() & pins.keys()


def test_it_copies_what_there_is_and_nothing_else(stages: dict[str, Stage]) -> None:
    kept = {line[1:] for line in (FILE.parent / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = set()
    for copy in (copy for stage in stages.values() for copy in stage.all("COPY")):
        *sources, _ = copy.split()
        if sources[0].startswith("--from="):
            assert sources[0].removeprefix("--from=") in stages
        else:
            copied.update(sources)
    assert all((ROOT / source).exists() for source in copied)
    assert copied == kept


def test_the_wheel_can_be_made_of_what_is_copied(stages: dict[str, Stage], tmp_path: Path) -> None:
    """The steps of that stage, in a plain shell: what is copied, and what is run on it."""
    for copy in stages["wheel"].all("COPY"):
        *sources, target = copy.split()
        for source in sources:
            into = tmp_path / target / ("" if (ROOT / source).is_dir() else source)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, into)
    (run,) = [run for run in stages["wheel"].all("RUN") if run.startswith("pip wheel ")]
    arguments = shlex.split(run.replace("/wheels", str(tmp_path / "wheels")))
    subprocess.run([sys.executable, "-m", *arguments, "--quiet"], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "wheels").iterdir()
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = [path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")]
    assert {f"sweep/conf/{path}" for path in configs} <= names
    files = [path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*") if path.is_file()]
    assert {str(path) for path in files if "__pycache__" not in path.parts} <= names


def test_kuberay_runs_it_as_its_user(stages: dict[str, Stage]) -> None:
    job: Any = OmegaConf.load(ROOT / "recipes" / "kuberay.yaml")
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    (made,) = [run for run in stages["base"].all("RUN") if "useradd" in run]
    assert f"--uid {head['securityContext']['fsGroup']} " in made
    ray = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert ray
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray[1]
