"""An attestor for every engine that a mode's label can name: what of one observed call is that engine's mark.

None believes a label: an attestor that finds no mark of its engine names the engine whose mark it finds instead.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sweep.cell import Mode
from sweep.child import device, onnx_session
from sweep.child.kernels import computes_in_tf32
from sweep.child.narrow import of_graph, of_model, of_modules, share_of_weights
from sweep.child.trace import OPERATOR_OF_TENSORRT, Trace


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """All that an attestor may look at."""

    mode: Mode
    model: torch.nn.Module
    scripted: bool
    """Whether the model holds scripted parts before it is converted."""
    forward: Any
    trace: Trace
    sessions: list[Any]
    engine: str
    device: str

    @property
    def what_ran(self) -> str:
        """As the trace says; but the model's own scripted parts are no mark of TorchScript."""
        ran = self.trace.what_ran
        return self.trace.what_torch_ran if self.scripted and ran == "torchscript" else ran

    def by_time(self, *engines: str) -> dict[str, Any]:
        """The share of the work that these did, of the time."""
        return {"share": self.trace.share(*engines), "share_of": "time"}

    def by_weights(self, narrow: Callable[[torch.Tensor], bool]) -> dict[str, Any]:
        """The share of the model's weights that are kept in a narrow type; caches in its buffers are none."""
        return share_of_weights(of_model(self.model, narrow))

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
        quantized = {"int8"} if self.trace.count("quantized::") else set()
        return self.told_from_tf32("+".join(sorted(self.trace.precisions | quantized)) or _weight_precision(self.model))

    def told_from_tf32(self, precision: str | None) -> str | None:
        """A precision with tf32 for fp32, where kernels ran that compute so, or torch was told to."""
        ran = self.trace.on_device
        if precision is None or ran is None or self.device != "cuda":
            return precision
        if not computes_in_tf32(ran.kernels) and not device.allows_tf32():
            return precision
        return "+".join(sorted("tf32" if one == "fp32" else one for one in precision.split("+")))


Finding = tuple[str, str | None, dict[str, Any]]


def _weight_precision(model: torch.nn.Module) -> str | None:
    names = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}
    kept = {names[p.dtype] for p in model.parameters() if p.dtype in names}
    return kept.pop() if len(kept) == 1 else None


def _torch(observed: Observation) -> Finding:
    """Eager: torch's own operators, one by one, and no mark of a compiler."""
    return observed.what_ran, observed.precision, {}


def _exported(observed: Observation) -> Finding:
    ran = observed.what_ran
    graph = isinstance(observed.owner, torch.fx.GraphModule)
    nodes = len(observed.owner.graph.nodes) if graph else 0
    return "export" if graph and ran == "eager" else ran, observed.precision, {"graph_nodes": nodes}


def _inductor(observed: Observation) -> Finding:
    from torch._dynamo.utils import counters
    from torch._inductor import metrics

    ran = observed.trace.what_ran
    graphs = observed.trace.graph_launches
    wants_graphs = observed.device == "cuda" and "REDUCE_OVERHEAD" in observed.mode.name  # elsewhere it has none
    return (
        f"{ran} without a CUDA graph" if ran == "inductor" and wants_graphs and not graphs else ran,
        observed.precision,
        {
            **({"graph_launches": graphs} if graphs or wants_graphs else {}),
            "graphs_compiled": counters["stats"]["unique_graphs"],
            "graphs_run": observed.trace.inductor_graphs,
            "graph_breaks": sum(counters["graph_break"].values()),
            "kernels_generated": metrics.generated_kernel_count,
            "cache_hits": counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"],
            **(observed.by_time("inductor") if ran == "inductor" else {}),
        },
    )


def _aot_inductor(observed: Observation) -> Finding:
    runs = observed.trace.calls["aot-inductor"]
    runners = sorted({name for one in observed.trace.called if (name := type(one).__name__).startswith("AOTI")})
    if not runs:
        return observed.trace.what_ran, observed.precision, {"runs": 0}
    return "aot-inductor", observed.precision, {"runs": runs, "runners": runners, **observed.by_time("aot-inductor")}


def _torchscript(observed: Observation) -> Finding:
    ran = observed.trace.what_ran
    if ran != "torchscript":
        return ran, observed.precision, {}
    graph = torch._C._last_executed_optimized_graph()
    return (
        ran,
        observed.precision,
        {"executed_graph_nodes": len(list(graph.nodes())), **observed.by_time("torchscript")},
    )


def _onnxruntime(observed: Observation) -> Finding:
    on_gpu = observed.device == "cuda"
    wanted = ("CUDAExecutionProvider", "TensorrtExecutionProvider") if on_gpu else ("CPUExecutionProvider",)
    runs = observed.trace.calls["onnxruntime"]
    providers = [session.get_providers() for session in observed.sessions]
    nodes = Counter(provider for provider, _ in onnx_session.nodes(observed.sessions))
    evidence: dict[str, Any] = {"session_runs": runs, "providers": providers, "nodes": dict(nodes)}
    if not runs:
        return observed.what_ran, observed.precision, evidence
    first = {provider for provider, *_ in providers}
    # on a CPU other providers of the CPU (oneDNN, XNNPACK, OpenVINO) are as good
    there = bool(first & set(wanted)) if on_gpu else not any("CUDA" in one or "Tensorrt" in one for one in first)
    actual = "onnxruntime" if there else f"onnxruntime on {' and '.join(sorted(first))}"
    evidence |= observed.by_time("onnxruntime")
    if on_gpu and nodes and evidence["share"] is not None:
        evidence["share"] *= sum(nodes[one] for one in wanted) / sum(nodes.values())
    return actual, observed.told_from_tf32(onnx_session.precision(observed.sessions)), evidence


