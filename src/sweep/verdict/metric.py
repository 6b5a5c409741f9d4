"""What the user's own measure says of a conversion: that it lost more than they allow, or that it kept what they want.

It judges by data and answers, where tolerances know only how far outputs are off. So it refutes what they let pass, and
proves what they cannot decide: an honest int2 may be as far off as nonsense and answer as well as eager. What narrow
numbers lose depends on the ranges they are fitted to, so for their labels it overrules tolerances; half precision and
fp32 lose what rounding loses, and who loses more computes something else, however well that does.
"""

from collections.abc import Iterator

from sweep.cell import Cell, Mode
from sweep.evidence import Evidence
from sweep.result import MetricFigures
from sweep.status import Problem, Reason, Status

EXACT = {"fp64", "fp32", "fp16", "bf16"}
"""Precisions whose labels leave an engine no choice of what it rounds to."""


def figures(cell: Cell, evidence: Evidence) -> MetricFigures | None:
    """What the metric found; None where there is none."""
    found, data = evidence.metric, cell.data
    if found is None or data is None or found.converted is None:
        return None
    return MetricFigures(
        name=data.metric_name,
        value=found.converted,
        eager=found.eager,
        drop=_drop(cell, found.eager, found.converted),
        allowed_drop=data.allowed_drop,
        samples=found.samples,
    )


def problem(cell: Cell, evidence: Evidence) -> Problem | None:
    """That a conversion loses more than is allowed; None where it does not, or nothing is said of that."""
    if evidence.metric and evidence.metric.converted is None:
        return Problem(reason=Reason.OUTPUT, message=f"its outputs have no metric: {evidence.metric.failure}")
    found = figures(cell, evidence)
    if found is None or found.allowed_drop is None or found.drop <= found.allowed_drop:
        return None
    text = f"{in_words(found)}: {found.drop:.3g} is lost, {found.allowed_drop:g} is allowed: do not ship it"
    return Problem(reason=Reason.OUTPUT, message=text)


def proves(cell: Cell, evidence: Evidence) -> bool:
    """Whether it keeps what the user wants, and answers to other inputs would not."""
    found, check = figures(cell, evidence), evidence.metric
    if found is None or check is None or found.allowed_drop is None or found.drop > found.allowed_drop:
        return False
    return check.nonsense is not None and _drop(cell, check.eager, check.nonsense) > found.allowed_drop


def overrules(cell: Cell, mode: Mode, evidence: Evidence, found: Problem) -> bool:
    """Whether it proves a conversion of which the tolerances found this."""
    return (found.status is Status.UNPROVED or mode.precision not in EXACT) and proves(cell, evidence)


def remarks(cell: Cell, evidence: Evidence) -> Iterator[str]:
    """The metric in words, and that it cannot tell nonsense, where it cannot."""
    found, check = figures(cell, evidence), evidence.metric
    if found is None or check is None:
        return
    yield in_words(found)
    allowed = found.allowed_drop or 0.0
    if check.nonsense is not None and _drop(cell, check.eager, check.nonsense) <= allowed:
        yield f"the metric cannot tell: answers that are none have {check.nonsense:.4g}"


def in_words(found: MetricFigures) -> str:
    return f"{found.name} {found.value:.4g}, eager {found.eager:.4g}"


def _drop(cell: Cell, eager: float, other: float) -> float:
    assert cell.data is not None
    return eager - other if cell.data.higher_is_better else other - eager
