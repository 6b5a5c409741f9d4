"""Does the output agree with the eager model's, on inputs new to the conversion, and is it complete after the call?"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy
import torch
from torch.utils import _pytree

from sweep.child import convert
from sweep.child.measure import Subject
from sweep.evidence import OutputCheck

REPEATED_INPUTS = 3
"""On how many inputs the model must give the same answer twice before it is taken to do so always."""

Outputs = list[list[torch.Tensor]]
"""For each input, every tensor of its output: fp64, on the CPU."""


def tensors(output: Any) -> list[torch.Tensor]:
    """Every tensor, array and number in a model's output, in order: fp64, on the CPU, and copied.

    Copied because some engines hand out the same buffer at every call. Raises TypeError for anything else:
    an object that can turn into a tensor may not have done its work yet.
    """
    return [_as_fp64(leaf) for leaf in _pytree.tree_leaves(output) if leaf is not None]


def _as_fp64(leaf: Any) -> torch.Tensor:
    if not isinstance(leaf, torch.Tensor | numpy.ndarray | numpy.generic | int | float):
        raise TypeError(f"the output holds a {type(leaf).__name__}, which is no tensor, array or number")
    if isinstance(leaf, torch.Tensor) and leaf.device.type == "meta":
        raise TypeError("the output is on the meta device, where tensors hold no values")
    tensor = torch.as_tensor(leaf).detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if tensor.is_quantized or type(tensor) is not torch.Tensor:  # a subclass may keep its values in another form
        tensor = tensor.dequantize()
    return tensor.to("cpu", torch.float64, copy=True)


def devices_of(output: Any, model: torch.nn.Module) -> str:
    """The device types that the output and the model's parameters live on; arrays live on the CPU."""
    leaves = [*_pytree.tree_leaves(output), *model.parameters()]
    kinds = {leaf.device.type for leaf in leaves if isinstance(leaf, torch.Tensor)}
    return "+".join(sorted(kinds)) or "cpu"


class Reference:
    """The eager model's answers, how far it disagrees with itself, and whether it changes its input."""

    def __init__(self, model: Callable[[torch.Tensor], Any], inputs: list[torch.Tensor]) -> None:
        self._inputs = inputs
        given = [x.clone() for x in inputs]
        self.outputs: Outputs = [tensors(model(x)) for x in given]
        self.changes_input = not all(map(torch.equal, given, inputs))
        self.noise = 0.0
        for number, (x, before) in enumerate(zip(inputs, self.outputs, strict=True), 1):
            self.noise = max(self.noise, _worst(_rel_l2, before, tensors(model(x.clone())), self._batch))
            if number == REPEATED_INPUTS and not self.noise:
                break  # it agrees with itself to the last bit

    @classmethod
    def recalled(cls, kept: dict[str, Any], inputs: list[torch.Tensor]) -> "Reference":
        """The reference that another process took for the same inputs, from what its `kept` gave."""
        reference = cls.__new__(cls)
        reference._inputs = inputs
        reference.outputs, reference.noise = kept["outputs"], kept["noise"]
        reference.changes_input = kept["changes_input"]
        return reference

    def kept(self) -> dict[str, Any]:
        """All of it but the inputs, as `torch.save` can write it."""
        return {"outputs": self.outputs, "noise": self.noise, "changes_input": self.changes_input}

    @property
    def _batch(self) -> int:
        return self._inputs[0].shape[0]

    def check(
        self, forward: Callable[[torch.Tensor], Any], cast: Callable[[torch.Tensor], torch.Tensor]
    ) -> OutputCheck:
        """What `forward` gives for the same inputs, against the reference. Raises what `forward` raises."""
        outputs: Outputs = []
        for number, x in enumerate(self._inputs, 1):
            given = cast(x).clone()
            before = given.clone()
            try:
                outputs.append(tensors(forward(given)))
            except TypeError as error:
                return OutputCheck(inputs=number, problem=f"input {number}: {error}")
            if not torch.equal(given, before) and not self.changes_input:
                return OutputCheck(inputs=number, problem=f"input {number}: the conversion changes its input")
        return self.compare(outputs)

    def compare(self, outputs: Outputs) -> OutputCheck:
        """The worst figures over the samples of all inputs: rel_l2 |y - r| / |r|, cosine y.r / |y||r|, max |y - r|."""
        count = len(self._inputs)
        for number, (expected, actual) in enumerate(zip(self.outputs, outputs, strict=True), 1):
            if problem := _form_problem(expected, actual):
                return OutputCheck(inputs=count, problem=f"input {number}: {problem}", noise=self.noise)
        pairs = _pairs(self.outputs, outputs)
        return OutputCheck(
            rel_l2=max(_worst(_rel_l2, r, y, self._batch) for r, y in pairs),
            cosine=-max(_worst(_minus_cosine, r, y, self._batch) for r, y in pairs),
            max_abs=max(_worst(_max_abs, r, y, self._batch) for r, y in pairs),
            top1_agreement=_top1_agreement(pairs),
            inputs=count,
            noise=self.noise,
            problem=_repetition_problem(self.outputs, outputs),
        )


