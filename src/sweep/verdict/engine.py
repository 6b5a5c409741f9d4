"""Whether the engine and the precision that a label names are what ran."""

from sweep.cell import Mode
from sweep.evidence import Engine
from sweep.result import Reason

FREE_TO_CHOOSE = {"openvino"}
"""Engines that choose the precision they compute in by design, whatever a mode's name says; their rows tell it."""


def another(engine: Engine) -> tuple[Reason, str] | None:
    """Which engine ran in place of the label's; None where that one did, or where nothing can tell."""
    if engine.actual is None or engine.actual in engine.requested.split(" or "):
        return None
    return (
        Reason.ENGINE,
        f"asked for {engine.requested}, ran {engine.actual}: its figures are not this conversion's",
    )


def other_precision(mode: Mode, engine: Engine) -> tuple[Reason, str] | None:
    """Which precision it computed in instead of the label's; None where that is the label's, unknown, or free."""
    if engine.precision is None or engine.actual in FREE_TO_CHOOSE:
        return None
    if mode.precision in engine.precision.split("+"):
        return None
    return Reason.ENGINE, f"computes in {engine.precision}, its label says {mode.precision}"
