"""What alma's conversions need to take another input than one tensor of floats: small named fixes, as in `compat`.

alma passes its one tensor on as it is. A facade's tuple of tensors is spread over arguments by some functions of torch,
and some of alma's own forward calls do to it what can only be done to a tensor of floats.
"""

from collections.abc import Callable
from typing import Any

import torch

from sweep.cell import Mode
from sweep.child import compat, onnx_session
from sweep.child.data import Data, cast, tensors
from sweep.child.facade import Facade


def before_conversion(model: torch.nn.Module, mode: Mode, data: Data) -> None:
    """Fix what would not convert this model, where it is a facade; nothing else is touched."""
    if not isinstance(model, Facade):
        return
    if model.several:
        _trace_with_one_argument(model)
        _export_to_onnx_with_one_argument(model)
        if mode.engine == "onnxruntime" and isinstance(data, tuple):
            onnx_session.replace_class(lambda _: None, feed=_spread)
    _script_in_one_form(model)


def _trace_with_one_argument(facade: Facade) -> None:
    """torch.jit.trace takes a tuple for as many arguments."""
    trace: Callable[..., Any] = torch.jit.trace

    def with_one(func: Any, example_inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        if func is facade and _are_tensors(example_inputs):
            compat.used_now("jit-trace-given-one-argument")
            example_inputs = (example_inputs,)
        return trace(func, example_inputs, *args, **kwargs)

    torch.jit.trace = with_one


def _export_to_onnx_with_one_argument(facade: Facade) -> None:
    """torch.onnx.export does the same; and its names of inputs and weights are for one input."""
    export: Callable[..., Any] = torch.onnx.export

    def with_one(model: Any, args: Any = (), *rest: Any, **kwargs: Any) -> Any:
        if model is facade and _are_tensors(args):
            compat.used_now("onnx-export-given-one-argument")
            args = (args,)
            kwargs.pop("input_names", None)
        return export(model, args, *rest, **kwargs)

    torch.onnx.export = with_one


def _are_tensors(args: Any) -> bool:
    return isinstance(args, tuple) and all(isinstance(one, torch.Tensor) for one in args)


def _script_in_one_form(facade: Facade) -> None:
    """TorchScript cannot look whether an output has a part as a key or as an attribute: each is tried."""
    script: Callable[..., Any] = torch.jit.script

    def in_one_form(obj: Any, *args: Any, **kwargs: Any) -> Any:
        if obj is not facade or not facade.takes_parts:
            return script(obj, *args, **kwargs)
        compat.used_now("output-part-scripted")
        by_key, by_attribute = facade.scriptable()
        try:
            return script(by_key, *args, **kwargs)
        except Exception:
            return script(by_attribute, *args, **kwargs)

    torch.jit.script = in_one_form


class _WithDevice(tuple[torch.Tensor, ...]):
    """An input of several tensors of which alma asks the device."""

    @property
    def device(self) -> torch.device:
        return self[0].device


def to_convert_with(mode: Mode, data: Data) -> Data:
    """The input to give alma for this mode."""
    return _WithDevice(data) if mode.engine == "fx-quantized" and isinstance(data, tuple) else data


def given(call: Callable[[Any], Any], mode: Mode, data: Data) -> Callable[[Any], Any]:
    """alma's forward call, so that it can take an input like this."""
    if mode.engine == "eager" and mode.precision in {"fp16", "bf16"} and not _is_of_floats(data):
        compat.used_now("half-input-cast-by-sweep")
    elif mode.engine == "onnxruntime" and isinstance(data, tuple):
        compat.used_now("onnx-inputs-spread")
    else:
        return call
    return lambda x: call(_Unlike(x))


def _is_of_floats(data: Data) -> bool:
    return isinstance(data, torch.Tensor) and data.is_floating_point()


class _Unlike:
    """An input to which alma does what it does to a tensor of floats: casts it, or has its array."""

    def __init__(self, data: Data) -> None:
        self._data = data

    def half(self) -> Data:
        return cast(self._data, torch.float16)

    def bfloat16(self) -> Data:
        return cast(self._data, torch.bfloat16)

    def to(self, dtype: torch.dtype) -> Data:
        return cast(self._data, dtype)

    def cpu(self) -> "_Unlike":
        return self

    def numpy(self) -> "_Arrays":
        return _Arrays(tensor.cpu().numpy() for tensor in tensors(self._data))


class _Arrays(list[Any]):
    """Arrays for all inputs of a session, which alma gives it as one."""


def _spread(session: Any, feed: Any) -> Any:
    """What a session is to be run with. Raises ValueError where its graph takes another number of inputs."""
    arrays = next((value for value in feed.values() if isinstance(value, _Arrays)), None)
    if arrays is None:
        return feed
    names = [one.name for one in session.get_inputs()]
    if len(names) != len(arrays):
        raise ValueError(f"the ONNX graph takes {len(names)} inputs ({', '.join(names)}), the model {len(arrays)}")
    return dict(zip(names, arrays, strict=True))
