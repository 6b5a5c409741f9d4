"""What one traced call tells of the engine that ran: by marks that nobody can forge, and by share."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sweep.cell import Mode
from sweep.child import attestors, device, narrow, onnx_session
from sweep.child import trace as tracing
from sweep.child.engines import Witness
from sweep.child.kernels import OnDevice
from sweep.evidence import Engine

CPU = torch.device("cpu")
X = torch.randn(8, 256)

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:torch.quantize_per_tensor"
)


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def mode(engine: str, name: str = "MINE", precision: str = "fp32") -> Mode:
    return Mode(
        name=name, runs_on=("cpu",), needs=(), dtype="float32", precision=precision, engine=engine, implemented=True
    )


def attested(
    convert: Callable[[torch.nn.Module], Any], engine: str, model: torch.nn.Module | None = None, **label: str
) -> Engine:
    model = model or layers(4)
    witness = Witness(mode(engine, **label), model)
    forward = convert(model)
    forward(X)
    return witness.engine(forward, X, CPU)


def traced(model: torch.nn.Module) -> Any:
    return torch.jit.trace(model, X)  # type: ignore[no-untyped-call]


def layers(count: int) -> torch.nn.Module:
    return torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(count))).eval()


class Annotated(torch.nn.Module):
    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names, self.layer = names, torch.nn.Linear(256, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.names:
            with torch.profiler.record_function(name):
                x = self.layer(x)
        return x


def _marked(x: torch.Tensor) -> torch.Tensor:
    with torch.profiler.record_function("aten::linear"):
        return x


def test_a_users_annotation_is_no_mark_of_an_engine() -> None:
    assert attested(lambda m: m.forward, "tensorrt", Annotated("tensorrt::execute_engine")).actual == "eager"
    model = Annotated("forward", "## Call CompiledFxGraph abc ##", "onnxruntime", "inductor", "quantized::linear")
    assert attested(lambda m: m.forward, "fx-quantized", model).actual == "eager"
    assert attested(lambda m: m.forward, "cudagraphs", Annotated("cudaGraphLaunch")).actual == "eager"
    nothing = attested(lambda m: _marked, "eager")
    assert nothing.actual == "nothing"
    assert attested(lambda m: m.forward, "eager", model).actual == "eager"
    assert attested(lambda m: m.forward, "torchscript", model).actual == "eager"
    assert attested(lambda m: m.forward, "inductor", model).actual == "eager"


def test_scripted_parts_of_the_model_itself_are_its_own() -> None:
    scripted = torch.nn.Sequential(traced(torch.nn.Linear(256, 256)), torch.nn.Linear(256, 256))
    assert attested(lambda m: m.forward, "eager", scripted).actual == "eager"
    found = attested(traced, "torchscript")
    assert (found.actual, found.share) == ("torchscript", 1.0)


class Partly(torch.nn.Module):
    """So many layers are kept from the compiler, between two that are not."""

    def __init__(self, outside: int) -> None:
        super().__init__()
        self.first, self.kept, self.last = layers(1), layers(outside), layers(1)
        self.outside = outside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x).relu()
        if self.outside:
            y = self.alone(y)
        return self.last(y).relu()  # type: ignore[no-any-return]

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def alone(self, x: torch.Tensor) -> torch.Tensor:
        return self.kept(x)  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize(("outside", "least", "most"), [(0, 0.99, 1.0), (40, 0.0, 0.5)])
def test_the_share_of_inductor_is_that_of_the_work(outside: int, least: float, most: float) -> None:
    for _ in range(3):  # of a traced call that other tests interrupt inside a region the share is that of the waiting
        torch._dynamo.reset()
        found = attested(torch.compile, "inductor", Partly(outside))
        assert found.actual == "inductor"
        assert found.share is not None
        if is_right := least <= found.share <= most:
            break
    assert is_right, found.share
    if outside:
        assert "linear" in found.outside


def onnx_session_of(model: torch.nn.Module, path: Any, **options: Any) -> Any:
    import onnxruntime

    torch.onnx.export(model, (X,), str(path), dynamo=False, input_names=["x"], output_names=["y"])
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"], **options)


def _run(session: Any) -> Any:
    return lambda x: session.run(None, {"x": x.numpy()})


def _bound(session: Any) -> Any:
    def forward(x: torch.Tensor) -> Any:
        binding = session.io_binding()
        binding.bind_cpu_input("x", x.numpy())
        binding.bind_output("y")
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    return forward


def _ort_values(session: Any) -> Any:
    import onnxruntime

    def forward(x: torch.Tensor) -> Any:
        value = onnxruntime.OrtValue.ortvalue_from_numpy(x.numpy())
        return session.run_with_ort_values(["y"], {"x": value})[0].numpy()

    return forward


@pytest.mark.parametrize("way", [_run, _bound, _ort_values])
def test_every_public_way_to_call_onnx_runtime_counts(tmp_path: Any, way: Any) -> None:
    found = attested(lambda m: way(onnx_session_of(m, tmp_path / "m.onnx")), "onnxruntime")
    assert (found.actual, found.precision, found.share) == ("onnxruntime", "fp32", 1.0)
    assert found.evidence["session_runs"] == 1


def test_a_session_that_is_not_called_attests_nothing(tmp_path: Any) -> None:
    def convert(model: torch.nn.Module) -> Any:
        decoy = onnx_session_of(model, tmp_path / "decoy.onnx")
        session = onnx_session_of(model, tmp_path / "m.onnx")
        return lambda x, kept=decoy: session.run(None, {"x": x.numpy()})

    assert len(attested(convert, "onnxruntime").evidence["providers"]) == 1


def test_int8_in_onnx_runtime_is_seen(tmp_path: Any) -> None:
    from onnxruntime.quantization import quantize_dynamic

    def convert(model: torch.nn.Module) -> Any:
        import onnxruntime

        torch.onnx.export(model, (X,), str(tmp_path / "m.onnx"), dynamo=False, input_names=["x"], output_names=["y"])
        quantize_dynamic(tmp_path / "m.onnx", tmp_path / "q.onnx")
        return _run(onnxruntime.InferenceSession(str(tmp_path / "q.onnx"), providers=["CPUExecutionProvider"]))

    found = attested(convert, "onnxruntime", precision="int8")
    assert (found.actual, found.precision) == ("onnxruntime", "int8")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_int8_in_torch_is_seen() -> None:
    def convert(model: torch.nn.Module) -> Any:
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}).forward  # type: ignore[no-untyped-call]

    found = attested(convert, "eager", precision="int8")
    assert found.actual == "eager"
    assert "int8" in str(found.precision)


def test_work_that_torch_does_beside_a_session_is_outside(tmp_path: Any) -> None:
    heavy = layers(400)

    def convert(model: torch.nn.Module) -> Any:
        run = _run(onnx_session_of(model, tmp_path / "m.onnx"))
        return lambda x: run(heavy(x))

    found = attested(convert, "onnxruntime", layers(1))
    assert found.share is not None
    assert found.share < 0.5
    assert "linear" in found.outside


def test_an_annotation_hides_no_work_beside_an_engine(tmp_path: Any) -> None:
    heavy = layers(400)

    def convert(model: torch.nn.Module) -> Any:
        run = _run(onnx_session_of(model, tmp_path / "m.onnx"))

        def forward(x: torch.Tensor) -> Any:
            with torch.profiler.record_function("aten::relu"):
                return run(heavy(x))

        return forward

    found = attested(convert, "onnxruntime", layers(1))
    assert found.share is not None
    assert found.share < 0.5
    assert "linear" in found.outside


def test_the_share_of_narrow_weights_is_of_all_weights() -> None:
    from optimum import quanto

    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.LSTM(256, 256)).eval()
    model.forward = lambda x: model[1](model[0](x))  # type: ignore[method-assign]

    def convert(made: torch.nn.Module) -> Any:
        quanto.quantize(made, weights=quanto.qint8)
        quanto.freeze(made)
        return torch.nn.Module.__call__.__get__(made)

    found = attested(convert, "quanto", model, name="OPTIMUM_QUANTO_WI8", precision="int8")
    assert found.evidence["share_of"] == "weights"
    assert found.share == pytest.approx(1 / 9)


def test_tables_that_are_only_looked_up_are_none_of_them() -> None:
    table, head = torch.nn.Embedding(1000, 8), torch.nn.Linear(8, 8)
    apart = torch.nn.ModuleDict({"table": table, "head": head})
    tied = torch.nn.ModuleDict({"table": table, "head": head, "tied": torch.nn.Linear(8, 1000)})
    tied["tied"].weight = table.weight

    def share(model: torch.nn.Module) -> Any:
        return narrow.share_of_weights(narrow.of_model(model, lambda weight: weight is head.weight))["share"]

    assert share(apart) == 1
    assert share(tied) == pytest.approx(64 / 8064)
    found = narrow.share_of_weights(narrow.of_modules(apart))["share"]
    assert found == 0
    assert narrow.share_of_weights(narrow.of_modules(torch.nn.Sequential(table)))["share"] is None
    program = torch.export.export(torch.nn.Sequential(table, head), (torch.tensor([1, 2]),)).module()
    assert isinstance(program, torch.fx.GraphModule)
    assert [tuple(weight.shape) for weight, _ in narrow.of_graph(program) if weight.dim() > 1] == [(8, 8)]


def test_a_session_that_is_made_and_not_run_is_no_mark(tmp_path: Any) -> None:
    def convert(model: torch.nn.Module) -> Any:
        onnx_session_of(model, tmp_path / "m.onnx")
        return model.forward

    found = attested(convert, "onnxruntime")
    assert found.actual == "eager"
    assert found.evidence["session_runs"] == 0


def observation(engine: str, device: str = "cpu", **seen: Any) -> attestors.Observation:
    traced: dict[str, Any] = {"names": Counter(), "outside": Counter(), "precisions": frozenset()}
    return attestors.Observation(
        mode=mode(engine),
        model=torch.nn.Identity(),
        scripted=False,
        forward=None,
        trace=tracing.Trace(**traced | seen),
        sessions=[],
        engine=engine,
        device=device,
    )


def test_openvino_is_what_ran_its_partitions_in_the_precision_that_these_say() -> None:
    def property_of(name: str) -> Any:
        return ["CPU"] if name == "EXECUTION_DEVICES" else SimpleNamespace(get_type_name=lambda: "bf16")

    called = (SimpleNamespace(get_property=property_of),)
    ran = observation(
        "openvino", called=called, calls=Counter(openvino=2), inside={"openvino": 3.0}, by_torch={"a": 1.0}
    )
    name, precision, evidence = attestors._openvino(ran)
    assert (name, precision, evidence["share"], evidence["execution_devices"]) == ("openvino", "bf16", 0.75, ["CPU"])
    not_run = observation("openvino", called=called, names=Counter({"aten::linear": 1, "Torch-Compiled Region": 1}))
    assert attestors._openvino(not_run)[0] == "eager"


class Session:
    """As ONNX Runtime's says which of its providers got which node."""

    def __init__(self, **nodes: int) -> None:
        self.nodes = {f"{name}ExecutionProvider": count for name, count in nodes.items()}

    def get_providers(self) -> list[str]:
        return list(self.nodes)

    def get_provider_graph_assignment_info(self) -> list[Any]:
        node = SimpleNamespace(op_type="Conv")
        return [SimpleNamespace(ep_name=name, get_nodes=partial(list, [node] * n)) for name, n in self.nodes.items()]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(type="tensor(float)")]