def _openvino(observed: Observation) -> Finding:
    """OpenVINO's backend falls back to Inductor when it cannot compile and to torch when it cannot run, in silence."""
    from openvino.frontend.pytorch.torchdynamo import execute

    asked = [one.get_compiled_model() if hasattr(one, "get_compiled_model") else one for one in observed.trace.called]
    own = [one for one in asked if hasattr(one, "get_property")]
    compiled = list(execute.compiled_cache.values()) or own
    runs = observed.trace.calls["openvino"]
    evidence: dict[str, Any] = {
        "partitions": len(compiled),
        "partitions_run": runs,
        "execution_devices": sorted({device for c in compiled for device in c.get_property("EXECUTION_DEVICES")}),
    }
    if not runs:
        ran = observed.what_ran
        return "eager" if ran == "dynamo" and observed.trace.operators else ran, observed.precision, evidence
    evidence |= observed.by_time("openvino")
    precisions = {c.get_property("INFERENCE_PRECISION_HINT").get_type_name() for c in compiled}
    names = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}
    return "openvino", "+".join(sorted(names.get(name, name) for name in precisions)), evidence


def _quanto(observed: Observation) -> Finding:
    """The weights are in the narrow type, and the forward call is that of the model that has them."""
    from optimum.quanto import QModuleMixin

    layers = [m for m in observed.model.modules() if isinstance(m, QModuleMixin | torch.nn.Linear | torch.nn.Conv2d)]
    narrow = [m for m in layers if isinstance(m, QModuleMixin) and m.frozen]
    types = sorted({str(m.weight_qtype.name) for m in narrow})
    evidence: dict[str, Any] = {"weights": types, "share_of_layers": len(narrow) / len(layers) if layers else 0.0}
    if observed.owner is not observed.model or not narrow or observed.what_ran != "eager":
        return observed.what_ran, observed.precision, evidence
    evidence |= observed.by_weights(lambda tensor: hasattr(tensor, "qtype"))
    # qint8 is WI8 in a mode's name, qfloat8_e4m3fn is Wf8E4M3N
    labels = {"qint8": "WI8", "qint4": "WI4", "qint2": "WI2", "qfloat8_e4m3fn": "Wf8E4M3N"}
    labels |= {"qfloat8_e4m3fnuz": "Wf8E4M3NUZ", "qfloat8_e5m2": "Wf8E5M2"}
    matches = len(types) == 1 and observed.mode.name.split("+")[0].endswith(labels.get(types[0], types[0]))
    return "quanto", observed.mode.precision if matches else "+".join(types), evidence


def _pt2e(observed: Observation) -> Finding:
    """Integers in the exported graph: int8 weights, or the nodes that quantise around each operator."""
    ran = observed.what_ran
    if not isinstance(observed.owner, torch.fx.GraphModule) or ran != "eager":
        return ran, observed.precision, {}
    graph = observed.owner
    nodes = [str(node.target) for node in graph.graph.nodes]
    weights = of_graph(graph)
    int8 = sum(tensor.dtype is torch.int8 for tensor in (*graph.parameters(), *graph.buffers()))
    steps = sum("quantize" in node for node in nodes)
    layers = sum(any(kind in node for kind in ("conv", "linear", "addmm")) for node in nodes)
    evidence = {"int8_weights": int8, "quantize_nodes": steps, "layers": layers}
    if not int8 and not steps:
        return "export", None, evidence
    return "pt2e-quantized", observed.mode.precision, {**evidence, **share_of_weights(weights)}


def _fx_quantized(observed: Observation) -> Finding:
    ran = {
        "quantized_operators": observed.trace.count("quantized::"),
        "fake_quantize_operators": observed.trace.count("aten::fake_quantize", "aten::_fake_quantize"),
    }
    wanted = "fake_quantize_operators" if "FAKE" in observed.mode.name else "quantized_operators"
    if not ran[wanted]:
        return observed.what_ran, observed.precision, ran
    owner = observed.owner
    share = share_of_weights(of_modules(owner)) if isinstance(owner, torch.nn.Module) else {}
    return "fx-quantized", observed.mode.precision, {**ran, **share}


def _torchao(observed: Observation) -> Finding:
    kinds = sorted({type(p).__name__ for p in observed.model.parameters() if _is_torchao(p)})
    holds_model = observed.owner is observed.model or observed.model in observed.closed_over
    if not kinds or not holds_model:
        return observed.what_ran, observed.precision, {}
    return "torchao", observed.mode.precision, {"weights": kinds, **observed.by_weights(_is_torchao)}


def _is_torchao(tensor: torch.Tensor) -> bool:
    return type(tensor).__module__.startswith("torchao")


def _cudagraphs(observed: Observation) -> Finding:
    """A graph that was recorded is launched again; the share is of the time of all kernels that of those in graphs."""
    launches, ran = observed.trace.graph_launches, observed.trace.on_device
    evidence: dict[str, Any] = {"graph_launches": launches}
    if not launches:
        return observed.trace.what_ran, observed.precision, evidence
    evidence |= {"share": ran.share_of_graphs if ran else None, "share_of": "time"}
    return "cudagraphs", observed.precision, evidence


def _tensorrt(observed: Observation) -> Finding:
    """Its modules were called, by whichever of its runtimes; the share is of the time of all kernels that of theirs."""
    runs, operators = observed.trace.calls["tensorrt"], observed.trace.count(OPERATOR_OF_TENSORRT)
    evidence: dict[str, Any] = {"engine_runs": runs or operators}
    if not runs and not operators:
        return observed.trace.what_ran, observed.precision, evidence
    return "tensorrt", observed.precision, evidence | observed.by_time("tensorrt")


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
