"""Which engine ran, by one traced call of the very callable that was timed, and the objects it is made of."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch

from sweep.cell import Mode
from sweep.child import compat, examine, onnx_session
from sweep.child.attestors import ATTESTORS, Observation
from sweep.child.data import Data
from sweep.child.device import allows_tf32
from sweep.child.kernels import KNOWN
from sweep.child.trace import Trace, trace
from sweep.evidence import Engine

WAYS_TO_RUN = ("run", "run_with_iobinding", "run_with_ort_values", "run_with_ortvaluevector", "run_async")
"""Methods of ONNX Runtime's session that run it."""


class Witness:
    """Watches a conversion from before it starts; afterwards it can say which engine it used."""

    def __init__(self, mode: Mode, model: torch.nn.Module) -> None:
        self._mode, self._model = mode, model
        on_gpu = any(parameter.is_cuda for parameter in model.parameters())
        self._own = examine.half_precision(model) or ("tf32" if on_gpu and allows_tf32() else None)
        self._scripted = any(isinstance(m, torch.jit.ScriptModule | torch.jit.ScriptFunction) for m in _held(model))
        self._sessions: list[Any] = []
        if mode.engine == "onnxruntime":
            in_fp32 = on_gpu and self._own is None and mode.precision == "fp32"
            change = _without_tf32 if in_fp32 else None
            onnx_session.replace_class(_have_nodes_recorded, made=self._sessions.append, providers=change)

    def engine(self, forward: Callable[[Any], Any], data: Data, device: torch.device) -> Engine:
        """Call `forward` once more, traced, and say what ran; `actual` is None where no attestor knows the engine."""
        counted: dict[str, list[tuple[Any, str]]] = {}
        if self._mode.engine == "onnxruntime":
            counted["onnxruntime"] = _ways_to_run_onnxruntime()
        if self._mode.engine == "openvino":
            counted["openvino"] = _ways_to_run_openvino()
        if self._mode.engine == "aot-inductor":
            counted["aot-inductor"] = _ways_to_run_aot_inductor()
        if self._mode.engine == "tensorrt":
            counted["tensorrt"] = _ways_to_run_tensorrt()
        traced, _ = trace(lambda: forward(data), device, counted)
        requested = self._mode.engine.partition(" or ")[0]
        attestor = ATTESTORS.get(requested)
        if attestor is None:
            return Engine(requested=self._mode.engine, actual=None, precision=None)
        observed = Observation(
            mode=self._mode,
            model=self._model,
            scripted=self._scripted,
            forward=forward,
            trace=traced,
            sessions=[one for one in traced.called if hasattr(one, "get_providers")] or self._sessions,
            engine=requested,
            device=device.type,
        )
        actual, precision, evidence = attestor(observed)
        found, where = _where_it_ran(actual, traced, device)
        evidence |= where
        share = evidence.pop("share", None)
        evidence |= {"model": self._own} if self._own else {}
        return Engine(
            requested=self._mode.engine,
            actual=found,
            precision=precision,
            evidence={**evidence, "compute_operators": traced.operators, "outside_compiled": traced.operators_outside},
            share=share,
            outside=traced.most_outside if evidence.get("share_of") == "time" and share else (),
        )


def _where_it_ran(actual: str, traced: Trace, device: torch.device) -> tuple[str | None, dict[str, Any]]:
    """What ran, and where if that was elsewhere; None where the profiler should see the device, and does not."""
    if device.type == "cpu":
        return actual, {}
    if ran := traced.on_device:
        elsewhere = ran.mostly_on_cpu and actual != "nothing"
        kernels = {"kernels": ran.kernels.total(), "kernel_ms": round(ran.seconds * 1e3, 4)}
        return f"{actual} on the CPU" if elsewhere else actual, kernels
    is_blind = device.type in KNOWN
    return None if is_blind else actual, {"device_seen_by": "nothing" if is_blind else "outputs"}


def _held(model: torch.nn.Module) -> list[Any]:
    """The model, its modules, and what their attributes are."""
    return [thing for module in model.modules() for thing in (module, *vars(module).values())]


def _have_nodes_recorded(options: Any) -> None:
    """Have a session record which execution provider gets which node."""
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")


def _without_tf32(providers: Sequence[Any]) -> Sequence[Any]:
    """These execution providers, with TF32 forbidden to that of CUDA, and that this was done."""
    changed = onnx_session.without_tf32(providers)
    if changed != [*providers]:
        compat.used_now("onnxruntime-tf32-forbidden")
    return changed


def _ways_to_run_onnxruntime() -> list[tuple[Any, str]]:
    from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession  # whatever has taken its place since

    holders = [kind for kind in InferenceSession.__mro__ if kind is not object]
    return [(kind, way) for kind in holders for way in WAYS_TO_RUN if way in vars(kind)]


def _ways_to_run_aot_inductor() -> list[tuple[Any, str]]:
    """By the artefact's runner, on whichever device, or by the loader of a package of artefacts."""
    kinds = [kind for name, kind in vars(torch._C._aoti).items() if name.startswith("AOTIModel")]
    return [(kind, way) for kind in kinds for way in ("run", "boxed_run") if way in vars(kind)]


def _ways_to_run_tensorrt() -> list[tuple[Any, str]]:
    """By its C++ runtime or its Python runtime; none where it is not installed."""
    found: list[tuple[Any, str]] = []
    with suppress(ImportError):
        from torch_tensorrt.dynamo import runtime

        kinds = [getattr(runtime, name, None) for name in ("TorchTensorRTModule", "PythonTorchTensorRTModule")]
        found = [(kind, "forward") for kind in kinds if kind is not None]
    return found


def _ways_to_run_openvino() -> list[tuple[Any, str]]:
    import openvino
    from openvino.frontend.pytorch.torchdynamo import execute

    public = [
        (openvino.CompiledModel, "__call__"),
        (openvino.InferRequest, "infer"),
        (openvino.InferRequest, "start_async"),
        (openvino.AsyncInferQueue, "start_async"),
    ]
    return [(execute, "openvino_execute"), *public]
