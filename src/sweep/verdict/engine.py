"""Whether the engine and the precision that the label names are those that ran."""

from sweep.cell import Mode
from sweep.evidence import Engine
from sweep.result import Reason

FREE_TO_CHOOSE = {"openvino"}
"""Engines that by design choose the precision they compute in, whatever a mode's name says; their rows say which."""


def wrong_engine(engine: Engine) -> tuple[Reason, str] | None:
    """That another engine ran than the label names; None where that one did, or where it cannot be told."""
    if engine.actual is None or engine.actual in engine.requested.split(" or "):
        return None
    return (
        Reason.ENGINE,
        f"asked for {engine.requested}, ran {engine.actual}: its figures are not this conversion's",
    )


def wrong_precision(mode: Mode, engine: Engine) -> tuple[Reason, str] | None:
    """That it computed in another precision than the label names; None where not, or where it is unknown."""
    if engine.precision is None or engine.actual in FREE_TO_CHOOSE:
        return None
    if mode.precision in engine.precision.split("+"):
        return None
    return Reason.ENGINE, f"computes in {engine.precision}, its label says {mode.precision}"
