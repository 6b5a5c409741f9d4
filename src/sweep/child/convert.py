"""Builds the model, makes its inputs, and applies one conversion."""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sweep import inputs
from sweep.cell import Cell, Mode
from sweep.child import calibrate, compat, compat_inputs, facade, installed, threads, weights
from sweep.child.data import Data, filled
from sweep.child.device import forbid_tf32
from sweep.child.instantiate import HYDRA_KEYS, instantiate, locate
from sweep.inputs import Description, TensorSpec

RESERVED = {"input", "inputs", "output", "checkpoint", "named", "needs", "shapes"}
"""Keys of a model's config that are not arguments of its target."""

Forward = Callable[[Any], Any]
"""Of the input as one value, `data.Data`."""


def build_model(
    config: Mapping[str, Any], device: torch.device, most_memory: float | None = None
) -> tuple[torch.nn.Module, str]:
    """The model in evaluation mode on `device`, with its checkpoint if it has one; and what was taken off its keys.

    Raises TooLarge where its weights are more than `most_memory` (MB), or than this machine has; whatever its target
    raises; TypeError if that is no torch.nn.Module; RuntimeError if the checkpoint does not fit.
    """
    no_arguments = RESERVED | sizes_alone(config)
    arguments = {key: value for key, value in config.items() if key not in no_arguments}
    weights.refuse_too_large(config, lambda: instantiate(arguments), most_memory)
    model = instantiate(arguments)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"{config['_target_']} returned {type(model).__name__}, not a torch.nn.Module")
    prefix = ""
    if config.get("checkpoint"):
        state, prefix = _without_prefix(weights.state_dict(Path(config["checkpoint"])), model)
        model.load_state_dict(state)
    model = model.to(device)
    model.eval()  # not for what it returns: a train() of the model's own may return nothing
    return model, prefix


def sizes_alone(config: Mapping[str, Any]) -> set[str]:
    """The keys that are sizes of inputs and no arguments of the target."""
    named = inputs.sizes(config)
    return named - _arguments(locate(config["_target_"])) if named else set()


def _arguments(target: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(target).parameters)
    except ValueError:  # it has no signature
        return set()


PREFIXES = ("_orig_mod.", "module.", "model.")
"""What torch.compile, DistributedDataParallel and Lightning put before the keys of a model they hold."""


def _without_prefix(state: Mapping[str, Any], model: torch.nn.Module) -> tuple[Mapping[str, Any], str]:
    """A checkpoint without what all its keys begin with, if it is that of a model inside another; and what that was."""
    wanted, taken = set(model.state_dict()), ""
    while state and not wanted & set(state):
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in state)), None)
        if prefix is None:
            break
        state, taken = {key.removeprefix(prefix): value for key, value in state.items()}, taken + prefix
    return state, taken if wanted & set(state) else ""


def described(cell: Cell, model: torch.nn.Module, sizes: Mapping[str, int] | None = None) -> Description | None:
    """What a cell's model is called with, as its config says, or the function that this names; with other `sizes`. None
    where it is data that says it.

    Raises BadDescription, and whatever that function raises.
    """
    if cell.data and not sizes and not inputs.are_described(cell.model.config):
        return None
    config, other = cell.model.config, dict(sizes or {})
    batch = other.pop("batch", cell.batch_size)
    config = {**config, **other}
    if inputs.is_computed(config):
        node = {**config["inputs"], **other}
        config = {**config, "inputs": locate(node["_target_"])(model, **instantiate(_without(node, HYDRA_KEYS)))}
    return inputs.describe(config, batch)


def _without(node: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in keys}


def taking_one_value(model: torch.nn.Module, config: Mapping[str, Any], called_with: Description) -> torch.nn.Module:
    """The model itself where it is called with one tensor and all its output counts; else a facade of it."""
    parts = inputs.outputs(config)
    if (
        not parts
        and not called_with.kwargs
        and isinstance(called_with.args[0], TensorSpec)
        and not called_with.args[1:]
    ):
        return model
    return facade.around(model, called_with, parts, locate)


def random_inputs(called_with: Description, device: torch.device, seed: int) -> Iterator[Data]:
    """Inputs of this form, without end."""
    specs = [leaf for leaf in inputs.leaves(called_with) if isinstance(leaf, TensorSpec)]
    generator = torch.Generator().manual_seed(seed)
    while True:
        made = tuple(filled(spec, generator).to(device) for spec in specs)
        yield made if len(made) > 1 else made[0]


def prepare(thread_count: int | None, device: torch.device | None = None) -> None:
    """Import alma's dispatcher, with the fixes that it needs, and with it ONNX Runtime; on CUDA forbid TF32.

    Call before anything is timed: with them in the process eager itself was 1.5 to 2 % faster (resnet18, torch 2.13),
    so a baseline taken before would flatter every conversion. An import is no part of a conversion's time either.
    """
    with installed.first():
        compat.before_import()
        if thread_count is not None:
            threads.pin_onnxruntime(thread_count)
        importlib.import_module("alma.conversions.select")
        compat.before_conversion()
    if device is not None and device.type == "cuda":
        forbid_tf32()  # before any code of the user's runs: what that allows is its own choice


def convert(
    model: torch.nn.Module, mode: Mode, data: Data, device: torch.device, calibration: Sequence[Data] = ()
) -> Forward:
    """alma's forward call for `mode`, or what the mode's own target returns for the model and an input.

    Static quantisation is fitted to `calibration`; a target gets it if it has an argument of the name. Many modes
    change `model` in place. Raises what the conversion raises; TypeError if it returned nothing to call.
    """
    if mode.target is None:
        from alma.conversions.select import select_forward_call_function

        compat_inputs.before_conversion(model, mode, data)
        calibrate.on(calibration, mode)
        found = select_forward_call_function(model, mode.name, compat_inputs.to_convert_with(mode, data), device)
        return compat_inputs.given(compat.callable_from(found, model), mode, data)
    target = locate(mode.target)
    more = {"calibration": list(calibration)} if calibration and "calibration" in _arguments(target) else {}
    forward: Forward = target(model, data, **more)
    if not callable(forward):
        raise TypeError(f"{mode.target} returned {type(forward).__name__}, which cannot be called")
    return forward
