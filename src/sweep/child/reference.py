"""The unconverted model's answers, and what is known of them: noise, what honest rounding loses, and nonsense."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from sweep.child import comparison, data, outputs, rounding, ties, variants
from sweep.child.comparison import Figures
from sweep.child.data import Data
from sweep.child.outputs import Part, Parts
from sweep.child.variants import Forward
from sweep.evidence import OutputCheck, OutputPart, View

REPEATED_INPUTS = 3
"""On how many inputs the model must give the same answer twice before it is taken to do so always."""

ROUNDED_INPUTS, QUICK_SECONDS = 3, 0.01
"""On how many inputs it is found what honest rounding loses; on all, where an answer takes no longer than that."""

MOST_SECONDS = 30.0
"""What that may take beside fp64 and nonsense; classes of labels for which there was no time have none."""

MOST_PARTS = 100
"""Parts of an output of which each is told about; of more, those that are furthest off for what honest ones lose."""

CONSTANT = 1e-6
"""A part by which no other weights and no other input change anything is not computed, but kept: anchors, say."""


class Reference:
    """What a conversion's outputs are compared with.

    `outputs` are the model's for each input. `noise` are figures between two runs of it, `nonsense` the least of
    those of answers that are none, `losses` those of honest roundings by class of label.
    """

    def __init__(self, model: Forward, inputs: Sequence[Data], batch: int | None = None) -> None:
        """Have the model answer all inputs, and some of them again in another order.

        `batch` is how many samples are in an input; None is as many as its first tensor is long. Raises what the model
        raises; UnreadableOutput where it gives something of which no tensors can be read.
        """
        self._inputs = inputs
        self._batch = data.tensors(inputs[0])[0].shape[0] if batch is None else batch
        given = [data.clone(x) for x in inputs]
        self.outputs = [outputs.read(model(x)) for x in given]
        self.changes_input = not all(map(data.same, given, inputs))
        self.noise: Figures = {}
        self.noise_problem: str | None = None
        self.losses: dict[str, Figures] = {}
        self.nonsense: Figures = {}
        self.constant: list[str] = []
        for number in reversed(range(min(REPEATED_INPUTS, len(inputs)))):
            self._add_noise(number, outputs.read(model(data.clone(inputs[number]))))
        if self.is_noisy:
            for number in range(REPEATED_INPUTS, len(inputs)):
                self._add_noise(number, outputs.read(model(data.clone(inputs[number]))))

    def _add_noise(self, number: int, again: Parts) -> None:
        self.noise_problem = self.noise_problem or comparison.form_problem(self.outputs[number], again)
        if not self.noise_problem:
            comparison.raise_to(self.noise, comparison.figures([self.outputs[number]], [again], self._batch))

    @property
    def is_noisy(self) -> bool:
        return self.noise_problem is not None or any(any(figure.values()) for figure in self.noise.values())

    @property
    def largest_noise(self) -> float:
        """Of any view; 0 where only the form of the answers changes."""
        return max((figure for views in self.noise.values() for figure in views.values()), default=0.0)

    def answer(self, model: Forward) -> Parts:
        """The model's answer to the first input, now."""
        return outputs.read(model(data.clone(self._inputs[0])))

    def answer_again(self, model: Forward) -> None:
        """Add to the noise how far the answer to the first input is now from what it was."""
        self._add_noise(0, self.answer(model))

    @staticmethod
    def are_equal(a: Parts, b: Parts) -> bool:
        """Whether two answers are the same to the last bit."""
        return comparison.equal(a, b)

    def worst_loss(self, label: str) -> float | None:
        """What honest conversions with this class of label lose of whole parts; None where that is not known."""
        views = self.losses.get(label)
        return max((figures.get("whole", 0.0) for figures in views.values()), default=None) if views else None

    def find_losses(self, model: torch.nn.Module, example: Data, most_memory: float | None = None) -> None:
        """Find what honest conversions lose on this model, and how far nonsense is off.

        No class is begun after MOST_SECONDS. `most_memory` is how many bytes this process may hold.
        """
        began = time.monotonic()
        self.answer(model)
        quick = time.monotonic() - began <= QUICK_SECONDS
        inputs = self._inputs if quick else self._inputs[:ROUNDED_INPUTS]

        def has_room() -> bool:
            return variants.has_room_for_another(model, most_memory)

        precise = variants.precise(model) if has_room() else None
        if precise:
            self._find("fp32", nullcontext(precise), inputs)
        del precise
        if "fp32" not in self.losses and has_room() and (near := variants.attempt(lambda: variants.perturbed(model))):
            self._find("fp32", nullcontext(near), inputs)
        self._find_nonsense(model if has_room() else None, inputs)
        ends = time.monotonic() + MOST_SECONDS
        for name, honest in rounding.CLASSES.items():
            for way in rounding.ways(model, example, honest):
                if name not in self.losses and time.monotonic() < ends and has_room():
                    self._find(name, way, inputs)

    def adopt(self, kept: dict[str, Any]) -> float:
        """Take losses and nonsense from what another process kept, if it had the same answers to the last bit; else
        returns how far its answers were off: the largest figure of any view.
        """
        if len(kept["outputs"]) == len(self.outputs) and all(map(comparison.equal, self.outputs, kept["outputs"])):
            self.losses, self.nonsense, self.constant = kept["losses"], kept["nonsense"], kept["constant"]
            return 0.0
        if any(map(comparison.form_problem, self.outputs, kept["outputs"])):
            return float("inf")
        figures = comparison.figures(self.outputs, kept["outputs"], self._batch)
        return max((figure for views in figures.values() for figure in views.values()), default=0.0)

    def _find(self, name: str, forward: AbstractContextManager[Forward], inputs: Sequence[Data]) -> None:
        answers = variants.answers(forward, inputs)
        if not answers:
            return
        expected = self.outputs[: len(answers)]
        problems = [comparison.form_problem(r, y) for r, y in zip(expected, answers, strict=True)]
        if any(problems):  # so many boxes, say, that rounding decides over: nothing can be said of any of it
            self.losses[name] = {part: dict.fromkeys(("whole", "differing"), float("inf")) for part in expected[0]}
            return
        figures = comparison.figures(expected, answers, self._batch)
        lost = [views["whole"] for views in figures.values() if "whole" in views]
        if name != "fp32" and lost and not any(lost):
            return  # it was not the copy that ran: a forward that was put there by hand goes on using the model itself
        self.losses[name] = figures

    def _find_nonsense(self, model: torch.nn.Module | None, inputs: Sequence[Data]) -> None:
        """Answers that nobody wants: zeros, rows in another order, and those of the model with other weights."""
        expected = self.outputs[: len(inputs)]
        for nonsense in (comparison.zeros, comparison.reversed_rows):
            made = [{name: nonsense(part) for name, part in parts.items()} for parts in expected]
            figures = comparison.figures(expected, made, self._batch)
            comparison.lower_to(self.nonsense, {name: views for name, views in figures.items() if any(views.values())})
        other = variants.attempt(lambda: variants.shuffled(model)) if model is not None else None
        answers = variants.answers(nullcontext(other), inputs) if other is not None else None
        if not answers or any(map(comparison.form_problem, expected, answers)):
            return
        figures = comparison.figures(expected[: len(answers)], answers, self._batch)
        self.constant = [
            name
            for name, views in figures.items()
            if max(views.values(), default=0.0) < CONSTANT and self._is_one(name)
        ]
        for name, views in figures.items():  # what no weights change says nothing of other weights
            depends = {view: figure for view, figure in views.items() if figure >= CONSTANT}
            comparison.lower_to(self.nonsense, {name: depends})
        for name in self.constant:
            self.nonsense.pop(name, None)

    def _is_one(self, name: str) -> bool:
        """Whether a part has one value for all inputs."""
        first, *others = [parts[name] for parts in self.outputs]
        if isinstance(first, tuple):
            return all(first == other for other in others)
        return all(isinstance(o, torch.Tensor) and o.shape == first.shape and torch.equal(o, first) for o in others)

    def sensitivity(self) -> float | None:
        """How far the answers to other inputs are from that to the first: the largest relative L2 error; None if that
        cannot be told, as where their shapes differ."""
        first, *others = self.outputs
        if not others or any(comparison.form_problem(first, other) for other in others):
            return None
        figures = comparison.figures([first] * len(others), others, self._batch)
        return max((max(views.values()) for views in figures.values() if views), default=None)

    @classmethod
    def recalled(cls, kept: dict[str, Any], inputs: Sequence[Data]) -> "Reference":
        """The reference that another process took for the same inputs, from what its `kept` gave."""
        reference = cls.__new__(cls)
        reference._inputs = inputs
        for name, value in kept.items():
            setattr(reference, name, value)
        return reference

    def kept(self) -> dict[str, Any]:
        """All of it but the inputs, as `torch.save` can write it."""
        return {name: value for name, value in vars(self).items() if name != "_inputs"}

    def check(self, forward: Forward, cast: Callable[[Any], Data], loss_class: str) -> OutputCheck:
        """What `forward` gives for the same inputs, against the reference. Raises what `forward` raises."""
        answers: list[Parts] = []
        count = len(self._inputs)
        for number, x in enumerate(self._inputs, 1):
            given = data.clone(cast(x))
            before = data.clone(given)
            try:
                answers.append(outputs.read(forward(given)))
            except outputs.UnreadableOutput as error:
                return OutputCheck(inputs=number, problem=f"input {number}: {error}")
            if not data.same(given, before) and not self.changes_input:
                return OutputCheck(inputs=number, problem=f"input {number}: the conversion changes its input")
        repeats = None
        if self.is_noisy:
            again = outputs.read(forward(data.clone(cast(self._inputs[-1]))))
            repeats = comparison.form_problem(answers[-1], again) is None and not any(
                any(views.values()) for views in comparison.figures([answers[-1]], [again], self._batch).values()
            )
        for number, (expected, actual) in enumerate(zip(self.outputs, answers, strict=True), 1):
            if problem := comparison.form_problem(expected, actual):
                problem = f"input {number}: {problem}"
                if self._changes_form(loss_class):
                    return OutputCheck(inputs=count, undecidable=problem, repeats=repeats)
                return OutputCheck(inputs=count, problem=problem, repeats=repeats)
        losses = self.losses.get(loss_class, {})
        problem = comparison.repetition_problem(self.outputs, answers, losses, self._batch)
        return OutputCheck(parts=self._parts(answers, loss_class), inputs=count, problem=problem, repeats=repeats)

    def _changes_form(self, loss_class: str) -> bool:
        """Whether the model's own answers, or honest roundings of them, are now of one form and now of another."""
        losses = self.losses.get(loss_class, {})
        return self.noise_problem is not None or any(views.get("whole") == float("inf") for views in losses.values())

    def _parts(self, answers: list[Parts], loss_class: str) -> tuple[OutputPart, ...]:
        errors = comparison.figures(self.outputs, answers, self._batch)
        parts = []
        for number, name in enumerate(self.outputs[0]):
            kind = outputs.kind_of(self.outputs[0][name])
            if kind == "integer" and errors.get(name, {}).get("differing"):
                errors[name]["differing"] = ties.without_ties(self.outputs, answers, name)
            expected: list[Part] = [parts_[name] for parts_ in self.outputs]
            actual: list[Part] = [list(parts_.values())[number] for parts_ in answers]
            views = {view: self._view(name, view, error) for view, error in errors.get(name, {}).items()}
            overall = comparison.overall(expected, actual, self._batch)
            parts.append(
                OutputPart(
                    name=name,
                    kind=kind,
                    views=views,
                    elements=overall.elements,
                    cosine=overall.cosine,
                    max_abs=overall.max_abs,
                    top1_agreement=overall.top1_agreement,
                )
            )
        parts.sort(key=lambda part: -_beyond(part, loss_class))
        return tuple(parts[:MOST_PARTS])

    def _view(self, name: str, view: str, error: float) -> View:
        def of(figures: Figures) -> float | None:
            views = figures.get(name, {})
            unlike = views.get("whole", 0.0) == float("inf")
            return float("inf") if unlike else views.get(view)

        losses = {label: loss for label, figures in self.losses.items() if (loss := of(figures)) is not None}
        return View(
            error=error,
            loss={label: min(loss, 1e30) for label, loss in losses.items()},
            noise=of(self.noise) or 0.0,
            nonsense=of(self.nonsense),
        )


def _beyond(part: OutputPart, loss_class: str) -> float:
    """How many times more than what is lost honestly a part is off, about."""
    least = 1e-7
    views = [view for view in part.views.values() if loss_class in view.loss] or list(part.views.values())
    return max((view.error / (least + view.loss.get(loss_class, 0.0)) for view in views), default=0.0)
