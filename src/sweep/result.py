"""The row of a cell: its status, the reason for it, and its figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from sweep.cell import Cell, Phase
from sweep.evidence import Engine, Found, MachineLoad, Memory
from sweep.reading import one_line
from sweep.status import Reason, Status

SCHEMA = 2
"""Version of a row of `results.jsonl`; it changes when a field changes its meaning or goes."""


SECONDS = (*(phase.key for phase in Phase if phase is not Phase.START), "total", "waited")
"""The keys of a row's `seconds`. `waited` is how long a cell stood still; it is not part of any other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFigures:
    """One part of the model's output, by its path: the worst of all inputs.

    `rel_l2` and `allowed` are of whole samples, `differing_share` of parts that are no floats. `worst_view` is the view
    (`whole`, `row`, `column`, `place`, `small`, `differing`) that is nearest to or furthest beyond what is allowed.
    """

    name: str
    kind: str
    rel_l2: float | None
    cosine: float | None
    max_abs: float | None
    differing_share: float | None
    allowed: float | None
    worst_view: str | None = None
    worst_error: float | None = None
    worst_allowed: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """The outputs of the conversion compared with the unconverted model's: the worst part and sample of all inputs.

    `rel_l2` = |y - r| / |r| and `cosine` over the elements of one sample of a part, `max_abs` = max |y - r|;
    `top1_agreement` is the share of rows whose argmax over the last dimension agrees, `differing_share` that of values
    of parts that are no floats. `allowed` is of the part with the largest `rel_l2`. `outputs` has every part, the
    furthest off first; rows of older versions have none.
    """

    rel_l2: float | None
    cosine: float | None
    max_abs: float | None
    top1_agreement: float | None
    inputs: int
    tolerance_class: str
    differing_share: float | None = None
    allowed: float | None = None
    outputs: tuple[OutputFigures, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Milliseconds a call; `p50_low` and `p50_high` bound the median with 95 % confidence.

    `processes` is how many trials, each a fresh process, the `n` samples come from. The interval covers how processes
    differ, and `measure.drift` besides.
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
class Eager:
    """The unconverted model, measured by turns with the conversion: its median, and how many samples it is of."""

    p50_ms: float
    n: int


class Decision(StrEnum):
    """What a speed-up says against eager, so sure that looking again and again, and at many rows, cannot mislead."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"  # within the margin of practical equivalence
    UNDECIDED = "undecided"


class Quality(StrEnum):
    """What the figures of a measured row are good for. Only a row that is `ok` and `firm` can be the fastest."""

    FIRM = "firm"
    ROUGH = "rough"  # the speed-up's interval is wider than asked, and does not decide
    DISTURBED = "disturbed"  # others used the machine, or it was throttled, in every trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Quotient:
    """What one trial found: the latency of eager over that of the conversion, from blocks by turns.

    `spread` is its standard error within the trial, as a share. `round`, `confirms` and `control` are as in
    `evidence.Trial`, `disturbed` is whether others used the machine meanwhile. `page_faults` is how many pages of
    memory the conversion asked the kernel for in a call, `eager_page_faults` how many eager did.
    """

    value: float
    spread: float
    round: int = 1
    confirms: bool = False
    control: int = 0
    disturbed: bool = False
    page_faults: float | None = None
    eager_page_faults: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Speedup:
    """The latency of eager over that of the conversion: the geometric mean of its trials' quotients.

    `low` and `high` are its 95 % interval. It is of `trials` trials: of those that confirm, once there are any, for
    what was chosen for its figure is flattered by it; else of all, without those that were disturbed, if others are
    left. `quotients` are of all. `break_even_calls` is after how many calls more time has been saved against eager than
    converting and the first call took; None where that never happens. Rows of schema 1 have no `trials`, `decision` and
    `quotients`.
    """

    value: float
    low: float
    high: float
    trials: int | None = None
    decision: Decision | None = None
    break_even_calls: int | None = None
    quotients: tuple[Quotient, ...] = ()

    @property
    def is_a_difference(self) -> bool:
        """Whether it is decided that it is faster or slower; of schema 1, whether the interval does not hold 1."""
        if self.decision is None:
            return not self.low <= 1 <= self.high
        return self.decision in {Decision.FASTER, Decision.SLOWER}

    @property
    def confirmed(self) -> bool:
        """Whether its figure is of trials that took no part in choosing it."""
        return any(quotient.confirms for quotient in self.quotients)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeFigures:
    """How a conversion takes inputs of other sizes than it was made with; `sizes` are those that differ.

    `status` is `ok`, `wrong`, `unproved`, `raised`, or `eager raises`, where the unconverted model does. `p50_ms` and
    `eager_p50_ms` are of a few calls, and not by turns. `recompiled` is how many graphs were compiled for it.
    """

    sizes: Mapping[str, int]
    status: Literal["ok", "wrong", "unproved", "raised", "eager raises"]
    message: str = ""
    first_call_ms: float | None = None
    p50_ms: float | None = None
    eager_p50_ms: float | None = None
    recompiled: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricFigures:
    """The user's own measure, over `samples` samples of their data: of the conversion (`value`) and of eager.

    `drop` is by how much the conversion's is worse than eager's, in what the measure is in; less than 0 where it is
    better. None of `allowed_drop` is no limit.
    """

    name: str
    value: float
    eager: float
    drop: float
    allowed_drop: float | None
    samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Crash:
    """What is known of a crash: the signal or the exception, the Python stack, and the last lines of the log.

    `stack` has the outermost frame first: the exception's traceback, or what faulthandler printed on a signal.
    """

    signal: str | None
    exception: str | None
    stack: tuple[str, ...]
    last_lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The row of a cell; docs/columns.md says what each field means, and its unit. A part that was not reached is None.

    `load` is the worst machine load of all its measurements. `found` is what is odd about the unconverted model.
    `shapes` are the further sizes of inputs that were asked for, `metric` is the user's own measure.
    `environment` is the name of the one that it ran in, None for its node's own. `quality` is of a measured row; rows
    of schema 1 have none. Raises ValueError when parts contradict each other, or when the status is `ok` and a part
    that proves it is missing.
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
    quality: Quality | None = None
    message: str = ""
    phase: Phase | None = None
    seconds: Mapping[str, float | None] = field(default_factory=dict)
    convert_cpus: float | None = None
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
    found: tuple[Found, ...] = ()
    shapes: tuple[ShapeFigures, ...] = ()
    metric: MetricFigures | None = None
    attempts: tuple[str, ...] = ()
    log: str | None = None
    samples: str | None = None
    environment: str | None = None

    def __post_init__(self) -> None:
        if self.status is Status.OK:
            if self.reason is not None:
                raise ValueError(f"{self.id}: ok has no reason")
            unproved = [
                name for name in ("latency_ms", "eager", "speedup", "fidelity", "engine") if getattr(self, name) is None
            ]
            if unproved:
                raise ValueError(f"{self.id}: ok without {', '.join(unproved)}")
        elif self.reason is None or not self.reason.can_be_of(self.status):
            raise ValueError(f"{self.id}: {self.status} cannot have the reason {self.reason}")
        elif not self.message:
            raise ValueError(f"{self.id}: {self.status} without a message")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a dispatcher returns for a cell: its row, and the text files of its folder by name.

    `crowded` is whether the node had too little memory for all the cells that ran there: alone, the cell may succeed.
    `node` is the id by which the dispatcher knows where it ran.
    """

    result: Result
    node: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    crowded: bool = False


def not_run(cell: Cell, reason: Reason, message: str) -> Result:
    """The row of a cell that was not run."""
    return Result(
        id=cell.id,
        model=cell.model.name,
        conversion=cell.conversion,
        device=cell.device.name,
        batch_size=cell.batch_size,
        threads=cell.threads,
        overrides=cell.overrides,
        environment=cell.environment_name,
        seconds=dict.fromkeys(SECONDS),
        status=reason.status,
        reason=reason,
        message=one_line(message, 2000),
    )
