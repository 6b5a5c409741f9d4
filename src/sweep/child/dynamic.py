"""Has conversions take inputs of other sizes, where what they convert with can be told which sizes vary.

torch.export, the ONNX exporter and torch.compile take one shape for granted unless they are told otherwise, and alma
tells them nothing. Which dimensions vary follows from how a model's inputs are described: those that follow the batch
or a named size. A size of 1 is taken for a constant even so, so programs are exported with an input that has none.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from sweep.child import compat
from sweep.child.data import Data

USED = "dynamic-shapes"
"""The name that rows have of it."""


def on(model: torch.nn.Module, example: Data, varying: Sequence[frozenset[int]]) -> None:
    """Have what converts this model from now on told that these dimensions of its tensors vary.

    `example` is an input like any, without sizes of 1 among those. Call before `compat_inputs.before_conversion`.
    """
    if not any(varying):
        return
    specs = [dict.fromkeys(sorted(dims), torch.export.Dim.AUTO) for dims in varying]
    shapes = (tuple(specs) if isinstance(example, tuple) else specs[0],)
    _export(model, example, shapes)
    _export_to_onnx(model, example, shapes)
    _lower(example)
    _compile()


def _export(model: torch.nn.Module, example: Data, shapes: tuple[Any, ...]) -> None:
    def made(export: Callable[..., Any]) -> Callable[..., Any]:
        def call(exported: Any, args: Any, *rest: Any, **kwargs: Any) -> Any:
            if exported is not model or kwargs.get("dynamic_shapes") is not None:  # the ONNX exporter gives them itself
                return export(exported, args, *rest, **kwargs)
            compat.used_now(USED)
            return export(exported, (example,), *rest, dynamic_shapes=shapes, **kwargs)

        return call

    for name in ("export", "export_for_training"):
        if callable(function := getattr(torch.export, name, None)):
            setattr(torch.export, name, made(function))


def _export_to_onnx(model: torch.nn.Module, example: Data, shapes: tuple[Any, ...]) -> None:
    export: Callable[..., Any] = torch.onnx.export

    def call(exported: Any, args: Any = (), *rest: Any, **kwargs: Any) -> Any:
        if exported is not model:
            return export(exported, args, *rest, **kwargs)
        compat.used_now(USED)
        return export(exported, (example,), *rest, dynamic_shapes=shapes, **kwargs)

    setattr(torch.onnx, "export", call)  # noqa: B010 - its type is another


def _lower(example: Data) -> None:
    """AOTInductor goes by the sizes of what it is given with a program, too."""
    if callable(function := getattr(torch._inductor, "aot_compile", None)):

        def call(program: Any, _args: Any, *rest: Any, **kwargs: Any) -> Any:
            compat.used_now(USED)
            return function(program, (example,), *rest, **kwargs)

        setattr(torch._inductor, "aot_compile", call)  # noqa: B010


def _compile() -> None:
    compile_: Callable[..., Any] = torch.compile

    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("backend") == "openvino":  # which hands a graph of sizes that vary over to Inductor
            return compile_(*args, **kwargs)
        compat.used_now(USED)
        return compile_(*args, **{**kwargs, "dynamic": True})

    torch.compile = call
