"""Which versions was sweep run with? For each environment: makes it, runs the unit tests and sweeps in it, removes it.

    scripts/versions                                     all of them, one after the other
    scripts/versions oldest newest --folder there        these; their logs and what was found stay in that folder
    scripts/versions tested --folder there --page FILE   the page has what the folder has of the others, too

What is claimed is read from pyproject.toml: `oldest` has the lower end of each of its ranges, `newest` the newest
release that they allow, `tested` is constraints.txt. torch is the tested one everywhere, and only a build of it for
CPUs is installed, unless --cuda: where pip finds none for a Python, the unit tests run without it, and that is said.
PIP_EXTRA_INDEX_URL and the rest of pip's own settings hold.

Prints the page, in Markdown. The exit code is 1 if anything failed; what was not run is no failure, and is said.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import claims
from claims import ENVIRONMENTS, EXTRAS, STEPS, Environment, Found, Step
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
ON_TORCH = ("torch", "torchvision", "optimum-quanto", "timm")
"""What cannot be installed without torch."""
CONVERSIONS = (
    *("EAGER", "JIT_TRACE", "EXPORT+EAGER", "ONNX_CPU", "ONNX+DYNAMO_EXPORT", "COMPILE_INDUCTOR_DEFAULT"),
    *("EXPORT+AI8WI8_STATIC_QUANTIZED", "COMPILE_OPENVINO", "OPTIMUM_QUANTO_WI8"),
)
"""At least one for every package that has conversions: torchao's is EXPORT+AI8WI8_STATIC_QUANTIZED."""
GRID = ("+model=mlp", "batch_size=4", f"conversion={','.join(CONVERSIONS)}")
QUICKLY = (
    *("measure=quick", "measure.seconds=0.1", "measure.block_seconds=0.02", "measure.max_warmup_seconds=0.2"),
    "threads=1",
)
"""How long anything takes does not matter here."""
BERT = "{num_hidden_layers: 2, hidden_size: 64, num_attention_heads: 2, intermediate_size: 128, vocab_size: 500}"
UNET = (
    "{sample_size: 16, in_channels: 3, out_channels: 3, block_out_channels: [32, 64], norm_num_groups: 8, "
    "down_block_types: [DownBlock2D, AttnDownBlock2D], up_block_types: [AttnUpBlock2D, UpBlock2D]}"
)
LIBRARIES = {
    "torchvision": ("+model=squeezenet",),
    "timm": ("+model=timm", "model.name=resnet18"),
    "transformers": ("+model=hf", "model.name=bert-base-uncased", f"+model.config={BERT}"),
    "diffusers": ("+model=diffusers", "model.name=UNet2DModel", f"+model.config={UNET}"),
}
FRAME = "import sys, sweep; run = sweep.load(sys.argv[1]); print(len(run.frame()), len(run.matrix()))"
INSTALLED = (
    "import json, platform; from importlib.metadata import distributions; "
    "print(json.dumps([platform.python_version(), {d.name: d.version for d in distributions()}]))"
)
GIGABYTES = 6
"""An environment takes up to 4; the rest is what pip unpacks beside it."""


class Failed(Exception):
    """A command that an environment cannot do without has failed; the message is the end of what it said."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """An environment's place: `FOLDER/NAME/` is the environment itself, beside it are its log, pins and sweeps."""

    name: str
    folder: Path
    minutes: float

    @property
    def venv(self) -> Path:
        return self.folder / self.name

    @property
    def python(self) -> str:
        return str(self.venv / "bin" / "python")

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def runs(self) -> Path:
        return self.folder / f"{self.name}-runs"

    def call(self, *command: str | Path, cwd: Path | None = None, **environment: str) -> int:
        """The exit code of a command, whose output goes to the log. Raises Failed if it is not done in `minutes`."""
        mine = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
        mine |= {"PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1", **environment}
        with self.log.open("a") as log:
            print("$", *command, file=log, flush=True)
            process = subprocess.Popen(
                [*map(str, command)],
                cwd=cwd or self.folder,
                env=mine,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                return process.wait(self.minutes * 60)
            except subprocess.TimeoutExpired:
                raise Failed(f"not done after {self.minutes:g} minutes: {' '.join(map(str, command))}") from None
            finally:
                _end(process)

    def must(self, *command: str | Path) -> None:
        """As `call`, and raises Failed with the last line that was said."""
        if code := self.call(*command):
            said = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            raise Failed(f"exit code {code}: {said[-1]}")

    def pip(self, *arguments: str | Path) -> None:
        self.must(self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def _end(process: subprocess.Popen[bytes]) -> None:
    """It may still run: it was too slow, or this was interrupted."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                continue


def interpreter(version: str) -> str | None:
    """A Python of that version: the one on PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    there = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))]
    for candidate in filter(None, there):
        asked = [candidate, "-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"]
        ended = subprocess.run(asked, capture_output=True, text=True, check=False)
        if ended.returncode == 0 and ended.stdout.strip() == version:
            return candidate
    return None


