"""What this machine has: alma's modes, packages, devices and hardware. `python -m sweep.child.survey`."""

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import shutil
import sys
import tempfile
import textwrap
from contextlib import suppress
from functools import cache
from pathlib import Path

from sweep import machine
from sweep.child.channel import Channel

PACKAGES = (
    *("alma-torch", "torch", "torchvision", "torchao", "optimum-quanto", "openvino", "onnx", "onnxscript"),
    *("onnxruntime", "onnxruntime-gpu", "torch-tensorrt", "torch-xla", "apache-tvm"),
)
"""Distributions whose version can change what a cell does."""


GROUP = "sweep.conversions"
"""The entry points by which a package adds conversions."""


def main(descriptor: int, go: int, probes: dict[str, str]) -> None:
    """Report what was found; `probes` maps a name to what `probe` understands."""
    from sweep.child import compat, device, installed

    with installed.first():
        compat.before_import()
        from alma.conversions import select
        from alma.conversions.conversion_options import MODEL_CONVERSION_OPTIONS

        found = {name: probe(expression) for name, expression in probes.items()}
    implemented = implemented_modes(inspect.getsource(select.select_forward_call_function))
    modes = [
        {
            "name": option.mode,
            "device_override": option.device_override,
            "dtype": str(option.data_dtype).removeprefix("torch."),
            "implemented": option.mode in implemented,
        }
        for option in MODEL_CONVERSION_OPTIONS.values()
    ]
    Channel(descriptor, go).tell(
        modes=modes,
        found=found,
        devices=device.found(),
        hardware=hardware(len(os.sched_getaffinity(0))),
        facts=facts(),
        versions=versions(),
        own=entry_points(),
        vector_instructions=inductor_can_use_vectors(),
    )


def inductor_can_use_vectors() -> bool:
    """Whether Inductor's compiler can use every kind of vector instruction that this CPU has.

    Inductor finds that out for each of its caches anew, by compiling, which takes 3 to 6 s and depends on no model.
    """
    if not probe("compiler=g++"):  # it would raise
        return False
    try:
        from torch._inductor import config, cpu_vec_isa
    except ImportError:
        return False
    found = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        for answer in (True, None):  # as if it could, then by trying
            cpu_vec_isa.valid_vec_isa_list.cache_clear()
            with config.patch({"cpp.vec_isa_ok": answer}):
                found.append(list(map(str, cpu_vec_isa.valid_vec_isa_list())))
        del os.environ["TORCHINDUCTOR_CACHE_DIR"]
    return found[0] == found[1]


def entry_points() -> dict[str, dict[str, object]]:
    """What installed packages register as conversions: target and, where it can be imported, its attribute `sweep`.

    What cannot be imported here fails in its own cell, with the reason in its row.
    """
    conversions: dict[str, dict[str, object]] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        declared: dict[str, object] = {}
        with suppress(Exception):
            declared = dict(getattr(point.load(), "sweep", {}))
        label = {key: list(value) if isinstance(value, set | tuple) else value for key, value in declared.items()}
        conversions[point.name] = {**label, "target": f"{point.module}.{point.attr}"}
    return conversions


def implemented_modes(source: str) -> set[str]:
    """The mode names that the dispatcher's `match` has a case for: what alma really implements."""
    tree = ast.parse(textwrap.dedent(source))
    return {
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant)
    }


def probe(expression: str) -> bool:
    """Whether one of the alternatives in `a|b` is here: `module`, `module:attribute`, `provider=NAME` of ONNX Runtime,
    or `compiler=NAME`, a program unless CXX names another.
    """
    return any(_probe_one(alternative) for alternative in expression.split("|"))


def _probe_one(expression: str) -> bool:
    if expression.startswith("compiler="):
        return shutil.which(os.environ.get("CXX", expression.removeprefix("compiler="))) is not None
    if expression.startswith("provider="):
        import onnxruntime

        return expression.removeprefix("provider=") in onnxruntime.get_available_providers()
    module, _, attribute = expression.partition(":")
    try:
        if attribute:
            return hasattr(importlib.import_module(module), attribute)
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def where_it_runs(cpus: int) -> dict[str, object]:
    """What every row says of the machine it ran on; `cpus` is how many CPUs its node lets cells use."""
    return {"node": platform.node(), "hardware": hardware(cpus), "versions": versions()}


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of every package in PACKAGES that is installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def hardware(cpus: int) -> str:
    """One line that differs between machines of different kinds: CPU model, usable CPUs, memory, other devices."""
    from sweep.child import device

    parts = [f"{cpu_model()} x{cpus}", f"{_memory():.0f} GiB"]
    for kind, count in device.found().items():
        parts += [one["name"] for one in device.names(kind, count)]
    return ", ".join(parts)


def facts() -> dict[str, object]:
    """What can make times of one machine differ from those of another, as far as the kernel and torch know it."""
    from sweep.child import device

    cpu = "/sys/devices/system/cpu"
    devices = {kind: device.names(kind, count) for kind, count in device.found().items()}
    return {
        "cpu": cpu_model(),
        "cpus": machine.cpus(),
        "smt": _read(f"{cpu}/smt/active"),
        "numa_nodes": len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or None,
        "governor": _read(f"{cpu}/cpu0/cpufreq/scaling_governor"),
        "memory_gib": round(_memory()),
        "gpus": devices.pop("cuda", []),
        "driver": _read("/sys/module/nvidia/version"),
        **({"accelerators": devices} if devices else {}),
    }


@cache  # in the process that cells are forked from, so that none has to read it again
def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> float:
    """GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[4]))
