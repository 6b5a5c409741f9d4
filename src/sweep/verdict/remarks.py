"""Remarks in the message of a measured row: what a reader should know besides the status."""

from collections.abc import Iterator, Sequence

from sweep import stats
from sweep.cell import Cell, Mode
from sweep.evidence import Evidence, MachineLoad, Sampled
from sweep.verdict import figures, output
from sweep.verdict.engine import FREE_TO_CHOOSE


def from_evidence(cell: Cell, mode: Mode, evidence: Evidence) -> Iterator[str]:
    """Remarks on what ran and on the output check, from what one process reported."""
    engine, check = evidence.engine, evidence.output
    if engine is None or evidence.converted is None or evidence.eager is None or check is None:
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
    name = output.tolerance_class(cell, mode, engine)
    tolerance = cell.tolerance.get(name)
    if tolerance is not None and tolerance.rel_l2 is None and not check.problem:
        yield f"output judged on form only (class {name})"
    if check.noise > 0:
        yield f"eager disagrees with itself by {check.noise:.1g}"


QUIET = 0.05
"""The share of the CPUs that others may use while a measurement is called undisturbed."""


def from_measurements(cell: Cell, measured: Sequence[tuple[Sampled, Sampled]]) -> Iterator[str]:
    """What makes the measurements doubtful: in how many processes, and how much in the worst of them.

    `measured` is eager and conversion of each process.
    """
    for label, sampled in (
        ("eager ", [eager for eager, _ in measured]),
        ("", [converted for _, converted in measured]),
    ):
        unsettled = sum(not s.settled for s in sampled)
        widths = [stats.half_width(s.samples) for s in sampled]
        wide = sum(width > cell.measure.precision for width in widths)
        noisy = sum(any(_disturbances(s.load)) for s in sampled)
        if unsettled:
            yield f"unstable: {label}latency did not settle in warm-up{_share(unsettled, measured)}"
        if wide:
            yield f"unstable: {label}median known to ±{max(widths):.1%} only{_share(wide, measured)}"
        if noisy:
            worst = " and ".join(_disturbances(figures.worst_load(s.load for s in sampled)))
            yield f"noisy: {worst} during {label or 'its '}samples{_share(noisy, measured)}"


def _disturbances(load: MachineLoad) -> Iterator[str]:
    """Each figure of a machine load that is too high for a measurement to be called undisturbed, in words."""
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


def _share(count: int, processes: Sequence[object]) -> str:
    return "" if count == len(processes) else f" in {count} of {len(processes)} processes"
