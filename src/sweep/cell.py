"""What is asked: a request, the cells it stands for, and their parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


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
