"""What this machine has: alma's modes, packages, devices and hardware. `python -m sweep.child.survey`."""

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import sys
import textwrap
from pathlib import Path

from sweep.child.channel import Channel

PACKAGES = (
    *("alma-torch", "torch", "torchvision", "torchao", "optimum-quanto", "openvino", "onnx", "onnxscript"),
    *("onnxruntime", "onnxruntime-gpu", "torch-tensorrt", "torch-xla", "apache-tvm"),
)
"""Distributions whose version can change what a cell does."""


def main(descriptor: int, probes: dict[str, str]) -> None:
    """Report what was found; `probes` maps a name to what `probe` understands."""
    import torch

    from sweep.child import compat

    compat.before_import()
    from alma.conversions import select
    from alma.conversions.conversion_options import MODEL_CONVERSION_OPTIONS

    implemented = dispatched(inspect.getsource(select.select_forward_call_function))
    modes = [
        {
            "name": option.mode,
            "device_override": option.device_override,
            "dtype": str(option.data_dtype).removeprefix("torch."),
            "implemented": option.mode in implemented,
        }
        for option in MODEL_CONVERSION_OPTIONS.values()
    ]
    Channel(descriptor).tell(
        modes=modes,
        found={name: probe(expression) for name, expression in probes.items()},
        gpus=torch.cuda.device_count() if torch.cuda.is_available() else 0,
        hardware=hardware(),
        versions=versions(),
    )


def dispatched(source: str) -> set[str]:
    """The mode names that the dispatcher's `match` has a case for: what alma really implements."""
    tree = ast.parse(textwrap.dedent(source))
    return {
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant)
    }


def probe(expression: str) -> bool:
    """Whether one of the alternatives in `a|b` is here: `module`, `module:attribute` or `provider=NAME`."""
    return any(_probe_one(alternative) for alternative in expression.split("|"))


def _probe_one(expression: str) -> bool:
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


def node() -> dict[str, object]:
    """What every row says of where it ran."""
    return {"node": platform.node(), "hardware": hardware(), "versions": versions()}


def versions() -> dict[str, str]:
    """Versions of Python and of every package in PACKAGES that is installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> str:
    """One line that tells unlike machines apart: CPU model, usable CPUs, memory, GPUs."""
    import torch

    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next(
        (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [f"{model} x{len(os.sched_getaffinity(0))}", f"{memory:.0f} GiB"]
    if torch.cuda.is_available():
        parts += [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(parts)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[3]))
