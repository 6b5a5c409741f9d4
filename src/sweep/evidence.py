"""What happened to a cell: how its processes ended, and what they reported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sweep.cell import Mode, Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """How a cell's process ended: `code` is a return code, negative for a signal.

    `timeout` and `memory` are messages that name the limit it was ended for, None where it was not. `oom_killed` is
    whether the kernel killed a process of this machine meanwhile for want of memory. `strays` is how many processes it
    left behind, which were ended too. `waited` are the seconds for which it stood still, so that others could measure
    or until it was its turn to measure; they are not part of `seconds`. `not_killed` is whether it could not be ended:
    it may be there still.
    """

    code: int
    phase: Phase
    seconds: float
    waited: float = 0.0
    timeout: str | None = None
    memory: str | None = None
    report_too_long: bool = False
    not_killed: bool = False
    oom_killed: bool = False
    strays: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The exception that a cell's process reported; `stack` is its traceback, outermost frame first."""

    type: str
    message: str
    stack: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One way of looking at a part of an output (`child.comparison` has them all): its worst figure of all inputs.

    The figure is a relative L2 error, or the share that differs, of the conversion (`error`); of what honest
    conversions lose, by class of label (`loss`, without those that could not be computed); between two runs of the
    unconverted model (`noise`); and the least of answers that are nonsense (`nonsense`, None where none can be made).
    """

    error: float
    loss: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.0
    nonsense: float | None = None


def loss_class(mode: Mode) -> str:
    """The key in `View.loss` for a mode: the class of labels that lose alike on a model, finer than precisions."""
    if mode.precision == "fp8":
        return "fp8_e5m2" if "E5M2" in mode.name else "fp8_e4m3"
    if mode.precision == "int8" and mode.target:  # a conversion of the user's: most of these round activations, too
        return "int8_static"
    if mode.precision == "fp64":
        return "fp32"
    if mode.precision == "uncalibrated":
        return next((f"int{bits}_static" for bits in (4, 2) if f"WI{bits}" in mode.name), "int8_static")
    return mode.precision


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputPart:
    """How one leaf of a conversion's outputs differs from the unconverted model's, by view.

    `cosine`, `max_abs` and `top1_agreement` are as in `result.Fidelity`; `elements` is how many values were compared.
    """

    name: str
    kind: Literal["float", "integer", "boolean", "string"]
    views: Mapping[str, View]
    elements: int
    cosine: float | None = None
    max_abs: float | None = None
    top1_agreement: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputCheck:
    """How the outputs of a conversion differ from those of the unconverted model, over `inputs` distinct inputs.

    `problem` says what no tolerance can excuse, such as another shape; `undecidable` is such a thing where the model
    itself, or an honest rounding of it, does the same. `repeats` is whether the conversion gives the
    same answer twice; None where that was not asked.
    """

    parts: tuple[OutputPart, ...] = ()
    inputs: int = 0
    problem: str | None = None
    undecidable: str | None = None
    repeats: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricCheck:
    """The user's own measure over `samples` samples: of the unconverted model (`eager`), of the conversion (None where
    it cannot be taken: `failure` says why), and the best of answers that are none (`nonsense`, None of no such).
    """

    eager: float
    converted: float | None
    nonsense: float | None
    samples: int
    failure: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeCheck:
    """How a conversion that was made with inputs of some sizes takes others: `sizes` are those that differ.

    `output` is None where it raised, or its process died: `failure` says how. `eager_failure` is what the unconverted
    model raised itself. `seconds` and `eager_seconds` are medians of some calls, the former after a first one that took
    `first_seconds`, for which TorchDynamo compiled `recompiled` graphs.
    """

    sizes: Mapping[str, int]
    output: OutputCheck | None = None
    failure: str | None = None
    eager_failure: str | None = None
    first_seconds: float | None = None
    seconds: float | None = None
    eager_seconds: float | None = None
    recompiled: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Something about the unconverted model that a reader should know, and that no conversion is to blame for.

    `kind` names it: `random`, `state`, `input`, `memory`, `hooks` and so on, see `child.examine`.
    """

    kind: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """What ran the model: the engine that the label names (`requested`) and the one that was seen to run (`actual`).

    `precision` is what it computed in. `actual` and `precision` are None where that cannot be told; `evidence` is what
    was seen. `share` is how much of the model's work that engine did: of the time in which something was computed in a
    call, or of the weights of a label that names a format for them; `outside` names what was not in it, the most first.
    """

    requested: str
    actual: str | None
    precision: str | None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    share: float | None = None
    outside: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Peaks in MB (10^6 bytes).

    `rss_peak` is the resident set of the cell's process above what it was before the model was built; `cuda_peak` is
    what its device had less, CUDA's or another, None on a CPU.
    """

    rss_peak: float
    cuda_peak: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineLoad:
    """What other processes did to a machine while something was measured there; None where the machine does not tell.

    `cpu_by_others` is the share of all CPUs that other processes used, `cpu_pressure` the share of the time that some
    process waited for a CPU (Linux's pressure stall information), `quota_throttled` the share for which the control
    group had used up its CPU time; each 0 to 1. `heat_throttled` is whether heat slowed a core down, `gpu_processes`
    how many others computed on the GPU, `gpu_throttled` whether it ran slower for heat or want of power.
    """

    cpu_by_others: float = 0.0
    cpu_pressure: float | None = None
    quota_throttled: float | None = None
    heat_throttled: bool | None = None
    gpu_processes: int | None = None
    gpu_throttled: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """Latencies of single calls, in seconds, in the order they were taken, and in blocks of calls in a row.

    `settled` is whether warm-up reached a steady state; `load` is the machine load while they were taken, and
    `page_faults` how many pages of memory were asked of the kernel in a call, on average.
    """

    blocks: tuple[tuple[float, ...], ...]
    settled: bool
    load: MachineLoad = MachineLoad()
    page_faults: float | None = None

    @property
    def samples(self) -> tuple[float, ...]:
        """Those of all blocks."""
        return tuple(sample for block in self.blocks for sample in block)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What a cell's process reported before it ended; a part it did not reach is None.

    `seconds` are what the phases took, by their keys; `convert_cpu` is the CPU time of converting, with that of the
    compilers it ran. `converted` are its samples, and `eager` those of its control, less `timer_overhead`, the seconds
    that timing an empty call takes. `samples` is how many an input holds. `device` is the kind of device that it ran
    on, `gpu_free` how many MB that had left once the model was there. `found` is what was found of the model. `shapes`
    are the further sizes of inputs, by their numbers. `done` is whether the process got to its end.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    convert_cpu: float | None = None
    eager: Sampled | None = None
    converted: Sampled | None = None
    timer_overhead: float | None = None
    samples: int | None = None
    output: OutputCheck | None = None
    metric: MetricCheck | None = None
    engine: Engine | None = None
    memory: Memory | None = None
    device: str | None = None
    gpu_free: float | None = None
    threads: int | None = None
    node: str | None = None
    hardware: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    compat: tuple[str, ...] = ()
    found: tuple[Found, ...] = ()
    shapes: Mapping[str, ShapeCheck] = field(default_factory=dict)
    failure: Failure | None = None
    done: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One of a cell's processes: how it ended, what it had reported, and the beginning and the end of its log.

    `round` is the round of trials that it was part of, from 1; `confirms` is whether it was run only after its cell had
    been chosen. `control` is the number of the control that it had: trials with another number had another process.
    `by_turns` is whether its control was measured by turns with it, and not before it.
    """

    ending: Exit
    evidence: Evidence
    log: str = ""
    round: int = 1
    confirms: bool = False
    control: int = 0
    by_turns: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Further:
    """What is asked of a cell beyond the trials that it has: so many more, in this round, to confirm it or not.

    `count` of None are as many as every cell gets at first. `control` tells controls apart: cells with an equal one may
    share theirs.
    """

    earlier: tuple[Trial, ...] = ()
    round: int = 1
    confirms: bool = False
    count: int | None = None
    control: int = 0