def torch_missing(site: Site, torch: str) -> str:
    """Why pip has no torch that can be installed here, or "". It downloads no wheel to find out."""
    report = site.folder / f"{site.name}-torch.json"
    dry = ("--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--report", report)
    if site.call(site.python, "-m", "pip", "install", *dry, torch):
        return f"not run with torch, for pip finds no {torch}"
    found = json.loads(report.read_text())
    if not (cuda := claims.cuda_packages(found)):
        return ""
    wheel = found["install"][0]["download_info"]["url"].rpartition("/")[2]
    only = f"only `{wheel}`, with {len(cuda)} packages of CUDA"
    return f"not run with torch, for pip finds no build of {torch} for CPUs, {only}"


def install(site: Site, base: str, environment: Environment, *, cuda: bool) -> str:
    """Make the environment. Returns why it has no torch, or "". Raises Failed."""
    pyproject, constraints = parsed()
    site.must(base, "-m", "venv", "--clear", site.venv)
    site.pip("--upgrade", "pip")  # older ones download whole wheels to find out what they need
    torch = claims.torch_pin(constraints)
    missing = "" if cuda else torch_missing(site, torch)
    wanted = claims.pins(environment.packages, pyproject, constraints)
    if missing:  # should anything ask for torch all the same, pip fails
        wanted = ["torch<0" if pin == torch else pin for pin in wanted]
    file = site.folder / f"{site.name}-pins.txt"
    file.write_text("".join(f"{line}\n" for line in wanted))
    # what builds packages comes first: in pip's own build environments the constraints would not hold
    site.pip("-c", file, *map(str, claims.tools(pyproject)), "setuptools", "wheel")
    if left_out := {*environment.without, *(ON_TORCH if missing else ())}:
        site.pip("-c", file, "--no-build-isolation", *map(str, claims.claimed(pyproject, EXTRAS, left_out)))
        site.pip("--no-deps", "--no-build-isolation", ROOT)
    else:
        site.pip("-c", file, "--no-build-isolation", f"{ROOT}[{','.join(EXTRAS)}]")
    return missing


def unit_tests(site: Site) -> Step:
    junit = site.folder / f"{site.name}-unit.xml"
    junit.unlink(missing_ok=True)
    about_this = "--ignore=tests/unit/test_versions.py"  # it looks at the page, which this run is for
    options = ("-q", "-p", "no:cacheprovider", f"--junitxml={junit}", about_this)
    code = site.call(site.python, "-m", "pytest", *options, "tests/unit", cwd=ROOT)
    if not junit.exists():
        return Step(said=f"pytest: exit code {code}", holds=False)
    step = claims.of_tests(junit.read_text())
    return Step(said=step.said, holds=step.holds and code == 0)


def swept(site: Site, name: str, *overrides: str, asked: int) -> Step:
    """A sweep, and its rows as a frame of pandas."""
    run = site.runs / name
    shutil.rmtree(run, ignore_errors=True)
    site.runs.mkdir(exist_ok=True)
    own = {"XDG_CACHE_HOME": str(site.runs / "cache"), "MLFLOW_ALLOW_FILE_STORE": "true"}
    command = (site.python, "-m", "sweep", *overrides, *QUICKLY, f"hydra.sweep.dir='{run}'")
    code = site.call(*command, cwd=site.runs, MLFLOW_DISABLE_TELEMETRY="true", **own)
    results = run / "results.jsonl"
    if code or not results.exists():
        return Step(said=f"exit code {code}", holds=False)
    step = claims.of_rows([json.loads(line) for line in results.read_text().splitlines()], asked)
    if site.call(site.python, "-c", FRAME, run, cwd=site.runs):
        return Step(said=f"{step.said}; no frame", holds=False)
    return step


def on_ray(site: Site) -> Step:
    """On a local Ray, with MLflow's store of files beside it."""
    store = site.runs / "mlflow"
    shutil.rmtree(store, ignore_errors=True)
    step = swept(site, "ray", *GRID, f"record.mlflow='{store}'", asked=len(CONVERSIONS))
    logged = len(list(store.glob("*/*/meta.yaml")))
    return step if logged == len(CONVERSIONS) else Step(said=f"{step.said}; {logged} in MLflow", holds=False)


def serially(site: Site) -> Step:
    return swept(site, "serial", *GRID, "dispatch=serial", asked=len(CONVERSIONS))


def libraries(site: Site) -> Step:
    """A model of each library, unconverted: whether it can be built and called."""
    options = ("conversion=EAGER", "dispatch=serial")
    steps = {name: swept(site, name, *model, *options, asked=1) for name, model in LIBRARIES.items()}
    others = [f"{name}: {step.said}" for name, step in steps.items() if not step.holds]
    return Step(said="; ".join([f"{len(steps) - len(others)} of {len(steps)} ok", *others]), holds=not others)


