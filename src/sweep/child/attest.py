"""What really ran, and does its output agree with the eager model's?"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils import _pytree

from sweep.cell import Comparison, Engine, Mode


def tensors(output: Any) -> list[torch.Tensor]:
    """Every tensor and array in a model's output, in order: fp64, on the CPU, and copied.

    Copied because some engines hand out the same buffer at every call. Raises TypeError for anything
    that holds no numbers.
    """
    return [_plain(leaf) for leaf in _pytree.tree_leaves(output) if leaf is not None]


def _plain(leaf: Any) -> torch.Tensor:
    tensor = leaf if isinstance(leaf, torch.Tensor) else torch.as_tensor(leaf)
    tensor = tensor.detach()
    if tensor.is_quantized or (type(tensor) is not torch.Tensor and hasattr(tensor, "dequantize")):
        tensor = tensor.dequantize()
    return tensor.to("cpu", torch.float64, copy=True)


def device_of(output: Any) -> str:
    """The device type an output lives on; arrays live on the CPU."""
    kinds = {leaf.device.type for leaf in _pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)}
    return "+".join(sorted(kinds)) or "cpu"


def compare(reference: list[list[torch.Tensor]], outputs: list[list[torch.Tensor]]) -> Comparison:
    """The worst figures over the inputs; each argument holds one list of tensors per input.

    Sources: relative L2 and cosine over all elements as in |y - r| / |r| and y.r / |y||r|.
    """
    problem = next(
        (
            f"input {number}: {found}"
            for number, (wanted, got) in enumerate(zip(reference, outputs, strict=True), 1)
            if (found := _unlike(wanted, got))
        ),
        None,
    )
    if problem:
        return Comparison(inputs=len(reference), problem=problem)
    flat = [
        (torch.cat([t.flatten() for t in wanted]), torch.cat([t.flatten() for t in got]))
        for wanted, got in zip(reference, outputs, strict=True)
    ]
    return Comparison(
        rel_l2=max(_rel_l2(r, y) for r, y in flat),
        cosine=min(_cosine(r, y) for r, y in flat),
        max_abs=max(_max_abs(r, y) for r, y in flat),
        top1_agreement=_top1_agreement(
            pair for wanted, got in zip(reference, outputs, strict=True) for pair in zip(wanted, got, strict=True)
        ),
        inputs=len(reference),
        problem=None if _follows([r for r, _ in flat], [y for _, y in flat]) else _DEAF,
    )


_DEAF = "gives the same output for inputs to which eager gives different ones"


def _unlike(wanted: list[torch.Tensor], got: list[torch.Tensor]) -> str | None:
    """What is wrong with the form of an output, or None."""
    if len(wanted) != len(got):
        return f"{len(got)} tensors, eager gives {len(wanted)}"
    for r, y in zip(wanted, got, strict=True):
        if r.shape != y.shape:
            return f"shape {list(y.shape)}, eager's is {list(r.shape)}"
        if not bool(torch.isfinite(r).all()):
            return "eager's own output is not finite, so nothing can be compared with it"
        if not bool(torch.isfinite(y).all()):
            return f"{int((~torch.isfinite(y)).sum())} of {y.numel()} values are not finite"
    return None


def _rel_l2(r: torch.Tensor, y: torch.Tensor) -> float:
    scale = float(r.norm())
    error = float((y - r).norm())
    return error / scale if scale else error


def _cosine(r: torch.Tensor, y: torch.Tensor) -> float:
    scale = float(r.norm() * y.norm())
    return float(r @ y) / scale if scale else float(torch.equal(r, y))


def _max_abs(r: torch.Tensor, y: torch.Tensor) -> float:
    return float((y - r).abs().max()) if r.numel() else 0.0


def _top1_agreement(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float | None:
    agree = [(r.argmax(-1) == y.argmax(-1)).flatten() for r, y in pairs if r.dim() > 1 and r.shape[-1] > 1]
    return float(torch.cat(agree).double().mean()) if agree else None


def _follows(reference: list[torch.Tensor], outputs: list[torch.Tensor]) -> bool:
    """Whether outputs differ between inputs wherever the reference's do."""
    return not any(
        torch.equal(outputs[0], y) and not torch.equal(reference[0], r)
        for r, y in zip(reference[1:], outputs[1:], strict=True)
    )


class Witness:
    """Watches a conversion from before it starts, and says afterwards which engine it used."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._sessions: list[Any] = []
        if mode.engine == "onnxruntime":
            self._watch_onnxruntime()

    def _watch_onnxruntime(self) -> None:
        import onnxruntime

        sessions, session_class = self._sessions, onnxruntime.InferenceSession

        class Watched(session_class):  # type: ignore[misc,valid-type]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                sessions.append(self)

        onnxruntime.InferenceSession = Watched

    def engine(self) -> Engine:
        """The engine that ran, as far as it can be known; `actual` is None where nothing attests it."""
        attestors: dict[str, Callable[[], Engine]] = {
            "onnxruntime": self._onnxruntime,
            "openvino": self._openvino,
        }
        unattested = Engine(requested=self._mode.engine, actual=None, precision=None)
        return attestors.get(self._mode.engine, lambda: unattested)()

    def _onnxruntime(self) -> Engine:
        providers = [session.get_providers()[0] for session in self._sessions]
        wanted = "CUDAExecutionProvider" if self._mode.runs_on == ("cuda",) else "CPUExecutionProvider"
        actual = "onnxruntime" if wanted in providers else f"onnxruntime on {providers or 'no session'}"
        return Engine(
            requested="onnxruntime",
            actual=actual,
            precision=self._mode.precision,
            evidence={"providers": providers},
        )

    def _openvino(self) -> Engine:
        """OpenVINO's backend falls back to Inductor on any error, and says so at debug level only."""
        from openvino.frontend.pytorch.torchdynamo import execute

        compiled = list(execute.compiled_cache.values())
        precisions = {_precision(model.get_property("INFERENCE_PRECISION_HINT")) for model in compiled}
        return Engine(
            requested="openvino",
            actual="openvino" if compiled else "inductor",
            precision=precisions.pop() if len(precisions) == 1 else None,
            evidence={
                "partitions": len(compiled),
                "execution_devices": sorted({str(m.get_property("EXECUTION_DEVICES")) for m in compiled}),
            },
        )


def _precision(openvino_type: Any) -> str:
    name: str = openvino_type.get_type_name()
    return {"f32": "fp32", "f16": "fp16"}.get(name, name)
