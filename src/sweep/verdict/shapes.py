"""Whether a conversion that was made with inputs of some sizes is right for others."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweep.cell import Cell, Mode
from sweep.evidence import Evidence, ShapeCheck
from sweep.result import ShapeFigures
from sweep.status import Status
from sweep.verdict import metric, output


def figures(cell: Cell, mode: Mode, evidence: Evidence) -> tuple[ShapeFigures, ...]:
    """One for each of the further sizes, judged as the output is; what is lost honestly is taken to be the same."""
    return tuple(_figures(cell, mode, evidence, check) for check in evidence.shapes.values())


def remarks(figures: Sequence[ShapeFigures]) -> Iterator[str]:
    """Which of the further sizes it does not take."""
    for one in figures:
        if one.status != "ok":
            yield f"at {in_words(one.sizes)}: {one.status}"


def in_words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())


def _figures(cell: Cell, mode: Mode, evidence: Evidence, check: ShapeCheck) -> ShapeFigures:
    status, message = _status(cell, mode, evidence, check)
    ms = {
        name: None if seconds is None else seconds * 1e3
        for name, seconds in (
            ("first_call_ms", check.first_seconds),
            ("p50_ms", check.seconds),
            ("eager_p50_ms", check.eager_seconds),
        )
    }
    return ShapeFigures(sizes=check.sizes, status=status, message=message, recompiled=check.recompiled, **ms)


def _status(cell: Cell, mode: Mode, evidence: Evidence, check: ShapeCheck) -> tuple[Any, str]:
    if check.eager_failure:
        return "eager raises", check.eager_failure
    if check.failure or check.output is None or evidence.engine is None:
        return "raised", check.failure or "its process reported nothing of it"
    if check.output.problem:
        return "wrong", check.output.problem
    problem = output.problem(cell, mode, check.output, evidence.engine, evidence.found)
    if problem is None:
        return "ok", ""
    if metric.overrules(cell, mode, evidence, problem):
        return "unproved", f"{problem.message}; its metric was taken at its own size"
    return ("unproved" if problem.status is Status.UNPROVED else "wrong"), problem.message