def time_beyond_the_call(converted: Subject, eager: Subject, inputs: Iterable[torch.Tensor]) -> None:
    """Time what may have been left out of the timed call: work for inputs not seen before, and for reading the output.

    The inputs are in the conversion's dtype. An output that cannot be read is left to the comparison of outputs.
    """
    converted.time_new_inputs(x.clone() for x in inputs)
    with suppress(TypeError):
        converted.read_whole(tensors, converted.excusable + max(eager.reading_delay, 0.0))


def verified(reference: Reference, converted: Subject, eager: Subject, dtype: str) -> OutputCheck:
    """Compare outputs of the callable that was timed, after many calls; what was timed beyond them counts, too."""
    converted.call_many_times()
    check = reference.check(converted.forward, lambda x: convert.cast(x, dtype))
    return check if check.problem else replace(check, problem=timing_problem(converted, eager))


def timing_problem(converted: Subject, eager: Subject) -> str | None:
    """What is wrong if work was put off until the output is read, or saved up from earlier calls."""
    return deferred_work_problem(converted, eager) or cached_answers_problem(converted)


def deferred_work_problem(converted: Subject, eager: Subject) -> str | None:
    """What is wrong if reading an output takes so long, beside eager's, that its work was done only then."""
    beyond = converted.reading_delay - max(eager.reading_delay, 0.0)
    if beyond <= converted.excusable:
        return None
    return f"returns before its work is done: having its whole output takes {beyond * 1e3:.3g} ms beyond the timed call"


def cached_answers_problem(converted: Subject) -> str | None:
    """What is wrong if inputs never seen before take much longer than the one that was timed over and over."""
    if converted.new_input_delay <= converted.excusable:
        return None
    ms = converted.new_input_delay * 1e3
    return f"remembers its answers: a new input takes {ms:.3g} ms longer than the one that was timed"


def _pairs(reference: Outputs, outputs: Outputs) -> list[tuple[list[torch.Tensor], list[torch.Tensor]]]:
    return list(zip(reference, outputs, strict=True))


def _form_problem(expected: list[torch.Tensor], actual: list[torch.Tensor]) -> str | None:
    """What is wrong with the form of an output, or None."""
    if len(expected) != len(actual):
        return f"{len(actual)} tensors, eager gives {len(expected)}"
    for r, y in zip(expected, actual, strict=True):
        if r.shape != y.shape:
            return f"shape {list(y.shape)}, eager's is {list(r.shape)}"
        if not bool(torch.isfinite(r).all()):
            return "eager's own output is not finite, so nothing can be compared with it"
        if not bool(torch.isfinite(y).all()):
            return f"{int((~torch.isfinite(y)).sum())} of {y.numel()} values are not finite"
    return None


def _worst(
    figure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    expected: list[torch.Tensor],
    actual: list[torch.Tensor],
    batch: int,
) -> float:
    """The largest of a figure over the samples of a batch, so that one wrong row does not hide among right ones."""
    r, y = _rows(expected, batch), _rows(actual, batch)
    return float(figure(r, y).max()) if r.numel() else 0.0


def _rows(output: list[torch.Tensor], batch: int) -> torch.Tensor:
    """[batch, n] with all that belongs to a sample in its row, or [1, n] where an output has no batch dimension."""
    if all(t.dim() > 0 and t.shape[0] == batch for t in output):
        return torch.cat([t.reshape(batch, -1) for t in output], 1)
    return torch.cat([t.flatten() for t in output])[None]


def _rel_l2(r: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    scale, error = r.norm(dim=1), (y - r).norm(dim=1)
    return torch.where(scale > 0, error / scale, error)


def _minus_cosine(r: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    scale = r.norm(dim=1) * y.norm(dim=1)
    same = (r == y).all(1).double()
    return -torch.where(scale > 0, (r * y).sum(1) / scale, same)


def _max_abs(r: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (y - r).abs().amax(1)


def _top1_agreement(pairs: Iterable[tuple[list[torch.Tensor], list[torch.Tensor]]]) -> float | None:
    agree = [
        (r.argmax(-1) == y.argmax(-1)).flatten()
        for expected, actual in pairs
        for r, y in zip(expected, actual, strict=True)
        if r.dim() > 1 and r.shape[-1] > 1
    ]
    return float(torch.cat(agree).double().mean()) if agree else None


def _repetition_problem(reference: Outputs, outputs: Outputs) -> str | None:
    """Whether some inputs give the same output although eager's differ: a cached answer, or a constant."""
    for (a, b), (c, d) in zip(combinations(reference, 2), combinations(outputs, 2), strict=True):
        if not all(map(torch.equal, a, b)) and all(map(torch.equal, c, d)):
            return "gives the same output for inputs to which eager gives different ones"
    return None
