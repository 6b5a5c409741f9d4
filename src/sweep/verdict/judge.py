"""From how a cell's process ended and what it reported, to its row."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sweep import stats
from sweep.cell import Cell, Mode, Tolerance
from sweep.evidence import Engine, Evidence, MachineLoad, Memory, OutputCheck, Sampled, Trial
from sweep.result import SECONDS, Eager, Fidelity, Reason, Result, Speedup, Status
from sweep.verdict import crash


def judge(cell: Cell, trials: Sequence[Trial]) -> Result:
    """The row of a cell that ran: `ok` only if every process ended well and all it reported proves the label.

    Times, latencies and speed-ups are of all processes, so is the peak of memory; the rest is what the first said,
    or the one that failed. Raises ValueError or ArithmeticError for samples that no clock gives.
    """
    assert cell.mode is not None, "only cells with a mode are run"
    problems = [problem(cell, trial) for trial in trials]
    number = next((number for number, found in enumerate(problems) if found), 0)
    reason, message = problems[number] or (None, "")
    if number:
        message = f"process {number + 1} of {cell.measure.processes}: {message}"
    ending, evidence = trials[number].ending, trials[number].evidence
    measured = [(t.evidence.eager, t.evidence.converted) for t in trials if t.evidence.eager and t.evidence.converted]
    samples = [converted.samples for _, converted in measured]
    latency = stats.latency(*samples, drift=cell.measure.drift) if samples else None
    eager = stats.latency(*(t.evidence.eager.samples for t in trials if t.evidence.eager)) if evidence.eager else None
    return Result(
        id=cell.id,
        model=cell.model.name,
        conversion=cell.conversion,
        device=cell.device.name,
        batch_size=cell.batch_size,
        threads=evidence.threads or cell.threads,
        overrides=cell.overrides,
        status=reason.status if reason else Status.OK,
        reason=reason,
        message="; ".join(filter(None, (message, *_remarks(cell, cell.mode, evidence), *_doubts(cell, measured)))),
        phase=ending.phase,
        seconds={key: trials[0].evidence.seconds.get(key) for key in SECONDS}
        | {"total": math.fsum(t.ending.seconds for t in trials), "waited": math.fsum(t.ending.waited for t in trials)},
        latency_ms=latency,
        throughput_per_s=cell.batch_size / latency.mean * 1e3 if latency else None,
        eager=Eager(p50_ms=eager.p50, n=eager.n) if eager else None,
        speedup=speedup(measured, trials[0].evidence.seconds) if measured else None,
        fidelity=_fidelity(cell, cell.mode, evidence.comparison, evidence.engine),
        engine=evidence.engine,
        crash=crash.described(trials[number]) if reason and reason.status is Status.CRASHED else None,
        load=_worst(s.load for pair in measured for s in pair) if measured else None,
        memory_mb=_peak([t.evidence.memory for t in trials if t.evidence.memory]),
        node=evidence.node,
        hardware=evidence.hardware,
        versions=evidence.versions,
        compat=evidence.compat,
        attempts=(f"{reason or Status.OK} on {evidence.node or 'an unknown node'}",),
    )


def problem(cell: Cell, trial: Trial) -> tuple[Reason, str] | None:
    """Why a process proves nothing of its cell's label, with a message; None where it proves all of it."""
    assert cell.mode is not None, "only cells with a mode are run"
    return crash.problem(trial) or _mismatch(cell, cell.mode, trial.evidence)


def speedup(measured: Sequence[tuple[Sampled, Sampled]], seconds: Mapping[str, float]) -> Speedup:
    """Eager's p50 over the conversion's; its range is the `stats.common_interval` of the processes' own quotients.

    `measured` is eager and conversion of each process, whose own range is the quotient of its two intervals.
    """
    eager = stats.latency(*(eager.samples for eager, _ in measured))
    converted = stats.latency(*(converted.samples for _, converted in measured))
    value = eager.p50 / converted.p50
    found, own = [], []
    for before, after in measured:
        found.append(statistics.median(before.samples) / statistics.median(after.samples))
        (eager_low, eager_high), (low, high) = (stats.median_interval(s.samples) for s in (before, after))
        own.append((eager_low / high, eager_high / low))
    low, high = stats.common_interval(found, own)
    won_ms = eager.p50 - converted.p50
    spent_ms = (seconds.get("convert", 0.0) + seconds.get("first_call", 0.0)) * 1e3
    return Speedup(
        value=value,
        low=min(low, value),
        high=max(high, value),
        break_even_calls=math.ceil(spent_ms / won_ms) if won_ms > 0 else None,
    )


