"""Which engine ran: an attestor for every engine that a mode's label can name.

Each looks at one traced call of the very callable that was timed, and at the objects it is made of. None
takes a label's word: an attestor that finds no mark of its engine names what left its mark instead.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sweep.cell import Mode
from sweep.child.trace import Trace, trace
from sweep.evidence import Engine


class Witness:
    """Watches a conversion from before it starts; afterwards it can say which engine it used."""

    def __init__(self, mode: Mode, model: torch.nn.Module) -> None:
        self._mode, self._model = mode, model
        self._sessions: list[Any] = []
        if mode.engine == "onnxruntime":
            self._session_class = _watch_onnxruntime(self._sessions)

    def engine(self, forward: Callable[[Any], Any], data: torch.Tensor, device: torch.device) -> Engine:
        """Call `forward` once more, traced, and say what ran; `actual` is None where no attestor knows the engine."""
        counted: dict[str, tuple[Any, str]] = {}
        if self._mode.engine == "onnxruntime":
            counted["session.run"] = (self._session_class, "run")
        if self._mode.engine == "openvino":
            from openvino.frontend.pytorch.torchdynamo import execute

            counted["openvino_execute"] = (execute, "openvino_execute")
        seen, _ = trace(lambda: forward(data), device, counted)
        requested = self._mode.engine.partition(" or ")[0]
        attestor = ATTESTORS.get(requested)
        if attestor is None:
            return Engine(requested=self._mode.engine, actual=None, precision=None)
        scene = Scene(
            mode=self._mode, model=self._model, forward=forward, trace=seen, sessions=self._sessions, engine=requested
        )
        actual, precision, evidence = attestor(scene)
        return Engine(
            requested=self._mode.engine,
            actual=actual,
            precision=precision,
            evidence={**evidence, "compute_operators": seen.operators, "outside_compiled": seen.operators_outside},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """All that an attestor may look at."""

    mode: Mode
    model: torch.nn.Module
    forward: Any
    trace: Trace
    sessions: list[Any]
    engine: str

    @property
    def owner(self) -> Any:
        """What the forward call is a method of, if it is one."""
        return getattr(self.forward, "__self__", None)

    @property
    def held(self) -> list[Any]:
        """What the forward call closes over."""
        return [cell.cell_contents for cell in getattr(self.forward, "__closure__", None) or ()]

    @property
    def precision(self) -> str | None:
        """What torch's operators computed in; where none shows, what the model's weights are kept in."""
        return "+".join(sorted(self.trace.precisions)) or _kept_in(self.model)


Attested = tuple[str, str | None, dict[str, Any]]


def _kept_in(model: torch.nn.Module) -> str | None:
    names = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}
    kept = {names[p.dtype] for p in model.parameters() if p.dtype in names}
    return kept.pop() if len(kept) == 1 else None


def _torch(scene: Scene) -> Attested:
    """Eager: torch's own operators, one by one, and no compiler's mark."""
    return scene.trace.what_ran, scene.precision, {}


def _exported(scene: Scene) -> Attested:
    ran = scene.trace.what_ran
    graph = isinstance(scene.owner, torch.fx.GraphModule)
    nodes = len(scene.owner.graph.nodes) if graph else 0
    return "export" if graph and ran == "eager" else ran, scene.precision, {"graph_nodes": nodes}


def _inductor(scene: Scene) -> Attested:
    from torch._dynamo.utils import counters
    from torch._inductor import metrics

    return (
        scene.trace.what_ran,
        scene.precision,
        {
            "graphs_compiled": counters["stats"]["unique_graphs"],
            "graphs_run": scene.trace.inductor_graphs,
            "graph_breaks": sum(counters["graph_break"].values()),
            "kernels_generated": metrics.generated_kernel_count,
            "cache_hits": counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"],
        },
    )


def _aot_inductor(scene: Scene) -> Attested:
    """The loaded artefact leaves no mark of its own: its runner is in the callable, and nothing else compiled ran."""
    runners = [held for held in scene.held if type(held).__name__.startswith("AOTIModelContainerRunner")]
    whole = not any(name in scene.trace.names for name in ("aten::conv2d", "aten::linear"))  # eager's own entries
    loaded = bool(runners) and whole and scene.trace.what_ran in {"eager", "nothing"}
    actual = "aot-inductor" if loaded else scene.trace.what_ran
    return actual, scene.precision, {"runners": [type(runner).__name__ for runner in runners]}


def _torchscript(scene: Scene) -> Attested:
    ran = scene.trace.what_ran
    if ran != "torchscript":
        return ran, scene.precision, {}
    graph = torch._C._last_executed_optimized_graph()
    return ran, scene.precision, {"executed_graph_nodes": len(list(graph.nodes()))}


def _onnxruntime(scene: Scene) -> Attested:
    wanted = "CUDAExecutionProvider" if scene.mode.runs_on == ("cuda",) else "CPUExecutionProvider"
    runs = scene.trace.calls["session.run"]
    providers = [session.get_providers() for session in scene.sessions]
    evidence = {"session_runs": runs, "providers": providers, "nodes": _placement(scene.sessions)}
    if not runs:
        return scene.trace.what_ran, scene.precision, evidence
    first = {provider for provider, *_ in providers}
    actual = "onnxruntime" if first == {wanted} else f"onnxruntime on {' and '.join(sorted(first))}"
    return actual, _session_precision(scene.sessions), evidence


def _placement(sessions: list[Any]) -> dict[str, int]:
    """Nodes of the graphs by the execution provider they were given to, as ONNX Runtime recorded it."""
    placed: Counter[str] = Counter()
    for session in sessions:
        for part in session.get_provider_graph_assignment_info():
            placed[part.ep_name] += len(part.get_nodes())
    return dict(placed)


def _session_precision(sessions: list[Any]) -> str | None:
    names = {"tensor(float)": "fp32", "tensor(float16)": "fp16", "tensor(bfloat16)": "bf16", "tensor(double)": "fp64"}
    kinds = {output.type for session in sessions for output in session.get_outputs()}
    return names.get(kinds.pop()) if len(kinds) == 1 else None


def _watch_onnxruntime(sessions: list[Any]) -> type:
    """Let every session of this process be seen, and have it record which provider gets which node."""
    import onnxruntime

    session_class = onnxruntime.InferenceSession

    class Watched(session_class):  # type: ignore[misc,valid-type]
        def __init__(self, model: Any, sess_options: Any = None, **kwargs: Any) -> None:
            options = sess_options or onnxruntime.SessionOptions()
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
            super().__init__(model, options, **kwargs)
            sessions.append(self)

    onnxruntime.InferenceSession = Watched
    return Watched


def _openvino(scene: Scene) -> Attested:
    """OpenVINO's backend falls back to Inductor when it cannot compile and to torch when it cannot run, in silence."""
    from openvino.frontend.pytorch.torchdynamo import execute

    compiled = list(execute.compiled_cache.values())
    runs = scene.trace.calls["openvino_execute"]
    evidence = {
        "partitions": len(compiled),
        "partitions_run": runs,
        "execution_devices": sorted({device for c in compiled for device in c.get_property("EXECUTION_DEVICES")}),
    }
    if not runs:
        ran = scene.trace.what_ran
        return "eager" if ran == "dynamo" and scene.trace.operators else ran, scene.precision, evidence
    precisions = {c.get_property("INFERENCE_PRECISION_HINT").get_type_name() for c in compiled}
    names = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}
    return "openvino", "+".join(sorted(names.get(name, name) for name in precisions)), evidence


