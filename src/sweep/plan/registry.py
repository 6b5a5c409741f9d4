"""The modes that conversions are known by: device kinds, packages, dtype, precision and engine of each."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sweep.cell import Mode, Rule
from sweep.devices import KINDS, Kind
from sweep.plan.names import did_you_mean, near, tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """A package, part of one, or a program that a mode needs on its node.

    `probe` says how to look for it, as `child.survey.probe` reads it; `remedy` says what to do where it is missing.
    """

    probe: str
    remedy: str


REQUIREMENTS: Mapping[str, Requirement] = {
    "onnx": Requirement(probe="onnx", remedy="pip install onnx"),
    "onnxruntime": Requirement(probe="onnxruntime", remedy="pip install onnxruntime"),
    "onnxscript": Requirement(probe="onnxscript", remedy="pip install onnxscript"),
    "onnxruntime-gpu": Requirement(
        probe="provider=CUDAExecutionProvider",
        remedy="pip install onnxruntime-gpu in place of onnxruntime, or give it an environment (docs/environments.md)",
    ),
    "torch's onnxrt backend": Requirement(
        probe="torch.onnx._internal.onnxruntime",
        remedy="this torch no longer has that backend: use ONNX_CPU, ONNX_GPU or ONNX+DYNAMO_EXPORT, or an older torch",
    ),
    "openvino": Requirement(probe="openvino.torch", remedy="pip install 'openvino<2026'"),
    "a C++ compiler": Requirement(
        probe="compiler=g++",  # the one that Inductor asks for; quanto's c++ comes with it
        remedy="apt-get install g++, or name the one there is in CXX",
    ),
    "torch-tensorrt": Requirement(probe="torch_tensorrt", remedy="pip install 'sweep[tensorrt]'"),
    "torch-xla": Requirement(
        probe="torch_xla",
        remedy="torch-xla works with the torch of its own release only, and none is out for the torch tested here: "
        "where one is, install both and ask for device=xla",
    ),
    "tvm.relay": Requirement(
        probe="tvm.relay",
        remedy="torch's tvm backend wants an apache-tvm that still has tvm.relay (releases since 0.25 do not); "
        "build an older one, or leave TVM modes out",
    ),
    "optimum-quanto": Requirement(probe="optimum.quanto", remedy="pip install optimum-quanto"),
    "torchao": Requirement(probe="torchao", remedy="pip install torchao"),
    "torchao.autoquant": Requirement(
        probe="torchao:autoquant",
        remedy="torchao dropped autoquant after 0.16: give it an environment with torchao==0.16.0 "
        "(docs/environments.md), or use another quantisation",
    ),
    "torchao's int4 kernels": Requirement(
        probe="mslk|torchao.quantization.quant_api:int4_weight_only",
        remedy="torchao's int4 weights need the mslk kernels (CUDA) since they left torchao, or 'torchao<=0.15'; "
        "OPTIMUM_QUANTO_WI4 needs neither",
    ),
    "timm": Requirement(probe="timm", remedy="pip install 'sweep[timm]'"),
    "transformers": Requirement(probe="transformers", remedy="pip install 'sweep[hf]'"),
    "diffusers": Requirement(probe="diffusers", remedy="pip install 'sweep[diffusers]'"),
    "pt2e quantisation": Requirement(
        probe="torch.ao.quantization.quantize_pt2e|torchao.quantization.pt2e.quantize_pt2e",
        remedy="pip install torchao",
    ),
}
"""What modes and models need besides torch. Which releases have what is from the packages' own indexes and sources."""

