"""Remarks in the message of a measured row: what a reader should know besides the status."""

from collections.abc import Iterator, Sequence
from statistics import median

from sweep.cell import Cell
from sweep.evidence import Evidence, Trial
from sweep.verdict import figures, metric, output
from sweep.verdict.engine import FREE_TO_CHOOSE, HALF, MOST, share_of

DYNAMIC = "dynamic-shapes"
"""Among a row's fixes: what it was converted with was told which sizes vary."""


def from_evidence(cell: Cell, evidence: Evidence) -> Iterator[str]:
    """Remarks on what ran and on the output check, from what one process reported."""
    engine, mode = evidence.engine, cell.mode
    assert mode is not None, "only cells with a mode are run"
    if engine is None or evidence.converted is None or evidence.eager is None or evidence.output is None:
        return
    if engine.actual in FREE_TO_CHOOSE and engine.precision != mode.precision:
        yield f"computes in {engine.precision}, its label says {mode.precision}"
    if " or " in engine.requested and engine.actual:
        yield f"ran {engine.actual}"
    if engine.evidence.get("device_seen_by") == "outputs":
        yield "that it ran on its device is known by where outputs and weights are: torch's profiler sees nothing there"
    if breaks := engine.evidence.get("graph_breaks"):
        yield f"{breaks} graph breaks"
    if engine.share is not None and HALF <= engine.share < MOST:
        yield share_of(engine)
    yield from metric.remarks(cell, evidence)
    of_outputs = output.problem(cell, mode, evidence.output, engine, evidence.found)
    if of_outputs and metric.overrules(cell, mode, evidence, of_outputs):
        yield "proved by its metric, not by its outputs"
    if cell.dynamic and DYNAMIC not in evidence.compat:
        yield "dynamic changes nothing here"
    yield from (f"the model {one.text}" for one in evidence.found)


def from_measurements(measured: Sequence[Trial], counted: Sequence[Trial]) -> Iterator[str]:
    """What a reader should know of how it was measured. `measured` are all trials with figures, `counted` those of them
    that the row's figures are of.
    """
    disturbed = [trial for trial in measured if any(_disturbances(trial))]
    if disturbed:
        worst = " and ".join(figures.disturbances(figures.worst_load(map(figures.load, disturbed))))
        left_out = "" if any(trial in counted for trial in disturbed) else ", left out"
        yield f"disturbed: {worst}{_share(len(disturbed), measured)}{left_out}"
    unsettled = [trial for trial in counted if not (trial.evidence.converted and trial.evidence.converted.settled)]
    if unsettled:
        yield f"latency did not settle in warm-up{_share(len(unsettled), counted)}"
    yield from _faults(counted)
    if not all(trial.by_turns for trial in counted):
        yield "eager was measured before it, not by turns: there is no memory for both"


def _faults(counted: Sequence[Trial]) -> Iterator[str]:
    """That memory which calls give back is asked for again in each of them, where that takes long."""
    for who, sampled in (
        ("", [trial.evidence.converted for trial in counted]),
        ("eager ", [trial.evidence.eager for trial in counted]),
    ):
        taken = [
            round(one.page_faults)
            for one in sampled
            if one
            and one.page_faults
            and figures.share_of_faults(one.page_faults, median(one.samples)) > figures.MANY_FAULTS
        ]
        if taken:
            yield (
                f"{who}asks for memory anew in each call, with {min(taken)} page faults at least"
                f"{_share(len(taken), counted)}: see docs/measuring.md"
            )


def _disturbances(trial: Trial) -> Iterator[str]:
    return figures.disturbances(figures.load(trial))


def _share(count: int, trials: Sequence[object]) -> str:
    return "" if count == len(trials) else f" in {count} of {len(trials)} trials"
