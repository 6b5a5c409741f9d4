"""Which engine ran: an attestor for every engine that a mode's label can name.

Each looks at one traced call of the very callable that was timed, and at the objects it is made of. None
believes a label: an attestor that finds no mark of its engine names the engine whose mark it finds instead.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sweep.cell import Mode
from sweep.child import onnx_session
from sweep.child.trace import Trace, trace
from sweep.evidence import Engine


class Witness:
    """Watches a conversion from before it starts; afterwards it can say which engine it used."""

    def __init__(self, mode: Mode, model: torch.nn.Module) -> None:
        self._mode, self._model = mode, model
        self._sessions: list[Any] = []
        if mode.engine == "onnxruntime":
            self._session_class = onnx_session.replace_class(_have_nodes_recorded, made=self._sessions.append)

    def engine(self, forward: Callable[[Any], Any], data: torch.Tensor, device: torch.device) -> Engine:
        """Call `forward` once more, traced, and say what ran; `actual` is None where no attestor knows the engine."""
        counted: dict[str, tuple[Any, str]] = {}
        if self._mode.engine == "onnxruntime":
            counted["session.run"] = (self._session_class, "run")
        if self._mode.engine == "openvino":
            from openvino.frontend.pytorch.torchdynamo import execute

            counted["openvino_execute"] = (execute, "openvino_execute")
        traced, _ = trace(lambda: forward(data), device, counted)
        requested = self._mode.engine.partition(" or ")[0]
        attestor = ATTESTORS.get(requested)
        if attestor is None:
            return Engine(requested=self._mode.engine, actual=None, precision=None)
        observed = Observation(
            mode=self._mode, model=self._model, forward=forward, trace=traced, sessions=self._sessions, engine=requested
        )
        actual, precision, evidence = attestor(observed)
        return Engine(
            requested=self._mode.engine,
            actual=actual,
            precision=precision,
            evidence={**evidence, "compute_operators": traced.operators, "outside_compiled": traced.operators_outside},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """All that an attestor may look at."""

    mode: Mode
    model: torch.nn.Module
    forward: Any
    trace: Trace
    sessions: list[Any]
    engine: str

    @property
    def owner(self) -> Any:
        """The object whose method the forward call is; None if it is no method."""
        return getattr(self.forward, "__self__", None)

    @property
    def closed_over(self) -> list[Any]:
        """What the forward call closes over."""
        return [cell.cell_contents for cell in getattr(self.forward, "__closure__", None) or ()]

    @property
    def precision(self) -> str | None:
        """What torch's operators computed in; where none shows, what the model's weights are kept in."""
        return "+".join(sorted(self.trace.precisions)) or _weight_precision(self.model)


Finding = tuple[str, str | None, dict[str, Any]]


def _weight_precision(model: torch.nn.Module) -> str | None:
    names = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}
    kept = {names[p.dtype] for p in model.parameters() if p.dtype in names}
    return kept.pop() if len(kept) == 1 else None


def _torch(observed: Observation) -> Finding:
    """Eager: torch's own operators, one by one, and no mark of a compiler."""
    return observed.trace.what_ran, observed.precision, {}


def _exported(observed: Observation) -> Finding:
    ran = observed.trace.what_ran
    graph = isinstance(observed.owner, torch.fx.GraphModule)
    nodes = len(observed.owner.graph.nodes) if graph else 0
    return "export" if graph and ran == "eager" else ran, observed.precision, {"graph_nodes": nodes}


def _inductor(observed: Observation) -> Finding:
    from torch._dynamo.utils import counters
    from torch._inductor import metrics

    return (
        observed.trace.what_ran,
        observed.precision,
        {
            "graphs_compiled": counters["stats"]["unique_graphs"],
            "graphs_run": observed.trace.inductor_graphs,
            "graph_breaks": sum(counters["graph_break"].values()),
            "kernels_generated": metrics.generated_kernel_count,
            "cache_hits": counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"],
        },
    )


def _aot_inductor(observed: Observation) -> Finding:
    """The loaded artefact leaves no mark of its own: its runner is in the callable, and nothing else compiled ran."""
    runners = [
        runner for runner in observed.closed_over if type(runner).__name__.startswith("AOTIModelContainerRunner")
    ]
    whole = not any(name in observed.trace.names for name in ("aten::conv2d", "aten::linear"))  # eager's own entries
    loaded = bool(runners) and whole and observed.trace.what_ran in {"eager", "nothing"}
    actual = "aot-inductor" if loaded else observed.trace.what_ran
    return actual, observed.precision, {"runners": [type(runner).__name__ for runner in runners]}


def _torchscript(observed: Observation) -> Finding:
    ran = observed.trace.what_ran
    if ran != "torchscript":
        return ran, observed.precision, {}
    graph = torch._C._last_executed_optimized_graph()
    return ran, observed.precision, {"executed_graph_nodes": len(list(graph.nodes()))}


def _onnxruntime(observed: Observation) -> Finding:
    wanted = "CUDAExecutionProvider" if observed.mode.runs_on == ("cuda",) else "CPUExecutionProvider"
    runs = observed.trace.calls["session.run"]
    providers = [session.get_providers() for session in observed.sessions]
    evidence = {"session_runs": runs, "providers": providers, "nodes": _nodes_by_provider(observed.sessions)}
    if not runs:
        return observed.trace.what_ran, observed.precision, evidence
    first = {provider for provider, *_ in providers}
    actual = "onnxruntime" if first == {wanted} else f"onnxruntime on {' and '.join(sorted(first))}"
    return actual, _session_precision(observed.sessions), evidence


