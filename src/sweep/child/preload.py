"""Imports what all cells need, once, in the process that they are forked from, and gets that ready for forking."""

import atexit
import ctypes
import gc
import importlib
import os
import sys
import weakref
from contextlib import suppress
from pathlib import Path

from sweep import reading
from sweep.cell import Cell

MADV_COLLAPSE = 25
"""madvise(2), since Linux 6.1."""

SHARED_MODULES = (
    *("torch._dynamo", "torch._inductor.compile_fx", "torch.profiler", "optimum.quanto", "onnx"),
    *("onnxruntime", "alma.conversions.select"),
    *(f"sweep.child.{name}" for name in ("__main__", "benchmark", "convert", "engines", "failure", "threads")),
)
"""Imported beforehand: nearly all that a cell needs.

Not openvino.torch, which changes a setting of dynamo; and no code of the user. ONNX Runtime starts a thread when it
is imported, for telemetry, unless the environment forbids it; the supervisor sets that.
"""


def import_for_all_cells() -> None:
    """Import SHARED_MODULES, and get this process ready to be forked from."""
    from sweep.child import compat, installed, survey

    gc.disable()  # what is imported stays; to look for garbage in it meanwhile takes a fifth of the time
    with installed.first():
        compat.before_import()
        for name in SHARED_MODULES:
            with suppress(ImportError):  # then a cell that needs it says so
                importlib.import_module(name)
    survey.versions(), survey.cpu_model(), reading.of(Cell)  # each caches its answer
    atexit._clear()  # what libraries registered is for this process; a cell's own comes later, as in multiprocessing
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False  # the same for torch.library's, which would take each cell 15 to 100 ms
    atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]
    if not os.fork():  # before a fork OpenBLAS, numpy's library, ends its threads; it starts them again when needed
        os._exit(0)
    os.wait()
    gc.collect()
    gc.enable()
    gc.freeze()  # so that a garbage collection in a forked cell does not copy this memory
    use_huge_pages()


def use_huge_pages() -> None:
    """Put memory on huge pages where the kernel can: forking then takes a third of the time, ending a fork half.

    For 290 MB on Linux 6.18 that was from 9 to 2.5 ms and from 12 to 6.5 ms. An older kernel leaves all as it is.
    """
    madvise = ctypes.CDLL(None).madvise
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, *_, name = f"{line} -".split(maxsplit=5)
        begin, end = (int(address, 16) for address in span.split("-"))
        if "w" in rights and end - begin >= 4 << 20 and name.strip("- ") in {"", "[heap]"}:
            madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), MADV_COLLAPSE)


def is_pristine() -> bool:
    """Whether a process forked from this one is like a new one: one thread, and no context on a GPU."""
    torch = sys.modules.get("torch")
    return len(list(Path("/proc/self/task").iterdir())) == 1 and not (torch and torch.cuda.is_initialized())
