"""Whether the output check is passed: an output is as near to eager's as its tolerance class demands."""

import math

from sweep.cell import Cell, Mode, Tolerance
from sweep.evidence import Engine, OutputCheck
from sweep.result import Fidelity, Reason
from sweep.verdict.engine import FREE_TO_CHOOSE


def tolerance_class(cell: Cell, mode: Mode, engine: Engine | None) -> str:
    """The class of the label's precision, or that of the engine's where it was free to choose and that one allows more.

    The weights of a model in half precision stay rounded, however exactly the engine computes.
    """
    if engine is None or not engine.precision or engine.actual not in FREE_TO_CHOOSE:
        return mode.precision
    return max(mode.precision, engine.precision, key=lambda name: _allows(cell.tolerance.get(name)))


def _allows(tolerance: Tolerance | None) -> float:
    if tolerance is None:
        return -1.0
    return math.inf if tolerance.rel_l2 is None else tolerance.rel_l2


def out_of_tolerance(cell: Cell, mode: Mode, check: OutputCheck, engine: Engine) -> tuple[Reason, str] | None:
    """That an output is further from eager's than its tolerance class allows, with the figure; None where it is not."""
    name = tolerance_class(cell, mode, engine)
    tolerance = cell.tolerance.get(name)
    if tolerance is None:
        return Reason.OUTPUT, f"there is no tolerance class {name!r}: add tolerance.{name}"
    allowed = None if tolerance.rel_l2 is None else max(tolerance.rel_l2, 2 * check.noise)
    if allowed is not None and (check.rel_l2 is None or not check.rel_l2 <= allowed):
        return (
            Reason.OUTPUT,
            f"relative L2 error {_figure(check.rel_l2)} against eager, class {name} allows {_figure(allowed)}: "
            f"do not ship it, or set tolerance.{name}.rel_l2 if that is near enough",
        )
    if tolerance.cosine is not None and (check.cosine is None or not check.cosine >= tolerance.cosine):
        return (
            Reason.OUTPUT,
            f"cosine {_figure(check.cosine)} with eager's output, class {name} wants {tolerance.cosine:g}",
        )
    return None


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"


def fidelity(cell: Cell, mode: Mode, check: OutputCheck | None, engine: Engine | None) -> Fidelity | None:
    if check is None:
        return None
    return Fidelity(
        rel_l2=check.rel_l2,
        cosine=check.cosine,
        max_abs=check.max_abs,
        top1_agreement=check.top1_agreement,
        inputs=check.inputs,
        tolerance_class=tolerance_class(cell, mode, engine),
    )