@pytest.mark.parametrize(
    ("device", "nodes", "actual", "share"),
    [
        ("cuda", {"CUDA": 4, "CPU": 0}, "onnxruntime", 1.0),
        ("cuda", {"CUDA": 1, "CPU": 3}, "onnxruntime", 0.25),
        ("cuda", {"Tensorrt": 2, "CUDA": 1, "CPU": 1}, "onnxruntime", 0.75),
        ("cuda", {"CPU": 49}, "onnxruntime on CPUExecutionProvider", 0.0),
        ("cpu", {"CPU": 49}, "onnxruntime", 1.0),
        ("cpu", {"OpenVINO": 3, "CPU": 1}, "onnxruntime", 1.0),
        ("cpu", {"CUDA": 3, "CPU": 1}, "onnxruntime on CUDAExecutionProvider", 1.0),
    ],
)
def test_on_a_gpu_the_share_is_also_that_of_the_nodes_there(
    device: str, nodes: dict[str, int], actual: str, share: float
) -> None:
    observed = observation("onnxruntime", device, calls=Counter(onnxruntime=1), inside={"onnxruntime": 1.0})
    observed = replace(observed, sessions=[Session(**nodes)])
    found, precision, evidence = attestors._onnxruntime(observed)
    assert (found, precision) == (actual, "fp32")
    assert evidence["share"] == pytest.approx(share)