_NEEDS_BY_TOKEN: Mapping[str, tuple[str, ...]] = {
    "ONNX": ("onnx", "onnxruntime", "onnxscript"),
    "ONNXRT": ("torch's onnxrt backend",),
    "OPENVINO": ("openvino",),
    "TENSORRT": ("torch-tensorrt",),
    "OPENXLA": ("torch-xla",),
    "TVM": ("tvm.relay",),
    "QUANTO": ("optimum-quanto",),
    "TORCHAO": ("torchao",),
    "AUTOQUANT": ("torchao.autoquant",),
    "I4": ("torchao's int4 kernels",),
    "INDUCTOR": ("a C++ compiler",),
    **dict.fromkeys(("WI4", "WI2", "AI8WI4", "AI8WI2"), ("a C++ compiler",)),  # quanto builds what unpacks these
}
_CUDA_ONLY = ({"TENSORRT"}, {"CUDAGRAPHS"}, {"ONNX", "GPU"})
_CPU_ONLY = ({"OPENVINO"}, {"ONNX"}, {"NATIVE", "CONVERT"})
_XLA_ONLY = {"OPENXLA"}
"""Words in a name that restrict it to a device, which alma does not say: OpenVINO's and ONNX Runtime's forward calls
compute on the CPU whatever device they are given, and torch's native int8 kernels exist there only."""

_ENGINE_RUNS_ON: Mapping[str, tuple[Kind, ...]] = {
    **dict.fromkeys(("inductor", "aot-inductor"), ("cpu", "cuda", "xpu", "mps")),
    **dict.fromkeys(("quanto", "torchao", "pt2e-quantized", "fx-quantized"), ("cpu", "cuda", "xpu", "mps")),
    **dict.fromkeys(("tvm", "onnxrt"), ("cpu", "cuda")),
}
"""The kinds of devices that an engine has code for, where that is not every one that torch has."""

_ENGINE_BY_TOKEN = {
    "CUDAGRAPHS": "cudagraphs",
    "TENSORRT": "tensorrt",
    "OPENXLA": "openxla",
    "TVM": "tvm",
    "OPENVINO": "openvino",
    "ONNXRT": "onnxrt",
    "ONNX": "onnxruntime",
    "AOT": "aot-inductor",
    "INDUCTOR": "inductor",
    "JIT": "torchscript",
    "SCRIPT": "torchscript",
    "QUANTO": "quanto",
    "TORCHAO": "torchao",
    "NATIVE": "fx-quantized",
    "AI8WI8": "pt2e-quantized",
    "EXPORT": "export",
    "EAGER": "eager",
}
"""The engine that a mode's label names: that of the first of these tokens that its name has."""

OWN = "own"
ENGINES = (*dict.fromkeys(_ENGINE_BY_TOKEN.values()), OWN)
"""The engines that a label can name; that one of them ran can be attested, but for the last."""

_TYPICAL_SECONDS = {"tensorrt": 60, "tvm": 60, "openxla": 60, "inductor": 30, "aot-inductor": 30, "pt2e-quantized": 12}
"""Seconds that a cell takes, by engine, where it is more than a few: resnet18 on two CPUs, compile caches cold."""

_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}


