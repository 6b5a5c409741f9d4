"""From how a cell's process ended and what it reported, to its row."""

import math
import signal
from collections.abc import Iterator, Mapping

from sweep.cell import (
    SECONDS,
    Cell,
    Comparison,
    Eager,
    Engine,
    Evidence,
    Exit,
    Fidelity,
    Latency,
    Mode,
    Phase,
    Reason,
    Result,
    Sampled,
    Speedup,
    Status,
    Tolerance,
    one_line,
)

_MEMORY_ERRORS = {"MemoryError", "torch.OutOfMemoryError"}
_OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "CUDA out of memory")
"""On a CPU torch raises a plain RuntimeError that says so in words only."""


def judge(cell: Cell, ending: Exit, evidence: Evidence) -> Result:
    """The row of a cell that ran: `ok` only if it ended well and everything it reported proves its label."""
    assert cell.mode is not None, "only cells with a mode are run"
    problem = _crash(ending, evidence) or _mismatch(cell, cell.mode, evidence)
    reason, message = problem or (None, "")
    latency = evidence.converted.latency if evidence.converted else None
    eager = evidence.eager.latency if evidence.eager else None
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
        message="; ".join(filter(None, (message, *_remarks(cell, cell.mode, evidence)))),
        phase=ending.phase,
        seconds={key: evidence.seconds.get(key) for key in SECONDS} | {"total": ending.seconds},
        latency_ms=latency,
        throughput_per_s=cell.batch_size / latency.mean * 1e3 if latency else None,
        eager=Eager(p50_ms=eager.p50, n=eager.n) if eager else None,
        speedup=speedup(eager, latency, evidence.seconds) if eager and latency else None,
        fidelity=_fidelity(cell.mode, evidence.comparison, evidence.engine),
        engine=evidence.engine,
        memory_mb=evidence.memory,
        node=evidence.node,
        hardware=evidence.hardware,
        versions=evidence.versions,
        compat=evidence.compat,
        attempts=(f"1: {evidence.node or 'unknown node'}",),
    )


def speedup(eager: Latency, converted: Latency, seconds: Mapping[str, float]) -> Speedup:
    """Eager's median over the conversion's; its range is that of the quotient of the two intervals."""
    won_ms = eager.p50 - converted.p50
    spent_ms = (seconds.get("convert", 0.0) + seconds.get("first_call", 0.0)) * 1e3
    return Speedup(
        value=eager.p50 / converted.p50,
        low=eager.p50_low / converted.p50_high,
        high=eager.p50_high / converted.p50_low,
        break_even_calls=math.ceil(spent_ms / won_ms) if won_ms > 0 else None,
    )


def _crash(ending: Exit, evidence: Evidence) -> tuple[Reason, str] | None:
    """How the process failed. A bad end overrides a good report; a deadline overrides the signal it sent."""
    where = f"in phase {ending.phase}"
    if ending.timeout:
        return Reason.TIMEOUT, f"{ending.timeout} {where}: see the log, or raise that limit"
    if ending.code < 0:
        name = _signal_name(-ending.code)
        hint = " (often the kernel's out-of-memory killer)" if -ending.code == signal.SIGKILL else ""
        return Reason.SIGNAL, f"ended by {name}{hint} {where}: the log has the stack"
    if evidence.failure and not evidence.done:
        return _raised(ending, evidence.failure.type, evidence.failure.message)
    if ending.code > 0:
        return Reason.EXITED, f"exited with code {ending.code} {where}: see the log"
    if not evidence.done:
        return Reason.NO_REPORT, f"exited with code 0 {where} and without a report: something called exit early"
    return None


def _raised(ending: Exit, kind: str, text: str) -> tuple[Reason, str]:
    said = f"{kind} in phase {ending.phase}: {one_line(text) or 'no message'}"
    if kind in _MEMORY_ERRORS or any(mark in text for mark in _OUT_OF_MEMORY):
        return Reason.MEMORY, f"{said}: make batch_size smaller, or run it where there is more"
    if ending.phase is Phase.BUILD:
        return Reason.BAD_MODEL, f"{said}: correct the model's config or its code"
    return Reason.RAISED, f"{said}: the log has the traceback"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


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
    name = tolerance_class(mode, engine)
    return _beyond(comparison, name, cell.tolerance.get(name))


FREE_TO_CHOOSE = {"openvino"}
"""Engines that choose the precision they compute in by design, whatever a mode's name says; their rows tell it."""


def _precision_is_the_labels(mode: Mode, engine: Engine) -> bool:
    if engine.precision is None or engine.actual in FREE_TO_CHOOSE:
        return True
    return mode.precision in engine.precision.split("+")


def tolerance_class(mode: Mode, engine: Engine | None) -> str:
    """The class of what was computed in where the engine was free to choose, else of what the label says."""
    if engine is not None and engine.precision and engine.actual in FREE_TO_CHOOSE:
        return engine.precision
    return mode.precision


def _beyond(comparison: Comparison, name: str, tolerance: Tolerance | None) -> tuple[Reason, str] | None:
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
    tolerance = cell.tolerance.get(tolerance_class(mode, engine))
    if tolerance is not None and tolerance.rel_l2 is None and not comparison.problem:
        yield f"output judged on form only (class {tolerance_class(mode, engine)})"
    if comparison.noise > 0:
        yield f"eager disagrees with itself by {comparison.noise:.1g}"
    yield from _doubts("eager ", evidence.eager, cell.measure.precision)
    yield from _doubts("", evidence.converted, cell.measure.precision)


QUIET = 0.05
"""The share of the CPUs that others may use while a measurement is called undisturbed."""


def _doubts(whose: str, sampled: Sampled, precision: float) -> Iterator[str]:
    latency = sampled.latency
    wide = max(latency.p50_high / latency.p50, 2 - latency.p50_low / latency.p50) - 1
    if not sampled.settled:
        yield f"unstable: {whose}latency did not settle in warm-up"
    if wide > precision:
        yield f"unstable: {whose}median known to ±{wide:.1%} only"
    if sampled.load_by_others > QUIET:
        yield f"noisy: others used {sampled.load_by_others:.0%} of the CPUs during {whose or 'its '}samples"


def _fidelity(mode: Mode, comparison: Comparison | None, engine: Engine | None) -> Fidelity | None:
    if comparison is None:
        return None
    return Fidelity(
        rel_l2=comparison.rel_l2,
        cosine=comparison.cosine,
        max_abs=comparison.max_abs,
        top1_agreement=comparison.top1_agreement,
        inputs=comparison.inputs,
        tolerance_class=tolerance_class(mode, engine),
    )
