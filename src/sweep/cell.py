"""A request, the cells that it stands for, and the options they have."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, get_type_hints

from sweep.devices import Kind
from sweep.options import Option, option
from sweep.runtime_environment import Environment
from sweep.user_data import JUDGED_BY, UserData

BASELINE = "EAGER"
"""The conversion that changes nothing: the baseline that every other one is compared with."""


class Phase(StrEnum):
    """The phases that a cell's process goes through, in their order."""

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
        return "warmup" if self is Phase.WARM_UP else self.option

    @property
    def option(self) -> str:
        """The phase's name among the options of `limits`."""
        return self.value.replace("-", "_")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """A conversion as it is registered, with what it needs to run.

    `runs_on` holds the device kinds it can run on (see `devices`); `needs` the names of requirements in
    `registry.REQUIREMENTS`; `dtype` is what its input is cast to; `precision` is what its label says it computes in,
    which also names its tolerance class; `engine` is what its label says runs it. `implemented` is whether alma has
    code for it. A conversion that is not alma's has a `target`: the dotted path of a function that is called with the
    model and an input and returns the forward call; `source` is where it was registered.
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
    """A preset as a rule over the registry: it holds the modes that meet every condition that is set."""

    runs_on: str | None = None
    precision: tuple[str, ...] | None = None


class _Keyed:
    @cached_property
    def key(self) -> str:
        """A text that is equal for equal ones only."""
        return json.dumps(asdict(self), sort_keys=True, default=str)  # type: ignore[call-overload]


@dataclass(frozen=True, kw_only=True)  # without slots, so that its key can be remembered
class Model(_Keyed):
    """A model by name. `config` is its Hydra node: `_target_`, its arguments, `input`, `checkpoint`.

    `known` is whether there is a config of that name; where there is none, `near` holds similar names.
    """

    name: str
    known: bool = True
    config: Mapping[str, Any]
    near: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)  # without slots, as above
class Device(_Keyed):
    """What a cell runs on: `kind` is torch's device type, and the rest is what its node must have.

    `accelerator` is Ray's accelerator type (`A100`, `H100`), `labels` and `resources` are those that a node was started
    with in Ray; `gpus`, `cpus` and `memory` (MB) are at least so many. `known` and `near` are as in Model.
    """

    name: str
    known: bool = True
    kind: Kind = "cpu"
    gpus: float = 0
    accelerator: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    cpus: float = 0
    memory: float = 0
    near: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        amounts = {"gpus": self.gpus, "cpus": self.cpus, "memory": self.memory, **self.resources}
        if wrong := [name for name, amount in amounts.items() if not amount >= 0]:
            raise ValueError("; ".join(f"device.{name} must be at least 0" for name in wrong))


MOST_TRIALS = 100  # of a cell: more make its interval hardly narrower

Exclusive = Literal["node", "device", "none"]
"""What a measurement has to itself: its node, its device (a GPU, or all CPUs of a node), or nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """How latencies are measured, and outputs compared; `conf/measure/default.yaml` says what each does."""

    warmup_calls: int = 10
    max_warmup_seconds: float = 3.0
    block_seconds: float = 0.12
    seconds: float = 1.5
    trials: int = 1
    budget: float = 4.0
    precision: float = 0.03
    margin: float = 0.03
    drift: float = 0.05
    verify_inputs: int = 8
    verify_after_calls: int = 128
    exclusive: Exclusive = "device"

    def __post_init__(self) -> None:
        least: dict[str, float] = {"warmup_calls": 10, "verify_inputs": 8, "verify_after_calls": 0}
        least |= dict.fromkeys(("max_warmup_seconds", "block_seconds", "seconds", "budget", "drift"), 0.0)
        problems = [f"measure.{name} must be at least {n}" for name, n in least.items() if not getattr(self, name) >= n]
        problems += ["measure.drift must be less than 1"] if not self.drift < 1 else []
        problems += [f"measure.{n} must be more than 0" for n in ("precision", "margin") if not getattr(self, n) > 0]
        problems += [f"measure.trials must be from 1 to {MOST_TRIALS}"] if not 1 <= self.trials <= MOST_TRIALS else []
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Deadlines in seconds: one for each phase, and `total` for all; `grace` is the time between TERM and KILL.

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
        seconds: float = getattr(self, phase.option)
        return seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far an output may be from eager's, as a relative L2 error: `multiple` times what honest conversions of its
    class lose on the model, never less than `rel_l2`; where that cannot be found, `otherwise`. And the least cosine.
    """

    rel_l2: float | None = None
    multiple: float = 4.0
    otherwise: float = 0.0
    cosine: float | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """The options that a request and each of its cells have; `conf/config.yaml` says what each does.

    `threads` of None: all CPUs that the cell may use. `env` names environment variables that its process gets too,
    `python_path` holds folders that its modules are imported from. `tolerance` is by class. `overrides` are the options
    that were set on the command line and have no column in a row, as they were written.
    """

    model: Model = field(metadata=option(meaning="always", column=True))
    device: Device = field(metadata=option(meaning="always", column=True))
    batch_size: int = field(default=1, metadata=option(meaning="always", plain=True, column=True))
    threads: int | None = field(default=None, metadata=option(meaning="always", plain=True, column=True, by_rule=True))
    seed: int = field(default=0, metadata=option(meaning="always", plain=True))
    cache: Literal["cold", "warm"] = field(default="cold", metadata=option(meaning="always", plain=True))
    dynamic: bool = field(default=False, metadata=option(plain=True))
    data: UserData | None = field(default=None, metadata=option())
    start: Literal["fork", "spawn"] = field(default="fork", metadata=option(meaning="never", group="isolate"))
    env: tuple[str, ...] = field(default=(), metadata=option(meaning="never", group="isolate"))
    measure: Measure = field(default=Measure(), metadata=option(meaning="never", recorded=True, by_rule=True))
    limits: Limits = field(default=Limits(), metadata=option(meaning="never", recorded=True, by_rule=True))
    tolerance: Mapping[str, Tolerance] = field(
        default_factory=dict, metadata=option(meaning="never", recorded=True, by_rule=True)
    )
    python_path: tuple[str, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError("threads must be at least 1, or null for every CPU the cell may use")


OPTIONS: Mapping[str, Option] = {
    part.name: part.metadata["option"] for part in fields(Setting) if "option" in part.metadata
}
"""The options of a cell, by the names they have in a configuration."""


def asked(overrides: Mapping[str, str]) -> dict[str, str]:
    """Those of a row's overrides that change what is asked, and not how it is measured or judged."""
    how = {name for name, option in OPTIONS.items() if option.meaning == "never"}
    how |= {name for name in overrides for judged in JUDGED_BY if f"{name}.".startswith(f"{judged}.")}
    return {name: value for name, value in overrides.items() if not {name, name.partition(".")[0]} & how}