def _peak(memories: Sequence[Memory]) -> Memory | None:
    if not memories:
        return None
    on_cuda = [memory.cuda_peak for memory in memories if memory.cuda_peak is not None]
    return Memory(rss_peak=max(memory.rss_peak for memory in memories), cuda_peak=max(on_cuda, default=None))


def _mismatch(cell: Cell, mode: Mode, evidence: Evidence) -> tuple[Reason, str] | None:
    """What the evidence fails to prove, the most telling first."""
    if evidence.device != cell.device.kind:
        return Reason.DEVICE, f"ran on {evidence.device}, the cell asked for {cell.device.kind}"
    engine, comparison = evidence.engine, evidence.comparison
    if engine is None or comparison is None or evidence.converted is None or evidence.eager is None:
        return Reason.OUTPUT, "the report lacks its measurement or its comparison, so nothing is proved"
    if engine.actual is not None and engine.actual not in engine.requested.split(" or "):
        return (
            Reason.ENGINE,
            f"asked for {engine.requested}, ran {engine.actual}: its figures are not this conversion's",
        )
    if comparison.problem:
        return Reason.OUTPUT, comparison.problem
    if not _precision_is_the_labels(mode, engine):
        return Reason.ENGINE, f"computes in {engine.precision}, its label says {mode.precision}"
    name = tolerance_class(cell, mode, engine)
    return _beyond(comparison, name, cell.tolerance.get(name))


FREE_TO_CHOOSE = {"openvino"}
"""Engines that choose the precision they compute in by design, whatever a mode's name says; their rows tell it."""


def _precision_is_the_labels(mode: Mode, engine: Engine) -> bool:
    if engine.precision is None or engine.actual in FREE_TO_CHOOSE:
        return True
    return mode.precision in engine.precision.split("+")


def tolerance_class(cell: Cell, mode: Mode, engine: Engine | None) -> str:
    """The label's class, or that of what was computed in where the engine was free to choose one that allows more.

    A model that was made half precision stays rounded, however exactly it is computed.
    """
    if engine is None or not engine.precision or engine.actual not in FREE_TO_CHOOSE:
        return mode.precision
    return max(mode.precision, engine.precision, key=lambda name: _allows(cell.tolerance.get(name)))


def _allows(tolerance: Tolerance | None) -> float:
    if tolerance is None:
        return -1.0
    return math.inf if tolerance.rel_l2 is None else tolerance.rel_l2


def _beyond(comparison: OutputCheck, name: str, tolerance: Tolerance | None) -> tuple[Reason, str] | None:
    if tolerance is None:
        return Reason.OUTPUT, f"there is no tolerance class {name!r}: add tolerance.{name}"
    allowed = None if tolerance.rel_l2 is None else max(tolerance.rel_l2, 2 * comparison.noise)
    if allowed is not None and (comparison.rel_l2 is None or not comparison.rel_l2 <= allowed):
        return (
            Reason.OUTPUT,
            f"relative L2 error {_figure(comparison.rel_l2)} against eager, class {name} allows {_figure(allowed)}: "
            f"do not ship it, or set tolerance.{name}.rel_l2 if that is near enough",
        )
    if tolerance.cosine is not None and (comparison.cosine is None or not comparison.cosine >= tolerance.cosine):
        return (
            Reason.OUTPUT,
            f"cosine {_figure(comparison.cosine)} with eager's output, class {name} wants {tolerance.cosine:g}",
        )
    return None


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"


