"""The nouns: what is asked (Request, Cell), what happened (Exit, Evidence) and what is said of it (Result)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

SCHEMA = 1
"""Version of a row of `results.jsonl`; it changes when a field changes its meaning or goes."""


class Status(StrEnum):
    OK = "ok"  # measured, and proved to be what the label says
    MISMATCH = "mismatch"  # it ran, but it is not what the label says
    INVALID = "invalid"  # makes no sense anywhere
    SKIPPED = "skipped"  # makes sense, but not here
    CRASHED = "crashed"  # started, and did not finish


class Reason(StrEnum):
    """Why a cell is not `ok`. A reason belongs to exactly one status."""

    OUTPUT = "output"  # disagrees with eager beyond the tolerance, wrong shape or type, NaN
    ENGINE = "engine"  # fell back to another engine
    DEVICE = "device"  # ran elsewhere

    UNKNOWN_CONVERSION = "unknown-conversion"
    UNIMPLEMENTED_CONVERSION = "unimplemented-conversion"  # registered, but nothing implements it
    UNKNOWN_MODEL = "unknown-model"
    BAD_MODEL = "bad-model"  # its config cannot be built into a model and an input
    UNKNOWN_DEVICE = "unknown-device"

    NEEDS_DEVICE = "needs-device"
    NO_NODE = "no-node"
    NEEDS_PACKAGE = "needs-package"
    EAGER_FAILS = "eager-fails"  # the unconverted model does not run there
    EXCLUDED = "excluded"  # by the user's rule
    DUPLICATE = "duplicate"
    INTERRUPTED = "interrupted"

    RAISED = "raised"
    SIGNAL = "signal"
    EXITED = "exited"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    LOST = "lost"  # its node or worker is gone
    NO_REPORT = "no-report"

    @property
    def status(self) -> Status:
        return _STATUS_OF[self]


_STATUS_OF: dict[Reason, Status] = {
    reason: status
    for status, reasons in {
        Status.MISMATCH: (Reason.OUTPUT, Reason.ENGINE, Reason.DEVICE),
        Status.INVALID: (
            Reason.UNKNOWN_CONVERSION,
            Reason.UNIMPLEMENTED_CONVERSION,
            Reason.UNKNOWN_MODEL,
            Reason.BAD_MODEL,
            Reason.UNKNOWN_DEVICE,
        ),
        Status.SKIPPED: (
            Reason.NEEDS_DEVICE,
            Reason.NO_NODE,
            Reason.NEEDS_PACKAGE,
            Reason.EAGER_FAILS,
            Reason.EXCLUDED,
            Reason.DUPLICATE,
            Reason.INTERRUPTED,
        ),
        Status.CRASHED: (
            Reason.RAISED,
            Reason.SIGNAL,
            Reason.EXITED,
            Reason.TIMEOUT,
            Reason.MEMORY,
            Reason.LOST,
            Reason.NO_REPORT,
        ),
    }.items()
    for reason in reasons
}


class Phase(StrEnum):
    """Where in its way a cell is."""

    START = "start"
    BUILD = "build"
    EAGER = "eager"
    CONVERT = "convert"
    FIRST_CALL = "first-call"
    WARM_UP = "warm-up"
    MEASURE = "measure"
    VERIFY = "verify"

    @property
    def key(self) -> str:
        """The phase's name among a row's `seconds`."""
        return "warmup" if self is Phase.WARM_UP else self.value.replace("-", "_")


SECONDS = (*(phase.key for phase in Phase if phase is not Phase.START), "total", "waited")
"""The keys of a row's `seconds`; what a cell waited, for its turn or stopped, is in none of the others."""