LINEAR, REGION, PACKED = "aten::linear", "Torch-Compiled Region: 0/0", "quantized::linear"


@pytest.mark.parametrize(
    ("engine", "label", "events", "actual"),
    [
        ("cudagraphs", "MINE", ["cudaGraphLaunch"], "cudagraphs"),
        ("cudagraphs", "MINE", [LINEAR], "eager"),
        ("tensorrt", "MINE", ["tensorrt::execute_engine"], "tensorrt"),
        ("tensorrt", "MINE", [LINEAR, "TensorRT:forward"], "eager"),  # anybody may call a stretch so
        ("tensorrt", "MINE", [LINEAR], "eager"),
        ("tvm", "MINE", [REGION], "tvm"),
        ("tvm", "MINE", [REGION, LINEAR], "eager"),
        ("tvm", "MINE", [LINEAR], "eager"),
        ("fx-quantized", "NATIVE_CONVERT", [PACKED], "fx-quantized"),
        ("fx-quantized", "NATIVE_CONVERT", [LINEAR, "aten::fake_quantize_per_tensor"], "eager"),
        ("fx-quantized", "NATIVE_FAKE", [LINEAR, "aten::fake_quantize_per_tensor"], "fx-quantized"),
        ("fx-quantized", "NATIVE_FAKE", [LINEAR], "eager"),
    ],
)
def test_each_engine_is_known_by_its_own_mark_alone(engine: str, label: str, events: list[str], actual: str) -> None:
    seen = observation(engine, names=Counter(events))
    seen = replace(seen, mode=mode(engine, label, "int8"), forward=layers(1).forward)
    found, precision, evidence = attestors.ATTESTORS[engine](seen)
    assert found == actual
    if actual == "fx-quantized":
        assert (precision, evidence["share"]) == ("int8", 0.0)