def _remarks(cell: Cell, mode: Mode, evidence: Evidence) -> Iterator[str]:
    """What a reader of a measured row should know besides its verdict."""
    engine, comparison = evidence.engine, evidence.comparison
    if engine is None or evidence.converted is None or evidence.eager is None or comparison is None:
        return
    if engine.actual is None:
        yield "engine: unattested"
    if engine.actual in FREE_TO_CHOOSE and engine.precision != mode.precision:
        yield f"computes in {engine.precision}, its label says {mode.precision}"
    if " or " in engine.requested and engine.actual:
        yield f"ran {engine.actual}"
    if breaks := engine.evidence.get("graph_breaks"):
        yield f"{breaks} graph breaks"
    share = engine.evidence.get("share_of_layers")
    if isinstance(share, float) and share < 1:
        yield f"{share:.0%} of its layers converted"
    name = tolerance_class(cell, mode, engine)
    tolerance = cell.tolerance.get(name)
    if tolerance is not None and tolerance.rel_l2 is None and not comparison.problem:
        yield f"output judged on form only (class {name})"
    if comparison.noise > 0:
        yield f"eager disagrees with itself by {comparison.noise:.1g}"


QUIET = 0.05
"""The share of the CPUs that others may use while a measurement is called undisturbed."""


def _doubts(cell: Cell, measured: Sequence[tuple[Sampled, Sampled]]) -> Iterator[str]:
    """What makes a measurement doubtful: in how many processes, and how much in the worst of them."""
    for whose, sampled in (("eager ", [eager for eager, _ in measured]), ("", [other for _, other in measured])):
        unsettled = sum(not s.settled for s in sampled)
        widths = [stats.half_width(s.samples) for s in sampled]
        wide = sum(width > cell.measure.precision for width in widths)
        noisy = [said for s in sampled if (said := list(_noise(s.load)))]
        if unsettled:
            yield f"unstable: {whose}latency did not settle in warm-up{_share(unsettled, measured)}"
        if wide:
            yield f"unstable: {whose}median known to ±{max(widths):.1%} only{_share(wide, measured)}"
        if noisy:
            heard = " and ".join(_noise(_worst(s.load for s in sampled)))
            yield f"noisy: {heard} during {whose or 'its '}samples{_share(len(noisy), measured)}"


def _noise(load: MachineLoad) -> Iterator[str]:
    """What of a load is more than a measurement called undisturbed may have beside it."""
    if load.cpu_by_others > QUIET:
        yield f"others used {load.cpu_by_others:.0%} of the CPUs"
    elif (load.cpu_pressure or 0) > 4 * QUIET and load.cpu_by_others > QUIET / 5:  # its own threads wait for CPUs too
        yield f"a process waited for a CPU {load.cpu_pressure:.0%} of the time"
    if (load.quota_throttled or 0) > QUIET / 5:
        yield f"its control group's CPU quota held it up {load.quota_throttled:.0%} of the time"
    if load.heat_throttled:
        yield "heat slowed a CPU down"
    if load.gpu_processes:
        yield f"{load.gpu_processes} other processes were on its GPU"
    if load.gpu_throttled:
        yield "its GPU ran slower, for heat or want of power"


def _worst(loads: Iterable[MachineLoad]) -> MachineLoad:
    """The worst of each figure."""
    every = [asdict(load) for load in loads]
    worst: dict[str, Any] = {
        name: max((load[name] for load in every if load[name] is not None), default=None) for name in every[0]
    }
    return MachineLoad(**worst)


def _share(count: int, of: Sequence[object]) -> str:
    return "" if count == len(of) else f" in {count} of {len(of)} processes"


def _fidelity(cell: Cell, mode: Mode, comparison: OutputCheck | None, engine: Engine | None) -> Fidelity | None:
    if comparison is None:
        return None
    return Fidelity(
        rel_l2=comparison.rel_l2,
        cosine=comparison.cosine,
        max_abs=comparison.max_abs,
        top1_agreement=comparison.top1_agreement,
        inputs=comparison.inputs,
        tolerance_class=tolerance_class(cell, mode, engine),
    )