def one_line(text: str, most: int = 300) -> str:
    """The first line of `text` that says something, without what a person cannot see: control and direction codes."""
    lines = ("".join(filter(str.isprintable, line)).strip() for line in text.splitlines())
    return next(filter(None, lines), "")[:most]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """One conversion as the installed alma registers it, with what it needs to run.

    `runs_on` holds the device kinds it can run on (`cpu`, `cuda`, `xla`); `needs` the names of
    requirements in `registry.REQUIREMENTS`; `dtype` what its input is cast to; `precision` what its
    label says it computes in, which also names its tolerance class; `engine` what its label says runs it.
    One that is not alma's has a `target`, a dotted path to what is called with the model and an input to convert,
    and returns the forward call; `source` says who named it.
    """

    name: str
    runs_on: tuple[str, ...]
    needs: tuple[str, ...]
    dtype: str
    precision: str
    engine: str
    implemented: bool
    target: str | None = None
    source: Literal["alma", "configuration", "entry point"] = "alma"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A preset over the registry: a mode is in when it meets every condition that is set."""

    runs_on: str | None = None
    precision: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model by name. `config` is its Hydra node: `_target_`, its arguments, `input`, `checkpoint`."""

    name: str
    known: bool = True
    config: Mapping[str, Any]
    near: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """What a cell runs on, and what its node must have: `kind` is torch's device type, the rest is asked of the nodes.

    `accelerator` is Ray's accelerator type (`A100`, `H100`), `labels` and `resources` what a node was started with;
    `cpus` and `memory` (MB) is how many of them at the least.
    """

    name: str
    known: bool = True
    kind: Literal["cpu", "cuda"] = "cpu"
    gpus: float = 0
    accelerator: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    cpus: float = 0
    memory: float = 0
    near: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        asked = {"gpus": self.gpus, "cpus": self.cpus, "memory": self.memory, **self.resources}
        if wrong := [name for name, amount in asked.items() if not amount >= 0]:
            raise ValueError("; ".join(f"device.{name} must be at least 0" for name in wrong))