def ran_on_gpu(engine: str, *names: str, label: str = "MINE", **seen: Any) -> attestors.Observation:
    """One call on a GPU, of which these events and kernels were seen."""
    kernels = seen.pop("kernels", {"ampere_sgemm_128x64_tn": 1})
    ran = OnDevice(kernels=Counter(kernels), seconds=2e-3, **{"in_graphs": 0.0} | seen.pop("on_device", {}))
    observed = observation(engine, "cuda", names=Counter(names), on_device=ran, **seen)
    return replace(observed, mode=mode(engine, label), forward=layers(1).forward)


def test_cuda_graphs_are_attested_by_a_launch_and_by_their_share_of_the_time() -> None:
    observed = ran_on_gpu("cudagraphs", REGION, "cudaGraphLaunch", on_device={"in_graphs": 1.9e-3})
    found, _, evidence = attestors._cudagraphs(observed)
    assert (found, evidence["graph_launches"], evidence["share"]) == ("cudagraphs", 1, pytest.approx(0.95))
    empty = attestors._cudagraphs(ran_on_gpu("cudagraphs", LINEAR, "cudaGraphLaunch"))
    assert empty[2]["share"] == 0  # a graph of nothing beside an eager model
    fallen_back = ran_on_gpu("cudagraphs", REGION, LINEAR)
    assert attestors._cudagraphs(fallen_back)[0] == "dynamo"


@pytest.mark.parametrize(
    ("device", "label", "launches", "actual"),
    [
        ("cuda", "COMPILE_INDUCTOR_REDUCE_OVERHEAD", 1, "inductor"),
        ("cuda", "COMPILE_INDUCTOR_REDUCE_OVERHEAD", 0, "inductor without a CUDA graph"),
        ("cuda", "COMPILE_INDUCTOR_DEFAULT", 0, "inductor"),
        ("cpu", "COMPILE_INDUCTOR_REDUCE_OVERHEAD", 0, "inductor"),
    ],
)
def test_reduced_overhead_is_that_of_a_graph(device: str, label: str, launches: int, actual: str) -> None:
    names = Counter({"cudaGraphLaunch": launches})
    seen = observation("inductor", device, names=names, calls=Counter(inductor=1), inside={"inductor": 1.0})
    assert attestors._inductor(replace(seen, mode=mode("inductor", label)))[0] == actual


