"""From how a cell's process ended and what it reported, to its row."""

import math
from collections.abc import Mapping, Sequence

from sweep.cell import Cell, Mode
from sweep.evidence import Evidence, OutputCheck, Trial
from sweep.result import SECONDS, Eager, Latency, Quotient, Result, Speedup
from sweep.status import Problem, Reason, Status
from sweep.verdict import crash, engine, estimate, figures, metric, output, remarks, shapes


def judge(cell: Cell, trials: Sequence[Trial]) -> Result:
    """The row of a cell that ran: `ok` only if every process ended well and all it reported proves the label.

    Times, latencies and speed-ups are of all trials that count, memory of all; the rest is what the first process
    reported, or the one that failed. Raises ValueError or ArithmeticError for samples that no clock gives.
    """
    assert cell.mode is not None, "only cells with a mode are run"
    number, found = next(((n, one) for n, trial in enumerate(trials) if (one := problem(cell, trial))), (0, None))
    evidence = trials[number].evidence
    measured, counted, quotients = _measured(trials)
    latency, eager = _latencies(cell, counted)
    other_sizes = shapes.figures(cell, cell.mode, trials[0].evidence)
    all_remarks = (*remarks.from_evidence(cell, evidence), *remarks.from_measurements(measured, counted))
    row = Result(
        id=cell.id,
        model=cell.model.name,
        conversion=cell.conversion,
        device=cell.device.name,
        batch_size=cell.batch_size,
        threads=evidence.threads or cell.threads,
        overrides=cell.overrides,
        environment=cell.environment_name,
        status=found.status if found else Status.OK,
        reason=found.reason if found else None,
        message="; ".join(_said_of(found, number, [*all_remarks, *shapes.remarks(other_sizes)])),
        phase=trials[number].ending.phase,
        seconds=_seconds(trials),
        convert_cpus=_convert_cpus(evidence),
        latency_ms=latency,
        throughput_per_s=(evidence.samples or cell.batch_size) / latency.mean * 1e3 if latency else None,
        eager=Eager(p50_ms=eager.p50, n=eager.n) if eager else None,
        speedup=_speedup(latency, eager, quotients, trials[0].evidence.seconds) if latency and eager else None,
        fidelity=output.fidelity(cell, cell.mode, evidence.output, evidence.engine),
        engine=evidence.engine,
        crash=crash.describe(trials[number]) if found and found.status is Status.CRASHED else None,
        load=figures.worst_load(map(figures.load, counted)) if counted else None,
        memory_mb=figures.peak([t.evidence.memory for t in trials if t.evidence.memory]),
        **{name: getattr(evidence, name) for name in ("node", "hardware", "versions", "compat", "found")},
        shapes=other_sizes,
        metric=metric.figures(cell, evidence),
        attempts=(_attempt(found, evidence),),
    )
    return estimate.estimated([row], [cell])[0]


def _attempt(found: Problem | None, evidence: Evidence) -> str:
    return f"{found.reason if found else Status.OK} on {evidence.node or 'an unknown node'}"


def _said_of(found: Problem | None, number: int, all_remarks: Sequence[str]) -> list[str]:
    """A problem in words, and of a later trial which one it was; then those remarks that it does not make already."""
    if not found:
        return [*all_remarks]
    said = f"trial {number + 1}: {found.message}" if number else found.message
    return [said, *(remark for remark in all_remarks if remark not in said)]


def _measured(trials: Sequence[Trial]) -> tuple[list[Trial], list[Trial], tuple[Quotient, ...]]:
    """The trials with figures, those of them that count, and the quotients of the former."""
    found = [(trial, quotient) for trial in trials if (quotient := figures.quotient(trial))]
    quotients = tuple(quotient for _, quotient in found)
    counting = estimate.counting(quotients)
    return [trial for trial, _ in found], [trial for trial, quotient in found if quotient in counting], quotients


def _latencies(cell: Cell, trials: Sequence[Trial]) -> tuple[Latency | None, Latency | None]:
    """Of the conversion and of eager, beside it; None of no trials."""
    if not trials:
        return None, None
    converted = [trial.evidence.converted.samples for trial in trials if trial.evidence.converted]
    eager = [trial.evidence.eager.samples for trial in trials if trial.evidence.eager]
    return figures.latency(*converted, drift=cell.measure.drift), figures.latency(*eager, drift=cell.measure.drift)


def _speedup(
    latency: Latency, eager: Latency, quotients: tuple[Quotient, ...], seconds: Mapping[str, float]
) -> Speedup:
    """With its quotients; what they say together is for `estimate`."""
    value = quotients[0].value
    calls = figures.break_even_calls(eager, latency, seconds)
    return Speedup(value=value, low=value, high=value, break_even_calls=calls, quotients=quotients)


def problem(cell: Cell, trial: Trial) -> Problem | None:
    """Why a process does not prove its cell's label, with a message; None where it proves all of it."""
    assert cell.mode is not None, "only cells with a mode are run"
    if ended := crash.problem(trial):
        reason, message = ended
        return Problem(status=reason.status, reason=reason, message=message)
    return _not_proved(cell, cell.mode, trial.evidence)


def _not_proved(cell: Cell, mode: Mode, evidence: Evidence) -> Problem | None:
    """The first part of the label that the evidence does not prove: device, engine, output, precision, tolerance."""
    if evidence.device != cell.device.kind:
        message = f"ran on {evidence.device}, the cell asked for {cell.device.kind}"
        return Problem(reason=Reason.DEVICE, message=message)
    ran, check = evidence.engine, evidence.output
    if ran is None or check is None or evidence.converted is None or evidence.eager is None:
        message = "the report lacks its measurement or its comparison, so nothing is proved"
        return Problem(reason=Reason.OUTPUT, message=message)
    if mismatch := engine.wrong_engine(ran):
        return mismatch
    if check.problem:
        return Problem(reason=Reason.OUTPUT, message=check.problem)
    return (
        engine.wrong_precision(mode, ran)
        or engine.small_share(ran)
        or metric.problem(cell, evidence)
        or _wrong_output(cell, mode, check, evidence)
        or engine.unattested(ran)
    )


def _wrong_output(cell: Cell, mode: Mode, check: OutputCheck, evidence: Evidence) -> Problem | None:
    """Why outputs do not prove the label, unless the user's own measure does."""
    assert evidence.engine is not None, "looked at before"
    found = output.problem(cell, mode, check, evidence.engine, evidence.found)
    return None if found and metric.overrules(cell, mode, evidence, found) else found


def _convert_cpus(evidence: Evidence) -> float | None:
    seconds = evidence.seconds.get("convert")
    return evidence.convert_cpu / seconds if evidence.convert_cpu is not None and seconds else None


def _seconds(trials: Sequence[Trial]) -> dict[str, float | None]:
    """What each phase of the first process took, and the totals of all processes."""
    return {
        **{key: trials[0].evidence.seconds.get(key) for key in SECONDS},
        "total": math.fsum(trial.ending.seconds for trial in trials),
        "waited": math.fsum(trial.ending.waited for trial in trials),
    }