def _have_nodes_recorded(options: Any) -> None:
    """Have a session record which execution provider gets which node."""
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")


def _nodes_by_provider(sessions: list[Any]) -> dict[str, int]:
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


def _openvino(observed: Observation) -> Finding:
    """OpenVINO's backend falls back to Inductor when it cannot compile and to torch when it cannot run, in silence."""
    from openvino.frontend.pytorch.torchdynamo import execute

    compiled = list(execute.compiled_cache.values())
    runs = observed.trace.calls["openvino_execute"]
    evidence = {
        "partitions": len(compiled),
        "partitions_run": runs,
        "execution_devices": sorted({device for c in compiled for device in c.get_property("EXECUTION_DEVICES")}),
    }
    if not runs:
        ran = observed.trace.what_ran
        return "eager" if ran == "dynamo" and observed.trace.operators else ran, observed.precision, evidence
    precisions = {c.get_property("INFERENCE_PRECISION_HINT").get_type_name() for c in compiled}
    names = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}
    return "openvino", "+".join(sorted(names.get(name, name) for name in precisions)), evidence


def _quanto(observed: Observation) -> Finding:
    """The weights are in the narrow type, and the forward call is that of the model that has them."""
    from optimum.quanto import QModuleMixin

    layers = [m for m in observed.model.modules() if isinstance(m, QModuleMixin | torch.nn.Linear | torch.nn.Conv2d)]
    narrow = [m for m in layers if isinstance(m, QModuleMixin) and m.frozen]
    types = sorted({str(m.weight_qtype.name) for m in narrow})
    evidence = {"weights": types, "share_of_layers": len(narrow) / len(layers) if layers else 0.0}
    if observed.owner is not observed.model or not narrow or observed.trace.what_ran != "eager":
        return observed.trace.what_ran, observed.precision, evidence
    # qint8 is WI8 in a mode's name, qfloat8_e4m3fn is Wf8E4M3N
    labels = {"qint8": "WI8", "qint4": "WI4", "qint2": "WI2", "qfloat8_e4m3fn": "Wf8E4M3N"}
    labels |= {"qfloat8_e4m3fnuz": "Wf8E4M3NUZ", "qfloat8_e5m2": "Wf8E5M2"}
    matches = len(types) == 1 and observed.mode.name.split("+")[0].endswith(labels.get(types[0], types[0]))
    return "quanto", observed.mode.precision if matches else "+".join(types), evidence


def _pt2e(observed: Observation) -> Finding:
    """Integers in the exported graph: int8 weights, or the nodes that quantise around each operator."""
    ran = observed.trace.what_ran
    if not isinstance(observed.owner, torch.fx.GraphModule) or ran != "eager":
        return ran, observed.precision, {}
    nodes = [str(node.target) for node in observed.owner.graph.nodes]
    tensors = [*observed.owner.parameters(), *observed.owner.buffers()]
    int8 = sum(tensor.dtype is torch.int8 for tensor in tensors)
    steps = sum("quantize" in node for node in nodes)
    layers = sum(any(kind in node for kind in ("conv", "linear", "addmm")) for node in nodes)
    evidence = {"int8_weights": int8, "quantize_nodes": steps, "layers": layers}
    return "pt2e-quantized" if int8 or steps else "export", observed.mode.precision if int8 or steps else None, evidence


def _fx_quantized(observed: Observation) -> Finding:
    ran = {
        "quantized_operators": observed.trace.count("quantized::"),
        "fake_quantize_operators": observed.trace.count("aten::fake_quantize", "aten::_fake_quantize"),
    }
    wanted = "fake_quantize_operators" if "FAKE" in observed.mode.name else "quantized_operators"
    if ran[wanted]:
        return "fx-quantized", observed.mode.precision, ran
    return observed.trace.what_ran, observed.precision, ran


def _torchao(observed: Observation) -> Finding:
    kinds = sorted({type(p).__name__ for p in observed.model.parameters() if type(p).__module__.startswith("torchao")})
    holds_model = observed.owner is observed.model or observed.model in observed.closed_over
    ran = observed.trace.what_ran
    return (
        ("torchao", observed.mode.precision, {"weights": kinds})
        if kinds and holds_model
        else (ran, observed.precision, {})
    )


def _cudagraphs(observed: Observation) -> Finding:
    launches = observed.trace.count("cudaGraphLaunch")
    return "cudagraphs" if launches else observed.trace.what_ran, observed.precision, {"graph_launches": launches}


def _tensorrt(observed: Observation) -> Finding:
    engines = observed.trace.count("tensorrt", "TensorRT", "TRTEngine")
    return "tensorrt" if engines else observed.trace.what_ran, observed.precision, {"engine_runs": engines}


def _dynamo_backend(observed: Observation) -> Finding:
    """A backend that leaves no mark: a compiled region ran, and neither Inductor nor torch computed in it."""
    alone = observed.trace.what_ran == "dynamo" and not observed.trace.operators
    ran = "eager" if observed.trace.what_ran == "dynamo" else observed.trace.what_ran
    return observed.engine if alone else ran, observed.precision, {"regions": observed.trace.compiled_regions}


ATTESTORS: dict[str, Callable[[Observation], Finding]] = {
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