def test_tensorrt_is_what_ran_its_modules_and_its_share_that_of_their_kernels() -> None:
    timed: dict[str, Any] = {"inside": {"tensorrt": 3.0}, "by_torch": {"aten::conv2d": 1.0}}
    found, _, evidence = attestors._tensorrt(ran_on_gpu("tensorrt", REGION, calls=Counter(tensorrt=2), **timed))
    assert (found, evidence) == ("tensorrt", {"engine_runs": 2, "share": 0.75, "share_of": "time"})
    assert attestors._tensorrt(ran_on_gpu("tensorrt", REGION, LINEAR))[0] == "dynamo"


@pytest.mark.parametrize(
    ("kernel", "precisions", "said"),
    [
        ("ampere_sgemm_128x64_tn", {"fp32"}, "fp32"),
        ("sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n", {"fp32"}, "tf32"),
        ("sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n", {"fp32", "fp16"}, "fp16+tf32"),
        ("nvjet_hsh_128x256", {"fp16"}, "fp16"),
    ],
)
def test_tf32_is_seen_by_the_kernels_that_ran(kernel: str, precisions: set[str], said: str) -> None:
    device.forbid_tf32()
    seen = ran_on_gpu("eager", LINEAR, kernels={kernel: 1}, precisions=frozenset(precisions))
    assert attestors._torch(seen)[:2] == ("eager", said)


def test_tf32_that_was_allowed_meanwhile_is_seen_whatever_kernels_are_called() -> None:
    device.forbid_tf32()
    seen = ran_on_gpu("eager", LINEAR, precisions=frozenset({"fp32"}))
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        assert seen.precision == "tf32"
        assert observation("eager", precisions=frozenset({"fp32"})).precision == "fp32"  # the CPU has none
    finally:
        device.forbid_tf32()


def test_sessions_on_a_gpu_are_asked_for_fp32_in_fp32() -> None:
    chosen = ("CUDAExecutionProvider", {"use_tf32": "1"})
    asked = onnx_session.without_tf32(["CUDAExecutionProvider", chosen, "CPUExecutionProvider"])
    assert asked == [("CUDAExecutionProvider", {"use_tf32": "0"}), chosen, "CPUExecutionProvider"]


def test_providers_are_changed_before_a_session_is_made(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "InferenceSession", onnxruntime.InferenceSession)
    asked: list[Any] = []

    def as_given(providers: Any) -> Any:
        asked.append(providers)
        return providers

    onnx_session.replace_class(lambda options: None, providers=as_given)
    session = onnx_session_of(layers(1), tmp_path / "m.onnx")
    assert asked == [["CPUExecutionProvider"]]
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_quanto_has_the_precision_of_its_label_only_where_the_weights_have() -> None:
    from optimum import quanto

    def quantised(kind: Any) -> Callable[[torch.nn.Module], Any]:
        def convert(made: torch.nn.Module) -> Any:
            quanto.quantize(made, weights=kind)
            quanto.freeze(made)
            return made.forward

        return convert

    label = {"name": "OPTIMUM_QUANTO_WI8", "precision": "int8"}
    assert attested(quantised(quanto.qint8), "quanto", layers(1), **label).precision == "int8"
    assert attested(quantised(quanto.qint4), "quanto", layers(1), **label).precision == "qint4"


def test_torchao_is_what_has_its_weights_and_is_called() -> None:
    narrow = type("Int8", (torch.Tensor,), {"__module__": "torchao.quantization"})
    model, other = layers(2), layers(1)
    first: Any = next(model.children())
    first.weight = torch.nn.Parameter(first.weight.detach().as_subclass(narrow))
    ran = replace(observation("torchao", names=Counter([LINEAR])), mode=mode("torchao", precision="int8"))
    found, precision, evidence = attestors._torchao(replace(ran, model=model, forward=model.forward))
    assert (found, precision, evidence) == (
        "torchao",
        "int8",
        {"weights": ["Int8"], "share": 0.5, "share_of": "weights"},
    )
    assert attestors._torchao(replace(ran, model=model, forward=lambda x: [model(x)]))[0] == "torchao"
    assert attestors._torchao(replace(ran, model=model, forward=other.forward))[0] == "eager"
    assert attestors._torchao(replace(ran, model=other, forward=other.forward))[0] == "eager"


