"""From how a cell's process ended and what it reported, to its row."""

import math
from collections.abc import Sequence

from sweep.cell import Cell, Mode
from sweep.evidence import Evidence, Trial
from sweep.result import SECONDS, Eager, Reason, Result, Status
from sweep.verdict import crash, engine, figures, output, remarks


def judge(cell: Cell, trials: Sequence[Trial]) -> Result:
    """The row of a cell that ran: `ok` only if every process ended well and all it reported proves the label.

    Times, latencies, speed-ups and the peak of memory are of all processes; the rest is what the first process
    reported, or the one that failed. Raises ValueError or ArithmeticError for samples that no clock gives.
    """
    assert cell.mode is not None, "only cells with a mode are run"
    problems = [problem(cell, trial) for trial in trials]
    number = next((number for number, failure in enumerate(problems) if failure), 0)
    reason, message = problems[number] or (None, "")
    if number:
        message = f"process {number + 1} of {cell.measure.processes}: {message}"
    ending, evidence = trials[number].ending, trials[number].evidence
    measured = [(t.evidence.eager, t.evidence.converted) for t in trials if t.evidence.eager and t.evidence.converted]
    samples = [converted.samples for _, converted in measured]
    latency = figures.latency(*samples, drift=cell.measure.drift) if samples else None
    all_remarks = (*remarks.from_evidence(cell, cell.mode, evidence), *remarks.from_measurements(cell, measured))
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
        message="; ".join(filter(None, (message, *all_remarks))),
        phase=ending.phase,
        seconds=_seconds(trials),
        latency_ms=latency,
        throughput_per_s=cell.batch_size / latency.mean * 1e3 if latency else None,
        eager=_eager(trials) if evidence.eager else None,
        speedup=figures.speedup(measured, trials[0].evidence.seconds) if measured else None,
        fidelity=output.fidelity(cell, cell.mode, evidence.output, evidence.engine),
        engine=evidence.engine,
        crash=crash.describe(trials[number]) if reason and reason.status is Status.CRASHED else None,
        load=figures.worst_load(s.load for pair in measured for s in pair) if measured else None,
        memory_mb=figures.peak([t.evidence.memory for t in trials if t.evidence.memory]),
        node=evidence.node,
        hardware=evidence.hardware,
        versions=evidence.versions,
        compat=evidence.compat,
        attempts=(f"{reason or Status.OK} on {evidence.node or 'an unknown node'}",),
    )


def problem(cell: Cell, trial: Trial) -> tuple[Reason, str] | None:
    """Why a process does not prove its cell's label, with a message; None where it proves all of it."""
    assert cell.mode is not None, "only cells with a mode are run"
    return crash.problem(trial) or _mismatch(cell, cell.mode, trial.evidence)


def _mismatch(cell: Cell, mode: Mode, evidence: Evidence) -> tuple[Reason, str] | None:
    """The first part of the label that the evidence does not prove: device, engine, output, precision, tolerance."""
    if evidence.device != cell.device.kind:
        return Reason.DEVICE, f"ran on {evidence.device}, the cell asked for {cell.device.kind}"
    ran, check = evidence.engine, evidence.output
    if ran is None or check is None or evidence.converted is None or evidence.eager is None:
        return Reason.OUTPUT, "the report lacks its measurement or its comparison, so nothing is proved"
    if mismatch := engine.wrong_engine(ran):
        return mismatch
    if check.problem:
        return Reason.OUTPUT, check.problem
    return engine.wrong_precision(mode, ran) or output.out_of_tolerance(cell, mode, check, ran)


def _seconds(trials: Sequence[Trial]) -> dict[str, float | None]:
    """What each phase of the first process took, and the totals of all processes."""
    return {
        **{key: trials[0].evidence.seconds.get(key) for key in SECONDS},
        "total": math.fsum(trial.ending.seconds for trial in trials),
        "waited": math.fsum(trial.ending.waited for trial in trials),
    }


def _eager(trials: Sequence[Trial]) -> Eager:
    timed = figures.latency(*(trial.evidence.eager.samples for trial in trials if trial.evidence.eager))
    return Eager(p50_ms=timed.p50, n=timed.n)