def _quanto(scene: Scene) -> Attested:
    """Weights really kept in the narrow type, and the forward call is that of the model that holds them."""
    from optimum.quanto import QModuleMixin

    layers = [m for m in scene.model.modules() if isinstance(m, QModuleMixin | torch.nn.Linear | torch.nn.Conv2d)]
    narrow = [m for m in layers if isinstance(m, QModuleMixin) and m.frozen]
    types = sorted({str(m.weight_qtype.name) for m in narrow})
    evidence = {"weights": types, "share_of_layers": len(narrow) / len(layers) if layers else 0.0}
    if scene.owner is not scene.model or not narrow or scene.trace.what_ran != "eager":
        return scene.trace.what_ran, scene.precision, evidence
    # qint8 is WI8 in a mode's name, qfloat8_e4m3fn is Wf8E4M3N
    said = {"qint8": "WI8", "qint4": "WI4", "qint2": "WI2", "qfloat8_e4m3fn": "Wf8E4M3N"}
    said |= {"qfloat8_e4m3fnuz": "Wf8E4M3NUZ", "qfloat8_e5m2": "Wf8E5M2"}
    matches = len(types) == 1 and scene.mode.name.split("+")[0].endswith(said.get(types[0], types[0]))
    return "quanto", scene.mode.precision if matches else "+".join(types), evidence