def run(site: Site, environment: Environment, *, cuda: bool) -> Found:
    """Whatever fails, it is in what is returned."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    found = Found(name=site.name, ranges=claims.digest(*parsed()), on=today)
    site.log.unlink(missing_ok=True)
    if (base := interpreter(environment.python)) is None:
        found.not_run = f"not run, for there is no Python {environment.python} on PATH or of pyenv"
        return found
    step = "install"
    try:
        if (free := shutil.disk_usage(site.folder).free / 1e9) < GIGABYTES:
            raise Failed(f"{free:.1f} GB free, {GIGABYTES} needed")
        found.not_run = install(site, base, environment, cuda=cuda)
        found.python, found.versions = installed(site)
        if there := found.versions.keys() & environment.without:
            raise Failed(f"{', '.join(there)} is there all the same")
        found.steps["install"] = Step(said=f"{len(found.versions)} packages", holds=True)
        parts: dict[str, Callable[[Site], Step]] = {"unit": unit_tests}
        if not found.not_run:
            parts |= {"ray": on_ray, "serial": serially, "libraries": libraries}
        for name in environment.without:
            parts.pop(name, None)
        for step, part in parts.items():
            found.steps[step] = part(site)
            print(f"{site.name}: {STEPS[step]}: {found.steps[step].said}", flush=True)
    except Exception as error:  # one environment that fails does not stop the others
        with site.log.open("a") as log:
            traceback.print_exc(file=log)
        found.steps[step] = Step(said=re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:200], holds=False)
    return found


def installed(site: Site) -> tuple[str, dict[str, str]]:
    """The version of Python, and of each package by its name."""
    ended = subprocess.run([site.python, "-I", "-c", INSTALLED], capture_output=True, text=True, check=True)
    python, packages = json.loads(ended.stdout)
    return python, {canonicalize_name(name): version for name, version in sorted(packages.items())}


def parsed() -> tuple[dict[str, Any], str]:
    """What pyproject.toml says, and the text of constraints.txt."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text()), (ROOT / "constraints.txt").read_text()


def remembered(folder: Path) -> list[Found]:
    """What the folder has of every environment, as far as it was found of what is claimed now."""
    every = []
    for name in ENVIRONMENTS:
        file = folder / f"{name}.json"
        read = json.loads(file.read_text()) if file.exists() else None
        if read and read["ranges"] == claims.digest(*parsed()):
            every.append(Found(**read | {"steps": {step: Step(**said) for step, said in read["steps"].items()}}))
        else:
            changed = "since `pyproject.toml` or `constraints.txt` changed"
            why = f"not run {changed}" if read else "not run, for it was not asked for"
            every.append(Found(name=name, ranges=claims.digest(*parsed()), not_run=why))
    return every


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/versions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("environments", nargs="*", metavar="ENVIRONMENT", help=", ".join(ENVIRONMENTS))
    parser.add_argument("--folder", type=Path, help="for environments, logs and results (default: a new one in TMPDIR)")
    parser.add_argument("--page", type=Path, help="where to write the page")
    parser.add_argument("--only-page", action="store_true", help="of what the folder has; run nothing")
    parser.add_argument("--keep", action="store_true", help="leave the environments there")
    parser.add_argument("--cuda", action="store_true", help="take a torch that brings CUDA, gigabytes, if need be")
    parser.add_argument("--minutes", type=float, default=30, help="that one command may take (default: 30)")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.environments if name not in ENVIRONMENTS]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(ENVIRONMENTS)}")
    try:
        claims.pins("oldest", *parsed())  # what is wrong there is said before anything is installed
    except claims.Unclaimed as error:
        parser.error(str(error))
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="sweep-versions-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Logs and results: {folder}", flush=True)
    names = [] if options.only_page else options.environments or ENVIRONMENTS
    sites = [Site(name=name, folder=folder, minutes=options.minutes) for name in names]
    failed = [site.name for site in sites if one(site, options).verdict == "failed"]
    text = claims.page(remembered(folder), *parsed())
    print(f"\n{text}", end="")
    if options.page:
        options.page.write_text(text)
    return 1 if failed else 0


def one(site: Site, options: argparse.Namespace) -> Found:
    """Runs an environment, leaves what was found in its folder, and removes it."""
    try:
        found = run(site, ENVIRONMENTS[site.name], cuda=options.cuda)
    finally:
        if not options.keep:
            shutil.rmtree(site.venv, ignore_errors=True)
    (site.folder / f"{site.name}.json").write_text(json.dumps(asdict(found), indent=1) + "\n")
    print(f"{site.name}: {found.verdict} {f'({found.not_run})' if found.not_run else ''} {site.log}", flush=True)
    return found


if __name__ == "__main__":
    for stops in (signal.SIGINT, signal.SIGTERM):  # so that what runs is ended, and its environment is removed
        signal.signal(stops, lambda number, _: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
