"""What differs between kinds of devices, and nothing else does: `of` gives what sweep asks of the one a cell runs on.

    wait            until all that was queued on it is done, on whichever stream: what a timed call ends with
    free            bytes that it has left, whoever took the rest
    held_most       bytes that torch's allocator held there at most since `forget_peak`
    seed            its generator, and the CPU's, for weights are made there
    random_state    of these generators, and `restore`
    activity        what torch's profiler calls it; None where it sees nothing there
    watch           who else uses it, and whether it is slowed down

A figure that a kind does not give is None. For the kinds of `torch.accelerator` torch has these in a module for each,
under names that are alike, so one class does for all of them; torch-xla has its own. `found` and `names` are for a
survey of the machine. Which variable shows a process some devices only is known without torch: `sweep.devices`.

Nothing is timed by a device's own events: they see one stream, and so neither work on another nor what the host does.
"""

import importlib.util
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity

from sweep.child import nvml
from sweep.devices import KINDS


class Device(Protocol):
    """A kind of device; this module's docstring says what each is for."""

    kind: str

    def wait(self) -> None: ...
    def free(self) -> float | None: ...
    def held_most(self) -> float | None: ...
    def forget_peak(self) -> None: ...
    def seed(self, number: int) -> None: ...
    def random_state(self) -> Any: ...
    def restore(self, state: Any) -> None: ...
    def watch(self) -> nvml.Gpu | None: ...

    @property
    def activity(self) -> ProfilerActivity | None: ...


class Cpu:
    """The processor: what is called has been done when it returns."""

    kind = "cpu"
    activity = None

    def wait(self) -> None:
        """There is nothing to wait for."""

    def free(self) -> float | None:
        return None

    def held_most(self) -> float | None:
        return None

    def forget_peak(self) -> None:
        """It has none."""

    def seed(self, number: int) -> None:
        torch.default_generator.manual_seed(number)  # and not CUDA's too, which takes 4 ms

    def random_state(self) -> Any:
        return torch.get_rng_state()

    def restore(self, state: Any) -> None:
        torch.set_rng_state(state)

    def watch(self) -> nvml.Gpu | None:
        return None


class Accelerator:
    """A kind of `torch.accelerator`, by torch's module for it: `torch.cuda`, `torch.xpu`, `torch.mps` …"""

    def __init__(self, kind: str, module: Any) -> None:
        self.kind = kind
        self._module = module

    def _ask(self, *names: str) -> Any:
        """What the first of these functions gives that the module has; None where it has none, or that fails."""
        for name in names:
            if function := getattr(self._module, name, None):
                with suppress(RuntimeError, NotImplementedError):  # not every driver has what torch has a name for
                    return function()
        return None

    def wait(self) -> None:
        self._module.synchronize()

    def free(self) -> float | None:
        if info := self._ask("mem_get_info"):
            return float(info[0])
        most, taken = self._ask("recommended_max_memory"), self._ask("driver_allocated_memory")  # MPS
        return float(most - taken) if most is not None and taken is not None else None

    def held_most(self) -> float | None:
        held = self._ask("max_memory_reserved", "max_memory_allocated", "driver_allocated_memory")
        return None if held is None else float(held)

    def forget_peak(self) -> None:
        self._ask("empty_cache")
        self._ask("reset_peak_memory_stats")

    def seed(self, number: int) -> None:
        torch.manual_seed(number)  # that of every kind

    def random_state(self) -> Any:
        return torch.get_rng_state(), self._ask("get_rng_state")

    def restore(self, state: Any) -> None:
        of_cpu, own = state
        torch.set_rng_state(of_cpu)
        if own is not None:
            self._module.set_rng_state(own)

    @property
    def activity(self) -> ProfilerActivity | None:
        activity: ProfilerActivity | None = getattr(ProfilerActivity, self.kind.upper(), None)
        seen = torch.profiler.supported_activities()  # type: ignore[no-untyped-call]
        return activity if activity in seen else None

    def watch(self) -> nvml.Gpu | None:
        """Of NVIDIA's GPUs only, by their management library, where that is installed."""
        if self.kind != "cuda":
            return None
        with suppress(Exception):  # without the library, or if it fails, there are just no figures
            return nvml.gpu(str(self._module.get_device_properties(0).uuid))
        return None


