"""Whether a conversion's outputs are as near to the unconverted model's as an honest one of its label would be.

Each part is judged by itself, in each of its views. Allowed is a stated multiple of what honest rounding loses there on
this very model, and never less than the floor of its class in `conf/tolerance`. Where that would let nonsense pass,
nothing is proved.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sweep.cell import Cell, Mode, Tolerance
from sweep.evidence import Engine, Found, OutputCheck, OutputPart, View, loss_class
from sweep.result import Fidelity, OutputFigures
from sweep.status import Problem, Reason, Status
from sweep.verdict.engine import FREE_TO_CHOOSE, named

ROOM = 0.8
"""The share of the error of nonsense that may be allowed at most; beyond, nothing is proved."""

LEAST_MULTIPLE = 1.5
"""Where a class's multiple of the honest loss would let nonsense pass, what leaves it room is allowed, if that is as
many times the honest loss: roundings differ by chance, and by how an engine rounds."""

RULE_OF_THREE = 3.0
"""So many of a part's integers may flip beyond: if none of n did, the share that does is up to 3 / n, with 95 %."""

CONVERTED_OTHERWISE = "gives the same answer twice where the model does not: it is another function"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What a view of a part shows: `why` says what the allowed error is made of."""

    part: OutputPart
    name: str
    view: View
    allowed: float
    says: Literal["proved", "refuted", "nothing"]
    why: str
    is_noise: bool = False
    """Whether more is allowed only because the model does not repeat itself."""

    @property
    def excess(self) -> float:
        """How many times more than allowed it is off."""
        return self.view.error / self.allowed if self.allowed else self.view.error * 1e9


def tolerance_class(cell: Cell, mode: Mode, engine: Engine | None) -> str:
    """The class of the label's precision, or that of the engine's where it was free to choose and that one allows more.

    The weights of a model in half precision stay rounded, however exactly the engine computes.
    """
    label = named(mode, engine)
    if engine is None or not engine.precision or engine.actual not in FREE_TO_CHOOSE:
        return label
    return max(label, engine.precision, key=lambda name: _floor(cell.tolerance.get(name)))


def _floor(tolerance: Tolerance | None) -> float:
    return -1.0 if tolerance is None else tolerance.rel_l2 or 0.0


def problem(cell: Cell, mode: Mode, check: OutputCheck, engine: Engine, found: Sequence[Found]) -> Problem | None:
    """Why its outputs do not prove a conversion's label, if they do not: refuted, or neither."""
    name = tolerance_class(cell, mode, engine)
    if name not in cell.tolerance:
        return Problem(reason=Reason.OUTPUT, message=f"there is no tolerance class {name!r}: add tolerance.{name}")
    kinds = {one.kind: one.text for one in found}
    judged = views(cell, mode, check, engine)
    unsure = [one for one in judged if one.says != "proved" or one.is_noise]
    fickle = kinds.get("random") or kinds.get("state")
    if fickle and (unsure or check.undecidable):
        if check.repeats:
            return Problem(reason=Reason.OUTPUT, message=f"{CONVERTED_OTHERWISE}; the model {fickle}")
        return _unproved(f"nothing can be compared: the model {fickle}")
    return (
        _refuted([one for one in judged if one.says == "refuted"], name)
        or _wrong_direction(check, name, cell.tolerance[name].cosine)
        or _not_comparable(check, kinds.get("constant"))
        or _undecided([one for one in judged if one.says == "nothing"], name, kinds.get("rounding"))
    )


def _refuted(judged: Sequence[Judged], name: str) -> Problem | None:
    if not judged:
        return None
    worst = max(judged, key=lambda one: one.excess)
    option = "" if worst.part.kind != "float" else f", or set tolerance.{name}.rel_l2 if that is near enough"
    text = f"{_error(worst)}, class {name} allows {worst.allowed:.2g} ({worst.why}): do not ship it{option}"
    return Problem(reason=Reason.OUTPUT, message=text)


def _wrong_direction(check: OutputCheck, name: str, cosine: float | None) -> Problem | None:
    for part in check.parts:
        if cosine is not None and part.cosine is not None and part.cosine < cosine:
            text = f"{_of(part.name)}cosine {part.cosine:.2g} with eager's output, class {name} wants {cosine:g}"
            return Problem(reason=Reason.OUTPUT, message=text)
    return None


def _not_comparable(check: OutputCheck, constant: str | None) -> Problem | None:
    if check.undecidable:
        return _unproved(
            f"rounding as its label says changes the form of the model's outputs, too ({check.undecidable})"
        )
    if not any(part.elements for part in check.parts):
        hint = "give a checkpoint, or a lower threshold"
        return _unproved(f"its outputs are empty for all inputs, so nothing was compared: {hint}")
    if constant:
        return _unproved(f"nothing was compared: the model {constant}")
    if not any(view.nonsense for part in check.parts for view in part.views.values()):
        return _unproved("the model gives the same whatever its input and its weights are, so nothing was compared")
    return None


def _undecided(judged: Sequence[Judged], name: str, amplifies: str | None) -> Problem | None:
    if not judged:
        return None
    if amplifies:
        return _unproved(f"nothing can be compared: the model {amplifies}")
    worst = max(judged, key=lambda one: one.view.error)
    return _unproved(
        f"{_error(worst)}; class {name} would allow {worst.allowed:.2g} ({worst.why}), which would let nonsense pass "
        f"({worst.view.nonsense:.2g}): try it with trained weights"
    )