PLAIN = tuple(name for name, option in OPTIONS.items() if option.plain)
"""Those of a single value; Hydra need not compose a configuration anew for each of their values."""

PARTS: Mapping[str, type] = {
    name: noun
    for name, noun in get_type_hints(Setting).items()
    if name in OPTIONS and isinstance(noun, type) and is_dataclass(noun) and noun is not Model
}
"""The options that hold options of their own, with the class whose fields these are; a model's config is free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request(Setting):
    """One Hydra job: a model on a device, and the conversions asked for, by name or by rule."""

    conversions: tuple[str, ...] | Rule


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell(Setting):
    """One model, converted one way, on one device, with all options that its process needs.

    `mode` is None where the registry has no such conversion. `environment` is the one that its conversion, and its
    control, run in; None for the node's own. `duplicate_of` is the id of an equal cell that comes before it,
    `excluded_by` the rule that leaves it out, in words.
    """

    id: str
    conversion: str
    mode: Mode | None
    environment: Environment | None = None
    duplicate_of: str | None = None
    excluded_by: str | None = None

    @classmethod
    def of(cls, setting: Setting, **more: Any) -> "Cell":
        """A cell with the options of a request."""
        return cls(**{part.name: getattr(setting, part.name) for part in fields(Setting)}, **more)

    @property
    def environment_name(self) -> str | None:
        return self.environment.name if self.environment else None