class Xla:
    """torch-xla, whose operators are only noted down until something waits for them."""

    kind = "xla"
    activity = None

    def __init__(self, torch_xla: Any, model: Any) -> None:
        """By the modules `torch_xla` and `torch_xla.core.xla_model`."""
        self._torch_xla, self._model = torch_xla, model

    def wait(self) -> None:
        self._torch_xla.sync()
        self._model.wait_device_ops()

    def _memory(self) -> dict[str, int]:
        info: dict[str, int] = {}
        with suppress(Exception):  # not every device of XLA tells
            info = self._model.get_memory_info(self._model.xla_device())
        return info

    def free(self) -> float | None:
        info = self._memory()
        return float(info["bytes_limit"] - info["bytes_used"]) if "bytes_limit" in info else None

    def held_most(self) -> float | None:
        info = self._memory()
        return float(info["peak_bytes_used"]) if "peak_bytes_used" in info else None

    def forget_peak(self) -> None:
        """Its peak is that of the process."""

    def seed(self, number: int) -> None:
        torch.manual_seed(number)
        self._model.set_rng_state(number)

    def random_state(self) -> Any:
        return torch.get_rng_state(), self._model.get_rng_state()

    def restore(self, state: Any) -> None:
        torch.set_rng_state(state[0])
        self._model.set_rng_state(state[1])

    def watch(self) -> nvml.Gpu | None:
        return None


@cache
def of(kind: str) -> Device:
    """What to ask of a kind of device. Raises RuntimeError or ImportError where this torch has nothing of that kind."""
    if kind == "cpu":
        return Cpu()
    if kind == "xla":
        return Xla(*(importlib.import_module(name) for name in ("torch_xla", "torch_xla.core.xla_model")))
    return Accelerator(kind, torch.get_device_module(kind))


def found() -> dict[str, int]:
    """How many devices of each kind torch can use here, of those that there are, the CPU not among them."""
    counts: dict[str, int] = {}
    for kind in KINDS[1:]:
        with suppress(Exception):  # a driver that fails in whatever way is none
            counts[kind] = _count(kind)
    return {kind: count for kind, count in counts.items() if count}


def _count(kind: str) -> int:
    if kind == "xla":
        if importlib.util.find_spec("torch_xla") is None:
            return 0
        return len(importlib.import_module("torch_xla.core.xla_model").get_xla_supported_devices() or ())
    module = torch.get_device_module(kind)
    return int(module.device_count()) if module.is_available() else 0


def names(kind: str, count: int) -> list[dict[str, Any]]:
    """Name and memory in GiB of each device of a kind; what it does not tell is None."""
    return [_described(kind, number) for number in range(count)]


def _described(kind: str, number: int) -> dict[str, Any]:
    described: dict[str, Any] = {"name": kind, "memory_gib": None}
    with suppress(Exception):
        module = torch.get_device_module(kind)
        described["name"] = module.get_device_name(number)
        described["memory_gib"] = round(module.get_device_properties(number).total_memory / 2**30)
    return described


def forbid_tf32() -> None:
    """Have torch compute fp32 in fp32, as labels say. By default it computes convolutions in TF32 on a GPU.

    What the model's own code sets afterwards is the model's. By the older names, which keep the newer ones in step; the
    other way round torch raises where anybody reads an older one.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def allows_tf32() -> bool:
    """Whether torch may compute fp32 in TF32 now, on a device that has it."""
    older: tuple[Callable[[], bool], ...] = (
        lambda: torch.backends.cudnn.allow_tf32,
        lambda: torch.backends.cuda.matmul.allow_tf32,
    )
    with suppress(RuntimeError):  # somebody used the newer names
        return any(read() for read in older)
    cudnn: Any = torch.backends.cudnn
    return any(part.fp32_precision == "tf32" for part in (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn))