def _unproved(message: str) -> Problem:
    return Problem(status=Status.UNPROVED, reason=Reason.OUTPUT, message=message)


def views(cell: Cell, mode: Mode, check: OutputCheck, engine: Engine) -> list[Judged]:
    """All views of all parts, judged by the class of the label; single places only where its loss leaves room."""
    name = tolerance_class(cell, mode, engine)
    tolerance = cell.tolerance.get(name, Tolerance())
    label = loss_class(mode) if name == named(mode, engine) else name
    judged = [
        _judged(part, view_name, view, tolerance, label)
        for part in check.parts
        for view_name, view in part.views.items()
        if label in view.loss or not any(label in other.loss for other in part.views.values())
    ]
    return [one for one in judged if one.name != "place" or one.says != "nothing"]


def _judged(part: OutputPart, name: str, view: View, tolerance: Tolerance, label: str) -> Judged:
    exactly = part.kind != "float"
    floor = 0.0 if exactly else tolerance.rel_l2 or 0.0
    losses = [view.loss[key] for key in (label, "fp32") if key in view.loss]
    honest = 0.0
    if label in view.loss:
        loss = max(losses)
        by_chance = RULE_OF_THREE / part.elements if exactly and label != "fp32" else 0.0
        honest = tolerance.multiple * loss + by_chance
        allowed = max(floor, honest)
        why = f"honest {label} loses {loss:.2g} of it on this model"
    else:
        allowed = floor if exactly else max(floor, tolerance.otherwise)
        why = f"what honest {label} loses of it on this model is not known"
    if label in view.loss and view.nonsense is not None and allowed > ROOM * view.nonsense:
        allowed = max(ROOM * view.nonsense, LEAST_MULTIPLE * loss, floor)
    is_noise = 2 * view.noise > allowed
    if is_noise:
        allowed, why = 2 * view.noise, f"eager disagrees with itself by {view.noise:.2g}"
    has_room = view.nonsense is None or allowed <= ROOM * view.nonsense
    exact_enough = view.nonsense is None or floor <= ROOM * view.nonsense
    if view.error <= floor and view.noise <= floor and exact_enough:
        says: Literal["proved", "refuted", "nothing"] = "proved"
    elif not has_room and not is_noise and view.error <= honest <= ROOM * (view.nonsense or 0.0):
        says, allowed = "proved", honest  # it is the floor that nonsense keeps
    elif not has_room:
        says = "nothing"
    else:
        says = "proved" if view.error <= allowed else "refuted"
    return Judged(part=part, name=name, view=view, allowed=allowed, says=says, why=why, is_noise=is_noise)


_UNITS = {
    "whole": "relative L2 error {error} against eager",
    "row": "relative L2 error {error} against eager in its worst row",
    "column": "relative L2 error {error} against eager in its worst column",
    "place": "relative L2 error {error} against eager at its worst place, over all inputs",
    "small": "relative L2 error {error} against eager in its smaller values",
    "differing": "{error} of its values are not eager's",
}


def _error(judged: Judged) -> str:
    return _of(judged.part.name) + _UNITS[judged.name].format(error=f"{judged.view.error:.2g}")


def _of(part: str) -> str:
    return "" if part == "output" else f"{part}: "


def fidelity(cell: Cell, mode: Mode, check: OutputCheck | None, engine: Engine | None) -> Fidelity | None:
    if check is None:
        return None
    judged = views(cell, mode, check, engine) if engine else []
    parts = [_figures(part, [one for one in judged if one.part is part]) for part in check.parts]
    return Fidelity(
        rel_l2=_most(part.rel_l2 for part in parts),
        cosine=min((part.cosine for part in parts if part.cosine is not None), default=None),
        max_abs=_most(part.max_abs for part in parts),
        top1_agreement=min((p.top1_agreement for p in check.parts if p.top1_agreement is not None), default=None),
        inputs=check.inputs,
        tolerance_class=tolerance_class(cell, mode, engine),
        differing_share=_most(part.differing_share for part in parts),
        allowed=_allowed(parts),
        outputs=tuple(parts),
    )


def _allowed(parts: Sequence[OutputFigures]) -> float | None:
    """Of the part with the largest error, as `rel_l2` is."""
    floats = [part for part in parts if part.rel_l2 is not None]
    return max(floats, key=lambda part: part.rel_l2 or 0.0).allowed if floats else None


def _figures(part: OutputPart, judged: Sequence[Judged]) -> OutputFigures:
    whole, differing = part.views.get("whole"), part.views.get("differing")
    worst = max(judged, key=lambda one: one.excess, default=None)
    allowed = next((one.allowed for one in judged if one.name in {"whole", "differing"}), None)
    return OutputFigures(
        name=part.name,
        kind=part.kind,
        rel_l2=whole.error if whole else None,
        cosine=part.cosine,
        max_abs=part.max_abs,
        differing_share=differing.error if differing else None,
        allowed=None if allowed is None or allowed >= 1e29 else allowed,
        worst_view=worst.name if worst else None,
        worst_error=worst.view.error if worst else None,
        worst_allowed=None if worst is None or worst.allowed >= 1e29 else worst.allowed,
    )


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
