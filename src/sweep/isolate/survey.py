"""What can be used here: alma's modes, packages and devices, asked of a child and remembered."""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep import machine, reading
from sweep.cell import Limits, Mode
from sweep.devices import GPUS, READ_BY_DRIVERS
from sweep.durable import cache_folder, write_atomically
from sweep.errors import BadEnvironment
from sweep.isolate import environment, host
from sweep.isolate.exclusive import MeasureLock, Turn
from sweep.isolate.process import NodeMemory, Slot, Watch
from sweep.isolate.supervisor import Supervisor
from sweep.isolate.zygote import ZygoteLost
from sweep.plan import registry
from sweep.plan.inventory import Inventory, fingerprint
from sweep.plan.registry import Registered


def local() -> Inventory:
    """This machine's. Takes seconds the first time, then comes from a file until anything it rests on changes.

    Raises BadEnvironment when alma cannot be read, or no cell could run here.
    """
    host.refuse_unfit()
    surveyed = _remembered()
    devices = {"cpu", *surveyed["devices"]}
    return Inventory(
        modes=_modes(surveyed),
        found=frozenset(name for name, here in surveyed["found"].items() if here),
        devices=frozenset(devices),
        versions=surveyed["versions"],
        node=platform.node(),
        hardware=surveyed["hardware"],
        facts=surveyed["facts"],
        fingerprints={kind: fingerprint(surveyed["facts"], kind) for kind in sorted(devices)},
        cpus=surveyed["facts"]["cpus"],
        memory=machine.memory() / 1e6,
        gpus=sum(surveyed["devices"].get(kind, 0) for kind in GPUS),
    )


def _remembered() -> dict[str, Any]:
    """What was found here, now or before. Raises BadEnvironment."""
    remembered = cache_folder() / f"inventory-{_fingerprint()}.json"
    surveyed = _read(remembered)
    if surveyed is None:
        surveyed = survey({name: need.probe for name, need in registry.REQUIREMENTS.items()})
        _write(remembered, surveyed)
    return surveyed


@cache
def of_compilers() -> dict[str, str]:
    """Variables that tell compilers what they would find out for each cell anew, although it depends on no model."""
    with suppress(BadEnvironment):
        if _remembered()["vector_instructions"]:
            return {"TORCHINDUCTOR_VEC_ISA_OK": "1"}
    return {}


def survey(probes: Mapping[str, str], seconds: float = 300) -> dict[str, Any]:
    """What `sweep.child.survey` found on this machine. Raises BadEnvironment with the end of its log."""
    limits = Limits(start=seconds, total=seconds)
    variables = environment.allowed(os.environ, (), ())
    slot = Slot(turn=Turn(exclusive="none", gpu=None), lock=MeasureLock(1), memory=NodeMemory())
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True) as scratch,
            Supervisor() as supervisor,
            supervisor.zygote("spawn", variables) as zygote,
        ):
            watch = Watch(zygote, limits, slot, time.monotonic())
            watch.run_to_end("sweep.child.survey", [json.dumps(dict(probes))], Path(scratch), variables)
    except ZygoteLost as error:
        raise BadEnvironment("something killed the process that was to look at this environment") from error
    inventory = watch.report.evidence()
    if "versions" not in inventory:
        raise BadEnvironment(
            "cannot read the conversions of alma-torch in this environment; install the tested set with "
            f"`pip install -c constraints.txt -e .`. It said:\n{watch.log.text[-2000:].strip()}"
        )
    return inventory


def _modes(surveyed: dict[str, Any]) -> dict[str, Mode]:
    """alma's modes and those of installed packages. Raises BadEnvironment for one that is not what it should be."""
    theirs = registry.modes(surveyed["modes"])
    known = {field.name for field in fields(Registered)}
    for name, node in surveyed["own"].items():
        if unknown := sorted(node.keys() - known):
            raise BadEnvironment(f"{node['target']} registers {name} with what is no part of a label: {unknown}")
    try:
        registered = {name: reading.of(Registered).validate_python(node) for name, node in surveyed["own"].items()}
        return theirs | registry.modes_of_registered(registered, theirs, "entry point")
    except ValidationError as error:
        problem = f"{'.'.join(map(str, error.errors()[0]['loc']))}: {error.errors()[0]['msg']}"
        raise BadEnvironment(f"an installed package registers a conversion that is none: {problem}") from error
    except ValueError as error:
        raise BadEnvironment(f"an installed package registers a conversion that is none: {error}") from error


_KEYS = {"vector_instructions", "own", "modes", "found", "devices", "hardware", "facts", "versions"}


_DEVICE_FILES = ("nvidia[0-9]*", "dri/render*", "accel/accel*")


def _fingerprint() -> str:
    """Changes with every installed distribution, the interpreter, the compiler, sweep's own rules, and the devices that
    can be seen.
    """
    installed = sorted(f"{d.name}=={d.version}" for d in importlib.metadata.distributions())
    driver = Path("/proc/driver/nvidia/version")
    parts = [
        sys.version,
        sys.prefix,
        platform.node(),
        _source_of("alma.conversions.select"),
        *installed,
        *(f"{name}: {need.probe}" for name, need in registry.REQUIREMENTS.items()),
        *(f"{point} {_source_of(point.module)}" for point in entry_points(group="sweep.conversions")),
        *(
            Path(__file__).parents[1].joinpath("child", name).read_text(encoding="utf-8")
            for name in ("survey.py", "device.py")
        ),
        *sorted(str(path) for files in _DEVICE_FILES for path in Path("/dev").glob(files)),
        driver.read_text(encoding="utf-8") if driver.exists() else "",
        *(f"{name}={os.environ.get(name, 'all')}" for name in READ_BY_DRIVERS),
        str(shutil.which(os.environ.get("CXX", "g++"))),
        f"{sorted(os.sched_getaffinity(0))} {machine.cpus()}",
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _source_of(module: str) -> str:
    """A module's text, found without importing it: what is mended is another, whatever its version says."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return ""
    inner = Path(spec.origin).parent.joinpath(*rest)
    files = (inner.with_suffix(".py"), inner / "__init__.py") if rest else (Path(spec.origin),)
    return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.exists())


def _read(path: Path) -> dict[str, Any] | None:
    try:
        surveyed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return surveyed if isinstance(surveyed, dict) and surveyed.keys() >= _KEYS else None


def _write(path: Path, surveyed: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(surveyed))
    except OSError:
        pass  # a home that cannot be written costs seconds at the next start, nothing else
