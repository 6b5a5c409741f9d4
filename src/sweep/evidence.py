"""What happened to a cell: how its processes ended, and what they reported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweep.cell import Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """How a cell's process ended: `code` is a return code, negative for a signal.

    `timeout` and `memory` say which limit it was ended for, `oom_killed` whether the kernel killed a process of this
    machine meanwhile for want of memory, `strays` how many processes it left behind, which were ended too. For `waited`
    seconds it stood still so that others could measure, or until it was its turn; they are not among `seconds`.
    """

    code: int
    phase: Phase
    seconds: float
    waited: float = 0.0
    timeout: str | None = None
    memory: str | None = None
    report_too_long: bool = False
    oom_killed: bool = False
    strays: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The exception a cell's process reported; `stack` is its traceback, outermost first."""

    type: str
    message: str
    stack: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputCheck:
    """What a cell's process saw when it compared outputs; `problem` says what no tolerance can excuse.

    `noise` is the relative L2 between two runs of the eager model on the same inputs.
    """

    rel_l2: float | None = None
    cosine: float | None = None
    max_abs: float | None = None
    top1_agreement: float | None = None
    inputs: int = 0
    noise: float = 0.0
    problem: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """What was asked to run the model and what did; `precision` is what it computed in, where that is known."""

    requested: str
    actual: str | None
    precision: str | None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Peaks in MB (10^6 bytes): resident set of the cell's process above what it was before the model was built,
    and what CUDA's allocator held.
    """

    rss_peak: float
    cuda_peak: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineLoad:
    """What others did to a machine while something was measured there; None where the machine does not tell.

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
    """Samples in seconds in the order they were taken, with what can be doubted about them.

    `settled` says whether warm-up reached a steady state.
    """

    samples: tuple[float, ...]
    settled: bool
    load: MachineLoad = MachineLoad()


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What a cell's process reported before it ended; a part it did not reach is None. Times in seconds."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    eager: Sampled | None = None
    converted: Sampled | None = None
    timer_overhead: float | None = None
    output: OutputCheck | None = None
    engine: Engine | None = None
    memory: Memory | None = None
    device: str | None = None
    threads: int | None = None
    node: str | None = None
    hardware: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    compat: tuple[str, ...] = ()
    failure: Failure | None = None
    done: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One of a cell's processes: how it ended, what it had reported, and the first and the last it printed."""

    ending: Exit
    evidence: Evidence
    log: str = ""