Exclusive = Literal["node", "device", "none"]
"""What a measurement has to itself: its node, its device (a GPU, or all CPUs of a node), or nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """How latencies are sampled, and how outputs are compared; `conf/measure/default.yaml` says what each does."""

    warmup_calls: int = 10
    max_warmup_seconds: float = 5.0
    min_samples: int = 30
    min_seconds: float = 1.0
    max_seconds: float = 5.0
    precision: float = 0.02
    processes: int = 3
    drift: float = 0.05
    verify_inputs: int = 8
    verify_after_calls: int = 128
    exclusive: Exclusive = "device"

    def __post_init__(self) -> None:
        least: dict[str, float] = {"warmup_calls": 10, "min_samples": 30, "verify_inputs": 8, "verify_after_calls": 0}
        least |= dict.fromkeys(("max_warmup_seconds", "min_seconds", "max_seconds", "precision", "drift"), 0.0)
        problems = [f"measure.{name} must be at least {n}" for name, n in least.items() if getattr(self, name) < n]
        if self.drift >= 1:
            problems.append("measure.drift must be less than 1")
        if not 1 <= self.processes <= 20:
            problems.append("measure.processes must be from 1 to 20")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Deadlines in seconds, one per phase and one in all; `grace` is what lies between TERM and KILL.

    `memory` is how many MB (10^6 bytes) the processes of a cell may hold together, without mapped files; None is
    90 % of what the machine has.
    """

    start: float = 120
    build: float = 300
    eager: float = 600
    convert: float = 1800
    first_call: float = 600
    warm_up: float = 600
    measure: float = 600
    verify: float = 600
    total: float = 3600
    grace: float = 5
    memory: float | None = None

    def __post_init__(self) -> None:
        wrong = [name for name in self.__slots__ if getattr(self, name) is not None and not getattr(self, name) > 0]
        if wrong:
            raise ValueError("; ".join(f"limits.{name} must be more than 0" for name in wrong))

    def of(self, phase: Phase) -> float:
        seconds: float = getattr(self, phase.value.replace("-", "_"))
        return seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far an output may be from eager's. Without `rel_l2`, only shape, finiteness and following are judged."""

    rel_l2: float | None = None
    cosine: float | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One Hydra job: a model on a device, and the conversions asked for, by name or by rule."""

    model: Model
    device: Device
    conversions: tuple[str, ...] | Rule
    batch_size: int = 1
    threads: int | None = None
    seed: int = 0
    cache: Literal["cold", "warm"] = "cold"
    start: Literal["fork", "spawn"] = "fork"
    env: tuple[str, ...] = ()
    python_path: tuple[str, ...] = ()
    measure: Measure = Measure()
    limits: Limits = Limits()
    tolerance: Mapping[str, Tolerance] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError("threads must be at least 1, or null for every CPU the cell may use")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One question: this model, converted this way, on this device. All that its process needs to know.

    `mode` is None where the registry has no such conversion; `duplicate_of` names the cell that asks the same, and
    `excluded_by` the rule that leaves it out.
    """

    id: str
    model: Model
    conversion: str
    mode: Mode | None
    device: Device
    batch_size: int
    threads: int | None
    seed: int
    cache: Literal["cold", "warm"]
    start: Literal["fork", "spawn"]
    env: tuple[str, ...]
    python_path: tuple[str, ...]
    measure: Measure
    limits: Limits
    tolerance: Mapping[str, Tolerance]
    overrides: Mapping[str, str]
    duplicate_of: str | None = None
    excluded_by: str | None = None


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
class Fidelity:
    """Output of the conversion against the eager fp32 model, the worst sample of `inputs` distinct inputs.

    `rel_l2` = |y - r| / |r| and `cosine` over the elements of one sample, `max_abs` = max |y - r|;
    `top1_agreement` is the share of rows whose argmax over the last dimension agrees.
    """

    rel_l2: float | None
    cosine: float | None
    max_abs: float | None
    top1_agreement: float | None
    inputs: int
    tolerance_class: str


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
class Latency:
    """Milliseconds a call; `p50_low` and `p50_high` bound the median with 95 % confidence.

    `processes` is how many fresh processes the `n` samples come from. From several, the interval covers how
    processes differ; from one, only how well that process's median is known. Both hold `measure.drift` besides.
    """

    p50: float
    p90: float
    p99: float
    mean: float
    std: float
    min: float
    max: float
    n: int
    p50_low: float
    p50_high: float
    processes: int = 1


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
    comparison: OutputCheck | None = None
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Eager:
    """The unconverted model, timed in the same processes just before."""

    p50_ms: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Speedup:
    """Eager's median over the conversion's, each of the same process, and its 95 % interval over the processes.

    `break_even_calls` is after how many calls the time spent on converting and on the first call has been won
    back against eager; None where it never is.
    """

    value: float
    low: float
    high: float
    break_even_calls: int | None = None

    @property
    def is_a_difference(self) -> bool:
        return not self.low <= 1 <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Crash:
    """What is known of a crash: the signal or the exception, where in Python it was, and the last it printed.

    `stack` is outermost first: the exception's traceback, or what faulthandler printed on a signal.
    """

    signal: str | None
    exception: str | None
    stack: tuple[str, ...]
    last_lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The row of a cell; `load` is the worst of all its measurements.

    Raises ValueError when its parts contradict each other or `ok` is not proved.
    """

    schema: int = SCHEMA
    id: str
    model: str
    conversion: str
    device: str
    batch_size: int
    threads: int | None
    overrides: Mapping[str, str] = field(default_factory=dict)
    status: Status
    reason: Reason | None = None
    message: str = ""
    phase: Phase | None = None
    seconds: Mapping[str, float | None] = field(default_factory=dict)
    latency_ms: Latency | None = None
    throughput_per_s: float | None = None
    eager: Eager | None = None
    speedup: Speedup | None = None
    fidelity: Fidelity | None = None
    engine: Engine | None = None
    memory_mb: Memory | None = None
    load: MachineLoad | None = None
    crash: Crash | None = None
    node: str | None = None
    hardware: str | None = None
    fingerprint: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    compat: tuple[str, ...] = ()
    attempts: tuple[str, ...] = ()
    log: str | None = None
    samples: str | None = None

    def __post_init__(self) -> None:
        if self.status is Status.OK:
            if self.reason is not None:
                raise ValueError(f"{self.id}: ok has no reason")
            unproved = [
                name for name in ("latency_ms", "eager", "speedup", "fidelity", "engine") if getattr(self, name) is None
            ]
            if unproved:
                raise ValueError(f"{self.id}: ok without {', '.join(unproved)}")
        elif self.reason is None or self.reason.status is not self.status:
            raise ValueError(f"{self.id}: {self.status} cannot have the reason {self.reason}")
        elif not self.message:
            raise ValueError(f"{self.id}: {self.status} without a message")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a dispatcher hands back for a cell: its row, and the text files of its folder by name.

    `crowded` says that the node had too little memory for all the cells that ran there: alone, it may end otherwise.
    """

    result: Result
    files: Mapping[str, str] = field(default_factory=dict)
    crowded: bool = False
