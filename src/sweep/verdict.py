"""From how a cell's process ended and what it reported, to its row."""

import signal

from sweep import stats
from sweep.cell import (
    Cell,
    Comparison,
    Engine,
    Evidence,
    Exit,
    Fidelity,
    Mode,
    Phase,
    Reason,
    Result,
    Status,
    Tolerance,
)

_MEMORY_ERRORS = {"MemoryError", "torch.OutOfMemoryError"}

SECONDS = (*(phase.key for phase in Phase if phase is not Phase.START), "total")
"""The keys of a row's `seconds`."""


def judge(cell: Cell, ending: Exit, evidence: Evidence) -> Result:
    """The row of a cell that ran: `ok` only if it ended well and everything it reported proves its label."""
    assert cell.mode is not None, "only cells with a mode are run"
    problem = _crash(ending, evidence) or _mismatch(cell, cell.mode, evidence)
    reason, message = problem or (None, _remark(cell.mode, evidence))
    latency = stats.latency(evidence.samples) if evidence.samples else None
    eager = stats.latency(evidence.eager_samples) if evidence.eager_samples else None
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
        message=message,
        phase=ending.phase,
        seconds={key: evidence.seconds.get(key) for key in SECONDS} | {"total": ending.seconds},
        latency_ms=latency,
        throughput_per_s=cell.batch_size / latency.mean * 1e3 if latency else None,
        eager=stats.eager(eager) if eager else None,
        speedup=stats.speedup(eager, latency) if eager and latency else None,
        fidelity=_fidelity(cell.mode, evidence.comparison, evidence.engine),
        engine=evidence.engine,
        memory_mb=evidence.memory,
        node=evidence.node,
        hardware=evidence.hardware,
        versions=evidence.versions,
        compat=evidence.compat,
        attempts=(f"1: {evidence.node or 'unknown node'}",),
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
    said = f"{kind} in phase {ending.phase}: {_first_line(text) or 'no message'}"
    if kind in _MEMORY_ERRORS:
        return Reason.MEMORY, said
    if ending.phase is Phase.BUILD:
        return Reason.BAD_MODEL, said
    return Reason.RAISED, said


def _first_line(text: str) -> str:
    """The first line that says something, of what a person can see: no control or direction codes."""
    lines = ("".join(filter(str.isprintable, line)).strip() for line in text.splitlines())
    return next(filter(None, lines), "")[:300]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _mismatch(cell: Cell, mode: Mode, evidence: Evidence) -> tuple[Reason, str] | None:
    """What the evidence fails to prove, the most telling first."""
    if evidence.device != cell.device.kind:
        return Reason.DEVICE, f"output was on {evidence.device}, the cell asked for {cell.device.kind}"
    engine, comparison = evidence.engine, evidence.comparison
    if engine is None or comparison is None or not evidence.samples or not evidence.eager_samples:
        return Reason.OUTPUT, "the report lacks its measurement or its comparison, so nothing is proved"
    if engine.actual is not None and engine.actual != engine.requested:
        return Reason.ENGINE, f"asked for {engine.requested}, ran {engine.actual}"
    if comparison.problem:
        return Reason.OUTPUT, comparison.problem
    name = tolerance_class(mode, engine)
    return _beyond(comparison, name, cell.tolerance.get(name))


def tolerance_class(mode: Mode, engine: Engine | None) -> str:
    """The class of what was computed in where an engine tells, else of what the label says."""
    lower = engine is not None and engine.precision in {"bf16", "fp16"} and mode.precision == "fp32"
    return str(engine.precision) if engine is not None and lower else mode.precision


def _beyond(comparison: Comparison, name: str, tolerance: Tolerance | None) -> tuple[Reason, str] | None:
    if tolerance is None:
        return Reason.OUTPUT, f"there is no tolerance class {name!r}: add tolerance.{name}"
    if tolerance.rel_l2 is not None and not (comparison.rel_l2 or 0.0) <= tolerance.rel_l2:
        return (
            Reason.OUTPUT,
            f"relative L2 error {comparison.rel_l2:.2g} against eager, class {name} allows {tolerance.rel_l2:.2g}",
        )
    if tolerance.cosine is not None and not (comparison.cosine or 0.0) >= tolerance.cosine:
        return (
            Reason.OUTPUT,
            f"cosine {comparison.cosine:.6f} with eager's output, class {name} wants {tolerance.cosine:.6f}",
        )
    return None


def _remark(mode: Mode, evidence: Evidence) -> str:
    """What a reader of an `ok` row should still know."""
    engine = evidence.engine
    if engine is None:
        return ""
    remarks = []
    if engine.actual is None:
        remarks.append("engine: unattested")
    if engine.precision is not None and tolerance_class(mode, engine) != mode.precision:
        remarks.append(f"computes in {engine.precision}, its label says {mode.precision}")
    return "; ".join(remarks)


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
