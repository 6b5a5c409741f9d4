"""Whether the engine and the precision that the label names are those that ran."""

from sweep.cell import Mode
from sweep.evidence import Engine
from sweep.status import Problem, Reason, Status

FREE_TO_CHOOSE = {"openvino"}
"""Engines that by design choose the precision they compute in, whatever a mode's name says; their rows say which."""


SEEN_AS = {"int8_static": ("int8",), "uncalibrated": ("int8", "int4", "int2"), "tf32": ("fp32",)}
"""What of a precision that a label names is seen in a call. TF32 is what a model allows: none of it need be used."""

MOST, HALF = 0.9, 0.5
"""Shares of the model's work: below the first it is said what stayed outside the engine, below the second it is a
mismatch."""


def wrong_engine(engine: Engine) -> Problem | None:
    """That another engine ran than the label names; None where that one did, or where it cannot be told."""
    if engine.actual is None or engine.actual in engine.requested.split(" or "):
        return None
    return Problem(
        reason=Reason.ENGINE,
        message=f"asked for {engine.requested}, ran {engine.actual}: its figures are not this conversion's",
    )


def small_share(engine: Engine) -> Problem | None:
    """That most of the model's work was done outside the engine; None where not, or where it is unknown."""
    if engine.share is None or engine.share >= HALF:
        return None
    return Problem(reason=Reason.ENGINE, message=f"{share_of(engine)}: its figures are hardly this conversion's")


def share_of(engine: Engine) -> str:
    """How much of the work was done in the engine, and what was not."""
    assert engine.share is not None
    outside = f"; outside: {', '.join(engine.outside)}" if engine.outside else ""
    of_weights = engine.evidence.get("share_of") == "weights"
    of = "of its weights are converted" if of_weights else f"of its work is done in {engine.actual}"
    return f"{engine.share:.{1 if engine.share < 0.01 else 0}%} {of}{outside}"


def unattested(engine: Engine) -> Problem | None:
    """That nothing can tell which engine ran; None where something could."""
    if engine.actual is not None:
        return None
    if engine.evidence.get("device_seen_by") == "nothing":
        message = "torch's profiler sees nothing of its device here (on CUDA it needs CUPTI), so nobody knows what ran"
        return Problem(status=Status.UNPROVED, reason=Reason.ENGINE, message=message)
    hint = "register it with one that can be (docs/conversions.md), such as eager"
    message = f"nothing can attest the engine {engine.requested!r}: {hint}"
    return Problem(status=Status.UNPROVED, reason=Reason.ENGINE, message=message)


def named(mode: Mode, engine: Engine | None) -> str:
    """The precision that a label stands for: fp32, which names none, is the model's own, where that is half or TF32."""
    own = engine.evidence.get("model") if engine else None
    return str(own) if own and mode.precision == "fp32" else mode.precision


def wrong_precision(mode: Mode, engine: Engine) -> Problem | None:
    """That it computed in another precision than the label names; None where not, or where it is unknown."""
    if engine.precision is None or engine.actual in FREE_TO_CHOOSE:
        return None
    label = named(mode, engine)
    if {label, *SEEN_AS.get(mode.precision, ()), *SEEN_AS.get(label, ())} & set(engine.precision.split("+")):
        return None
    message = f"computes in {engine.precision}, its label says {label}"
    return Problem(reason=Reason.ENGINE, message=message)
