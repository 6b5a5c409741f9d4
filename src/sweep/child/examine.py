"""What is odd about the unconverted model: found once, before any conversion, and said of the model.

kind        found                                                 then
random      gives other answers with other random numbers         nothing is compared with junk: `unproved`
noise       repeats itself only to within less than 1e-4          twice that is allowed
state       gives other answers after other calls                 `unproved`
rounding    fp32 is far from fp64                                 what rounding decides is `unproved`
constant    gives one answer to every input                       `unproved`
insensitive gives nearly one answer to every input                a note: little is proved
input       changes its input                                     every call gets a copy
memory      is faster with an input that it has seen              every timed call gets a new one
latency     takes longer for some inputs than for others          a note: the latency is that of one input
grows       keeps something of every call                         a note: its memory is that of so many calls
hooks       has hooks of its own                                  the baseline is called with them
tf32        has torch compute fp32 in TF32, on a GPU              what fp32 labels stand for; what it loses is allowed
threads     sets torch's threads                                  they are set back
dtype       sets torch's default dtype, or computes in fp64       a note
half        is of half precision                                  what fp32 labels stand for
data        is given data of the user's                           a note: how much, and what was left out
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from sweep.child import device
from sweep.child.reference import Reference
from sweep.evidence import Found

AMPLIFIED = 1e-3
"""Relative L2 error of fp32 against fp64 from which a model is said to amplify rounding: four digits of seven."""

TF32_LOSES = 1e-2
"""As above, where a model may compute in TF32, whose unit roundoff is 4.9e-4."""

HARDLY_NOISY = 1e-4
"""Relative L2 error between two runs up to which it is the order of additions, on a GPU, say."""

INSENSITIVE = 1e-3
"""Relative L2 error between answers to unlike inputs up to which they are said hardly to depend on them."""

GROWN, GROWN_A_CALL = 5e5, 200
"""Bytes by which a process must have grown, in all and a call, for calls to be said to leave something behind."""

UNLIKE_LATENCY = 1.5
"""How many times longer than for the quickest input a call may take before it is said."""


class Surroundings:
    """What of the process a model's code may change: torch's threads and default dtype."""

    def __init__(self) -> None:
        self._threads, self._dtype = torch.get_num_threads(), torch.get_default_dtype()

    def restored(self) -> Iterator[Found]:
        """Put threads back as they were, and say what was changed since this was made."""
        if (now := torch.get_num_threads()) != self._threads:
            torch.set_num_threads(self._threads)
            yield Found(kind="threads", text=f"sets torch's threads to {now}: set back to {self._threads}")
        if (dtype := torch.get_default_dtype()) != self._dtype:
            self._dtype = dtype
            yield Found(kind="dtype", text=f"sets torch's default dtype to {str(dtype).removeprefix('torch.')}")


def has_hooks(model: torch.nn.Module) -> bool:
    """Whether a call of the model is another function than its `forward`."""
    return bool(model._forward_hooks or model._forward_pre_hooks)


def of_the_model(model: torch.nn.Module) -> Iterator[Found]:
    """What can be seen without a call."""
    if has_hooks(model):
        yield Found(
            kind="hooks", text="has hooks of its own, which alma's EAGER and others of its conversions leave out"
        )
    if _may_use_tf32(model):
        yield Found(kind="tf32", text="has torch compute fp32 in TF32: for it labels of fp32 stand for that")
    if any(parameter.dtype == torch.float64 for parameter in model.parameters()):
        yield Found(kind="dtype", text="is a float64 model: alma's modes are of float32, float16 and bfloat16")
    if own := half_precision(model):
        yield Found(kind="half", text=f"is of {own}: for it labels of fp32 stand for that")


def of_its_data(batches: int, samples: int, left_out: int) -> Iterator[Found]:
    """How much of the user's own data it is given."""
    rest = f"; {left_out} others have other shapes than the first and are left out: pad them" if left_out else ""
    yield Found(kind="data", text=f"is given {batches} batches of your data, each of {samples}{rest}")


