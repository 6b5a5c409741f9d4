"""What sweep asks of a device, asked of what stands in for torch's modules."""

import importlib.util
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sweep.cell import Measure
from sweep.child import compat, convert, device, engines, examine, kernels, measure, variants
from sweep.child import trace as tracing

CPU = torch.device("cpu")
MIB = 2**20


class Module:
    """As torch.cuda and torch.xpu: work is queued, and done by somebody else; memory is counted."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.free, self.reserved, self.most = 1000 * MIB, 0, 0
        self.state = "seeded"
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            work = self._queue.get()
            work()
            self._queue.task_done()

    def launch(self, name: str) -> None:
        self._queue.put(lambda: self.done.append(name))

    def synchronize(self) -> None:
        self._queue.join()

    def mem_get_info(self) -> tuple[int, int]:
        return self.free, 2000 * MIB

    def allocate(self, size: int, *, by_torch: bool) -> None:
        self.free -= size
        if by_torch:
            self.reserved += size
            self.most = max(self.most, self.reserved)

    def max_memory_reserved(self) -> int:
        return self.most

    def empty_cache(self) -> None:
        pass

    def reset_peak_memory_stats(self) -> None:
        self.most = self.reserved

    def get_rng_state(self) -> str:
        return self.state

    def set_rng_state(self, state: str) -> None:
        self.state = state

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def get_device_name(self, number: int) -> str:
        return f"Stand-in {number}"

    def get_device_properties(self, number: int) -> Any:
        return SimpleNamespace(total_memory=16 * 2**30)


@pytest.fixture
def module() -> Module:
    return Module()


@pytest.fixture
def as_cpu(module: Module, monkeypatch: pytest.MonkeyPatch) -> device.Accelerator:
    """What tensors of the CPU are taken to be on."""
    standing_in = device.Accelerator("xpu", module)
    monkeypatch.setattr(device, "of", lambda kind: standing_in)
    return standing_in


def test_a_timed_call_begins_when_nothing_is_left_to_do_and_ends_so(module: Module, as_cpu: device.Accelerator) -> None:
    timer = measure.Timer(CPU)
    at_begin: list[list[str]] = []

    def call() -> None:
        at_begin.append(list(module.done))
        module.launch("mine")

    for number in range(50):
        module.launch("before")
        assert timer.seconds_of(call) > 0
        assert module.done == ["before", "mine"] * (number + 1)
        assert at_begin[-1] == module.done[:-1]


def test_a_block_leaves_nothing_to_do(module: Module, as_cpu: device.Accelerator) -> None:
    timer = measure.Timer(CPU)
    subject = measure.Subject(lambda x: module.launch("call"), lambda: None, timer, Measure(seconds=0.01))
    block = subject.take_block()
    assert module._queue.unfinished_tasks == 0
    assert len(module.done) >= len(block)


def test_memory_is_what_the_device_has_less_whoever_took_it(module: Module, as_cpu: device.Accelerator) -> None:
    watch = measure.MemoryWatch(CPU)
    watch.forget_peak()
    module.allocate(10 * MIB, by_torch=True)
    module.allocate(90 * MIB, by_torch=False)  # an engine that asks the driver itself
    peak = watch.peak().cuda_peak
    assert peak == pytest.approx(100 * MIB / 1e6)
    module.free += 500 * MIB  # another process ended meanwhile
    peak = watch.peak().cuda_peak
    assert peak == pytest.approx(10 * MIB / 1e6)


def test_what_is_free_on_the_device_decides_over_copies(module: Module, as_cpu: device.Accelerator) -> None:
    model = torch.nn.Linear(256, 256)
    assert variants.has_room_for_another(model)
    module.free = 1
    assert not variants.has_room_for_another(model)


def test_a_figure_that_a_kind_does_not_give_is_none() -> None:
    def fails() -> None:
        raise RuntimeError("this driver does not tell")

    bare = device.Accelerator("mtia", SimpleNamespace(synchronize=lambda: None, mem_get_info=fails))
    assert (bare.free(), bare.held_most(), bare.watch()) == (None, None, None)
    bare.forget_peak()
    bare.restore(bare.random_state())
    mps = SimpleNamespace(recommended_max_memory=lambda: 900, driver_allocated_memory=lambda: 200)
    assert (device.Accelerator("mps", mps).free(), device.Accelerator("mps", mps).held_most()) == (700, 200)


def test_random_numbers_of_the_device_are_put_back(module: Module, as_cpu: device.Accelerator) -> None:
    with variants._random_numbers_as_before([torch.zeros(1)]):
        module.state = "used"
    assert module.state == "seeded"


def test_xla_has_its_operators_run_before_it_waits_for_them() -> None:
    said: list[str] = []
    model = SimpleNamespace(
        wait_device_ops=lambda: said.append("waited"),
        xla_device=lambda: "xla:0",
        get_memory_info=lambda device: {"bytes_limit": 100, "bytes_used": 30, "peak_bytes_used": 50},
        get_rng_state=lambda: 7,
        set_rng_state=lambda state: said.append(f"state {state}"),
    )
    xla = device.Xla(SimpleNamespace(sync=lambda: said.append("ran")), model)
    xla.wait()
    xla.restore(xla.random_state())
    assert said == ["ran", "waited", "state 7"]
    assert (xla.free(), xla.held_most()) == (70, 50)
    assert (device.Xla(None, None).free(), device.Xla(None, None).held_most()) == (None, None)


def test_a_machine_has_the_kinds_that_torch_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.get_device_module
    modules = {"xpu": Module(), "mtia": SimpleNamespace(is_available=lambda: False, device_count=lambda: 1)}
    monkeypatch.setattr(torch, "get_device_module", lambda kind: modules.get(kind) or real(kind))
    model = SimpleNamespace(get_xla_supported_devices=lambda: ["xla:0"])
    monkeypatch.setitem(sys.modules, "torch_xla.core.xla_model", model)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "torch_xla" or find(name))
    assert device.found() == {"xpu": 2, "xla": 1}
    assert device.names("xpu", 2) == [{"name": f"Stand-in {n}", "memory_gib": 16} for n in range(2)]
    assert device.names("xla", 1) == [{"name": "xla", "memory_gib": None}]


def test_a_device_that_torch_does_not_have_is_said() -> None:
    with pytest.raises((ImportError, RuntimeError, ModuleNotFoundError)):
        device.of("hpu")


@pytest.fixture
def _tf32_as_before() -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


@pytest.mark.usefixtures("_tf32_as_before")
def test_tf32_is_off_until_the_models_own_code_allows_it() -> None:
    torch.backends.cudnn.allow_tf32 = True  # as torch has it, for convolutions
    assert device.allows_tf32()
    device.forbid_tf32()
    assert not device.allows_tf32()
    torch.set_float32_matmul_precision("high")
    assert device.allows_tf32()
    device.forbid_tf32()
    torch.backends.cuda.matmul.fp32_precision = "tf32"  # from then on torch raises where an older name is read
    assert device.allows_tf32()


class Cuda(torch.nn.Linear):
    """A model whose weights say that they are on a GPU."""

    def parameters(self, recurse: bool = True) -> Any:
        return iter([SimpleNamespace(is_cuda=True, dtype=torch.float32, is_floating_point=lambda: True)])


@pytest.mark.usefixtures("_tf32_as_before")
def test_a_model_that_allows_tf32_is_said_to() -> None:
    device.forbid_tf32()
    assert not [one.kind for one in examine.of_the_model(Cuda(8, 8))]
    torch.backends.cudnn.allow_tf32 = True
    assert [one.kind for one in examine.of_the_model(Cuda(8, 8))] == ["tf32"]


def traced(**seen: Any) -> tracing.Trace:
    from collections import Counter

    values: dict[str, Any] = {"names": Counter(), "outside": Counter(), "precisions": frozenset()}
    return tracing.Trace(**values | seen)


def test_what_ran_elsewhere_than_on_its_device_is_named() -> None:
    from collections import Counter

    gpu = torch.device("cuda")
    ran = kernels.OnDevice(kernels=Counter(gemm=3), seconds=2e-3, on_cpu=1e-3)
    assert engines._where_it_ran("eager", traced(on_device=ran), gpu) == ("eager", {"kernels": 3, "kernel_ms": 2.0})
    elsewhere = kernels.OnDevice(kernels=Counter(gemm=1), seconds=1e-3, on_cpu=2e-3)
    assert engines._where_it_ran("eager", traced(on_device=elsewhere), gpu)[0] == "eager on the CPU"
    nowhere = kernels.OnDevice(kernels=Counter())
    assert engines._where_it_ran("nothing", traced(on_device=nowhere), gpu)[0] == "nothing"
    assert engines._where_it_ran("eager", traced(), CPU) == ("eager", {})
    assert engines._where_it_ran("eager", traced(), gpu) == (None, {"device_seen_by": "nothing"})
    mps = torch.device("mps")
    assert engines._where_it_ran("eager", traced(), mps) == ("eager", {"device_seen_by": "outputs"})


def test_seeding_is_torchs_own_but_for_xla(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "manual_seed", asked.append)
    device.Accelerator("xpu", None).seed(7)
    device.Xla(None, SimpleNamespace(set_rng_state=asked.append)).seed(8)
    assert asked == [7, 8, 8]
    device.Cpu().seed(9)
    first = torch.rand(1)
    device.Cpu().seed(9)
    assert (asked, torch.rand(1)) == ([7, 8, 8], first)


def test_the_share_of_what_runs_on_a_device_is_that_of_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are this CPU's, and kernels are put where torch's operators were called."""
    stand_in = SimpleNamespace(kind="cuda", activity=torch.profiler.ProfilerActivity.CPU, wait=lambda: None)
    monkeypatch.setattr(device, "of", lambda kind: stand_in)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())

    def launched(events: list[Any]) -> list[kernels.Kernel]:
        moments = {event.name: event.time_range.start for event in events}
        seconds = {"aten::linear": 3e-3, "aten::relu": 1e-3}
        return [
            kernels.Kernel(name=name, seconds=took, launched=moments[name], by="cudaLaunchKernel")
            for name, took in seconds.items()
        ]

    monkeypatch.setattr(tracing, "kernels", launched)
    found, _ = tracing.trace(lambda: model(torch.ones(2, 8)), torch.device("cuda"))
    assert found.by_torch == pytest.approx({"aten::linear": 3e-3, "aten::relu": 1e-3})
    assert found.on_device is not None
    assert not found.on_device.mostly_on_cpu
    monkeypatch.setattr(tracing, "kernels", lambda events: [])
    blind, _ = tracing.trace(lambda: model(torch.ones(2, 8)), torch.device("cuda"))
    assert (blind.on_device, blind.by_torch, blind.share("inductor")) == (None, {}, None)


@pytest.mark.usefixtures("_tf32_as_before")
@pytest.mark.parametrize(("kind", "allows"), [("cuda", False), ("cpu", True), (None, True)])
def test_tf32_is_forbidden_on_cuda_only(kind: str | None, allows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: None)
    monkeypatch.setattr(compat, "before_conversion", lambda: None)
    torch.backends.cudnn.allow_tf32 = True
    convert.prepare(None, torch.device(kind) if kind else None)
    assert device.allows_tf32() is allows


def test_an_operator_of_torch_tensorrts_is_its_engine_whoever_calls_it() -> None:
    library: Any = torch.library
    library = library.Library("tensorrt", "DEF")
    library.define("execute_engine(Tensor x) -> Tensor")
    library.impl("execute_engine", lambda x: x + 1, "CPU")
    found, _ = tracing.trace(lambda: torch.ops.tensorrt.execute_engine(torch.ones(2)), CPU)
    assert found.share("tensorrt") is not None
    assert set(found.inside) == {"tensorrt"}

    def pretends() -> torch.Tensor:
        with torch.profiler.record_function("tensorrt::execute_engine"):
            return torch.ones(2) + 1

    forged, _ = tracing.trace(pretends, CPU)
    assert not forged.inside
