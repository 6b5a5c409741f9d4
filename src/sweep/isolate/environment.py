"""What a cell's processes see in their environment."""

import os
import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweep.cell import Cell
from sweep.devices import READ_BY_DRIVERS, shown
from sweep.durable import home

ENVIRONMENT = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    *("CC", "CXX", "CUDA_HOME", "CUDA_PATH", "HF_HOME", "TORCH_HOME"),
    *READ_BY_DRIVERS,
)
"""Variables a cell may see besides LC_*; `isolate.env` adds to them. The rest, secrets among it, stays outside."""


def allowed(outer: Mapping[str, str], more: Sequence[str], python_path: Sequence[str]) -> dict[str, str]:
    """What all processes of a cell see of `outer`, this process's environment; `more` names further variables."""
    seen = {
        name: value for name, value in outer.items() if name in ENVIRONMENT or name in more or name.startswith("LC_")
    }
    # its working folder will be another
    paths = [str(Path(path).absolute()) for path in outer.get("PYTHONPATH", "").split(os.pathsep) if path]
    paths = [*(path for path in python_path if os.pathsep not in path), *paths]  # a cell adds those by itself
    # ONNX Runtime's telemetry is a thread, and with a thread nothing can be forked
    return {"ORT_DISABLE_TELEMETRY": "1", **_of_nobody(), **seen, "PYTHONPATH": os.pathsep.join(paths)}


def _of_nobody() -> dict[str, str]:
    """A home and a name for a user of whom the machine knows only the number: torch and others ask for them."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return {"HOME": str(home()), "USER": f"uid-{os.getuid()}"}
    return {}


def of_zygote(cell: Cell, outer: Mapping[str, str]) -> dict[str, str]:
    """What the process sees that a cell is started by: of `outer`, and for a cell on the CPU no CUDA device."""
    hidden = shown("cpu", None) if cell.device.kind == "cpu" else {}
    return allowed(outer, cell.env, cell.python_path) | hidden


def of_cell(cell: Cell, gpu: str | None) -> dict[str, str]:
    """What a cell sees besides: the device it may use (`gpu` is CUDA's name of one), and how many threads."""
    kind = cell.device.kind
    variables = shown(kind, gpu if kind == "cuda" else None)
    if cell.threads is not None:
        variables |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cell.threads))
    return variables


def caches(folder: Path, compile_threads: int) -> dict[str, str]:
    """Compile caches of a cell alone, made in its folder: cold at first, and gone with it; and with how many threads
    it may compile.
    """
    variables = {
        "TORCHINDUCTOR_CACHE_DIR": folder / "inductor",
        "TRITON_CACHE_DIR": folder / "triton",
        "TORCH_EXTENSIONS_DIR": folder / "extensions",
    }
    for cache in variables.values():
        cache.mkdir(exist_ok=True)
    paths = {name: str(cache) for name, cache in variables.items()}
    return {**paths, "TORCHINDUCTOR_COMPILE_THREADS": str(compile_threads)}