def half_precision(model: torch.nn.Module) -> str | None:
    """That which all weights of a model are in; None for any other."""
    kinds = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(kinds.pop()) if len(kinds) == 1 else None


def _may_use_tf32(model: torch.nn.Module) -> bool:
    return any(parameter.is_cuda for parameter in model.parameters()) and device.allows_tf32()


def of_its_answers(reference: Reference, model: Callable[[Any], Any]) -> Iterator[Found]:
    """What its reference shows."""
    if reference.changes_input:
        yield Found(kind="input", text="changes its input: every call gets a copy of it")
    if reference.is_noisy:
        size = reference.largest_noise
        by = f", by {size:.2g}" if size else ""
        if 0 < size < HARDLY_NOISY and reference.noise_problem is None:
            yield Found(kind="noise", text=f"repeats itself only to within {size:.1g}")
        elif _repeats_when_seeded(reference, model):
            yield Found(kind="random", text=f"gives another answer at every call{by}: is dropout left on?")
        else:
            yield Found(kind="state", text=f"keeps state: its answer depends on the calls before{by}")
    sensitivity = reference.sensitivity()
    if sensitivity == 0:
        yield Found(kind="constant", text="gives the same answer to every input")
    elif sensitivity is not None and sensitivity < INSENSITIVE and not reference.is_noisy:
        yield Found(
            kind="insensitive",
            text=f"hardly depends on its input: answers differ by {sensitivity:.1g}, which proves little",
        )


def _repeats_when_seeded(reference: Reference, model: Callable[[Any], Any]) -> bool:
    torch.manual_seed(0)
    first = reference.answer(model)
    torch.manual_seed(0)
    return reference.are_equal(first, reference.answer(model))


def of_many_calls(reference: Reference, noise_before: float) -> Iterator[Found]:
    """Whether it answered otherwise after many calls, which was added to its noise."""
    size = reference.largest_noise
    if reference.noise_problem or size > max(HARDLY_NOISY, 2 * noise_before):
        yield Found(kind="state", text=f"keeps state: after many calls its answer is another one, by {size:.2g}")


def of_another_process(off: float) -> Iterator[Found]:
    """Whether another process had other answers to the same inputs, with the same seed."""
    if off > HARDLY_NOISY:
        yield Found(kind="state", text=f"gives other answers in another process, by {off:.2g}")


def of_its_rounding(reference: Reference, model: torch.nn.Module) -> Iterator[Found]:
    """What its losses show, of a model in fp32 that does not compute in TF32."""
    loss = reference.worst_loss("fp32")
    kinds = {parameter.dtype for parameter in model.parameters()} - {torch.float32, torch.float64}
    if loss is None or kinds or reference.is_noisy:
        return
    if loss > (TF32_LOSES if _may_use_tf32(model) else AMPLIFIED):
        yield Found(kind="rounding", text=f"amplifies rounding: in fp32 it is off its own fp64 answer by {loss:.2g}")


def of_its_memory(grown: float, calls: float) -> Iterator[Found]:
    """Whether calls leave something behind: `grown` bytes in so many at least, each time that it was looked at.

    Once is no sign: an allocator that still finds its places takes megabytes in a few calls of a large model.
    """
    if grown > GROWN and grown > GROWN_A_CALL * calls:
        yield Found(kind="grows", text=f"keeps something of every call: {grown / calls / 1e3:.1f} KB each")


def of_its_latency(seconds: list[float]) -> Iterator[Found]:
    """Whether it depends on the input; `seconds` are those of calls with unlike inputs, the one that is timed first."""
    if len(seconds) > 1 and max(seconds) > UNLIKE_LATENCY * min(seconds):
        yield Found(
            kind="latency",
            text=f"takes {max(seconds) / min(seconds):.1f}x as long for some inputs as for others: timed with one",
        )