@pytest.mark.parametrize("lie", ["another model's forward", "not frozen", "nothing quantised"])
def test_quanto_is_what_has_narrow_weights_and_is_called(lie: str) -> None:
    from optimum import quanto

    def convert(made: torch.nn.Module) -> Any:
        other = copy.deepcopy(made)
        if lie != "nothing quantised":
            quanto.quantize(made, weights=quanto.qint8)
        if lie != "not frozen":
            quanto.freeze(made)
        return other.forward if lie == "another model's forward" else made.forward

    assert attested(convert, "quanto", name="OPTIMUM_QUANTO_WI8", precision="int8").actual == "eager"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_an_artefact_is_attested_through_each_way_to_load_it(tmp_path: Any) -> None:
    def packaged(model: torch.nn.Module) -> Any:
        path = torch._inductor.aoti_compile_and_package(
            torch.export.export(model, (X,)), package_path=str(tmp_path / "model.pt2")
        )
        return torch._inductor.aoti_load_package(path)

    def loaded(model: torch.nn.Module) -> Any:
        library = torch._inductor.aot_compile(torch.export.export(model, (X,)).module(), (X,))
        return torch._export.aot_load(str(library), "cpu")

    def beside(model: torch.nn.Module) -> Any:
        run, heavy = loaded(layers(1)), layers(400)
        return lambda x: run(heavy(x))

    for convert in (packaged, loaded):
        found = attested(convert, "aot-inductor")
        assert (found.actual, found.evidence["runs"]) == ("aot-inductor", 1)
        assert found.share is not None
        assert found.share > 0.9
    found = attested(beside, "aot-inductor")
    assert found.share is not None
    assert found.share < 0.5
    assert attested(lambda model: model.forward, "aot-inductor").actual == "eager"


def test_the_weights_of_a_graph_are_those_that_are_read() -> None:
    root = torch.nn.Module()
    root.register_buffer("int8", torch.zeros(3, 4, dtype=torch.int8))
    for name, rows in {"rounded": 2, "kept": 1, "replaced": 9}.items():
        root.register_parameter(name, torch.nn.Parameter(torch.ones(rows, 4)))
    root.register_buffer("table", torch.zeros(9, 9, dtype=torch.int64))
    graph = torch.fx.Graph()
    for name in ("int8", "rounded", "kept", "replaced", "table"):
        weight = graph.get_attr(name)
        if name == "rounded":
            graph.call_function(torch.quantize_per_tensor, (weight, 0.1, 0, torch.qint8))
        elif name != "replaced":
            graph.call_function(torch.neg, (weight,))
    graph.output(None)
    module = torch.fx.GraphModule(root, graph)
    assert narrow.share_of_weights(narrow.of_graph(module))["share"] == pytest.approx(5 / 6)
    ran = observation("pt2e-quantized", names=Counter({"aten::linear": 1}))
    name, precision, evidence = attestors._pt2e(replace(ran, forward=module.forward))
    assert (name, precision, evidence["share"]) == ("pt2e-quantized", "fp32", pytest.approx(5 / 6))
    steps = torch.fx.Graph()
    steps.output(steps.call_function(torch.quantize_per_tensor, (steps.placeholder("x"), 0.1, 0, torch.qint8)))
    stepwise = torch.fx.GraphModule(torch.nn.Module(), steps)
    assert attestors._pt2e(replace(ran, forward=stepwise.forward))[0] == "pt2e-quantized"
    plain = torch.fx.symbolic_trace(layers(1))
    assert attestors._pt2e(replace(ran, forward=plain.forward))[:2] == ("export", None)
    assert attestors._pt2e(replace(ran, forward=layers(1).forward))[0] == "eager"


def test_the_weights_of_modules_are_packed_or_rounded_at_every_call() -> None:
    packed = torch.ao.nn.quantized.Linear(8, 3)  # type: ignore[no-untyped-call]
    rounded = torch.nn.Linear(8, 2)
    rounded.weight_fake_quant = torch.nn.Identity()
    model = torch.nn.Sequential(packed, rounded, torch.nn.Linear(8, 5), torch.nn.LayerNorm(8))
    assert narrow.share_of_weights(narrow.of_modules(model))["share"] == pytest.approx(0.5)


def test_what_is_watched_is_put_back() -> None:
    class Base:
        def run(self, x: torch.Tensor) -> torch.Tensor:
            return x @ x.T

    class Child(Base):
        pass

    before = Base.run
    found, _ = tracing.trace(lambda: Child().run(X), CPU, {"mine": [(Child, "run")]})
    assert found.calls["mine"] == 1
    assert found.share("mine") == 1.0
    assert Base.run is before
    assert "run" not in vars(Child)