def _pt2e(scene: Scene) -> Attested:
    """Integers in the exported graph: int8 weights, or the nodes that quantise around each operator."""
    ran = scene.trace.what_ran
    if not isinstance(scene.owner, torch.fx.GraphModule) or ran != "eager":
        return ran, scene.precision, {}
    nodes = [str(node.target) for node in scene.owner.graph.nodes]
    tensors = [*scene.owner.parameters(), *scene.owner.buffers()]
    int8 = sum(tensor.dtype is torch.int8 for tensor in tensors)
    steps = sum("quantize" in node for node in nodes)
    layers = sum(any(kind in node for kind in ("conv", "linear", "addmm")) for node in nodes)
    evidence = {"int8_weights": int8, "quantize_nodes": steps, "layers": layers}
    return "pt2e-quantized" if int8 or steps else "export", scene.mode.precision if int8 or steps else None, evidence


def _fx_quantized(scene: Scene) -> Attested:
    ran = {
        "quantized_operators": scene.trace.any("quantized::"),
        "fake_quantize_operators": scene.trace.any("aten::fake_quantize", "aten::_fake_quantize"),
    }
    wanted = "fake_quantize_operators" if "FAKE" in scene.mode.name else "quantized_operators"
    if ran[wanted]:
        return "fx-quantized", scene.mode.precision, ran
    return scene.trace.what_ran, scene.precision, ran


def _torchao(scene: Scene) -> Attested:
    kinds = sorted({type(p).__name__ for p in scene.model.parameters() if type(p).__module__.startswith("torchao")})
    held = scene.owner is scene.model or scene.model in scene.held
    ran = scene.trace.what_ran
    return ("torchao", scene.mode.precision, {"weights": kinds}) if kinds and held else (ran, scene.precision, {})


def _cudagraphs(scene: Scene) -> Attested:
    launches = scene.trace.any("cudaGraphLaunch")
    return "cudagraphs" if launches else scene.trace.what_ran, scene.precision, {"graph_launches": launches}


def _tensorrt(scene: Scene) -> Attested:
    engines = scene.trace.any("tensorrt", "TensorRT", "TRTEngine")
    return "tensorrt" if engines else scene.trace.what_ran, scene.precision, {"engine_runs": engines}


def _dynamo_backend(scene: Scene) -> Attested:
    """A backend that shows only by what is missing: a compiled region in which neither Inductor nor torch computed."""
    alone = scene.trace.what_ran == "dynamo" and not scene.trace.operators
    ran = "eager" if scene.trace.what_ran == "dynamo" else scene.trace.what_ran
    return scene.engine if alone else ran, scene.precision, {"regions": scene.trace.compiled_regions}


ATTESTORS: dict[str, Callable[[Scene], Attested]] = {
    "eager": _torch,
    "export": _exported,
    "inductor": _inductor,
    "aot-inductor": _aot_inductor,
    "torchscript": _torchscript,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "quanto": _quanto,
    "pt2e-quantized": _pt2e,
    "fx-quantized": _fx_quantized,
    "torchao": _torchao,
    "cudagraphs": _cudagraphs,
    "tensorrt": _tensorrt,
    "openxla": _dynamo_backend,
    "tvm": _dynamo_backend,
    "onnxrt": _dynamo_backend,
}