def modes(surveyed: Iterable[Mapping[str, Any]]) -> dict[str, Mode]:
    """alma's modes by name, in the order of its registry, from what `child.survey` read."""
    return {
        entry["name"]: Mode(
            name=entry["name"],
            runs_on=_runs_on(entry["name"], entry["device_override"]),
            needs=_needs(entry["name"]),
            dtype=entry["dtype"],
            precision=_precision(entry["name"], entry["dtype"]),
            engine=engine(entry["name"]),
            implemented=entry["implemented"],
        )
        for entry in surveyed
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A conversion that is not alma's, as it is registered: `target` is called with the model and an input to convert.

    The rest is its label: `engine` is what runs it (`own` for one that cannot be attested), `precision` what it
    computes in (None: as `dtype`), `dtype` what its input is cast to, `runs_on` the device kinds it can run on, and
    `needs` names of REQUIREMENTS. Raises ValueError.
    """

    target: str
    engine: str = OWN
    precision: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    runs_on: tuple[Kind, ...] = ("cpu", "cuda")
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = []
        if "." not in self.target.strip("."):
            problems.append(f"target must be a dotted path such as mypackage.my_conversion, not {self.target!r}")
        if self.engine not in ENGINES:
            problems.append(f"unknown engine {self.engine!r}{did_you_mean(near(self.engine, ENGINES))}")
        problems += [
            f"unknown requirement {need!r}{did_you_mean(near(need, list(REQUIREMENTS)))}"
            for need in self.needs
            if need not in REQUIREMENTS
        ]
        if not self.runs_on:
            problems.append(f"runs_on must name one of {', '.join(KINDS)} at least")
        if problems:
            raise ValueError("; ".join(problems))


def modes_of_registered(
    registered: Mapping[str, Registered], known: Mapping[str, Mode], source: Literal["configuration", "entry point"]
) -> dict[str, Mode]:
    """The modes of registered conversions, by name. Raises ValueError for a name that is taken or not allowed."""
    problems = [f"{name}: there is a conversion of that name already" for name in registered if name in known]
    problems += [f"{name!r} is no name for a conversion" for name in registered if not re.fullmatch(r"[\w+.-]+", name)]
    if problems:
        raise ValueError("; ".join(problems))
    return {
        name: Mode(
            name=name,
            runs_on=conversion.runs_on,
            needs=conversion.needs,
            dtype=conversion.dtype,
            precision=conversion.precision or _PRECISIONS[conversion.dtype],
            engine=conversion.engine,
            implemented=True,
            target=conversion.target,
            source=source,
        )
        for name, conversion in registered.items()
    }


def engine(name: str) -> str:
    """The engine that the label of a mode names; `A or B` where the label itself allows a fall-back."""
    words = tokens(name)
    named = next((engine for token, engine in _ENGINE_BY_TOKEN.items() if token in words), "unknown")
    return f"{named} or eager" if "FALLBACK" in words else named


def typical_seconds(mode: Mode | None) -> float:
    """About how many seconds a cell of a small model takes in such a mode."""
    return _TYPICAL_SECONDS.get(mode.engine.partition(" or ")[0], 4) if mode else 0


def _runs_on(name: str, override: str | None) -> tuple[str, ...]:
    words = set(tokens(name))
    if words & _XLA_ONLY:
        return ("xla",)
    if any(marks <= words for marks in _CUDA_ONLY):
        return ("cuda",)
    if any(marks <= words for marks in _CPU_ONLY):
        return ("cpu",)
    if override is not None:
        return (override.lower(),)
    return _ENGINE_RUNS_ON.get(engine(name).partition(" or ")[0], KINDS)


def _needs(name: str) -> tuple[str, ...]:
    words = tokens(name)
    needs = [need for token in words for need in _NEEDS_BY_TOKEN.get(token, ())]
    if "ONNX" in words and "GPU" in words:
        needs = ["onnxruntime-gpu" if need == "onnxruntime" else need for need in needs]
    if "EXPORT" in words and "AI8WI8" in words:
        needs.append("pt2e quantisation")
    return tuple(needs)


def _precision(name: str, dtype: str) -> str:
    """The precision that the label of a mode names, which is also the name of its tolerance class.

    Uncalibrated modes quantise activations with ranges that were never fitted to data, static ones with ranges
    fitted to the one batch they were converted with.
    """
    words = set(tokens(name))
    if {"EXPORT", "AI8WI8"} <= words:
        return "int8_static"
    if "NATIVE" in words or ("QUANTO" in words and any(token.startswith("AI8") for token in words)):
        return "uncalibrated"
    for precision, marks in {
        "int8": {"AI8WI8", "WI8", "AUTOQUANT"},
        "int4": {"WI4", "I4"},
        "int2": {"WI2"},
        "fp8": {token for token in words if token.startswith("WF8")},
    }.items():
        if words & marks:
            return precision
    named = (precision for precision in _PRECISIONS.values() if precision.upper() in words)
    return next(named, _PRECISIONS.get(dtype, dtype))


def select(rule: Rule, known: Mapping[str, Mode]) -> tuple[str, ...]:
    """The names of the modes that meet every condition of a preset's rule, in the registry's order."""
    return tuple(
        mode.name
        for mode in known.values()
        if (rule.runs_on is None or rule.runs_on in mode.runs_on)
        and (rule.precision is None or mode.precision in rule.precision)
    )
