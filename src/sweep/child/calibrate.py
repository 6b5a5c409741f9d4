"""Has quantisations fit the ranges of activations to the user's data, where alma fits them to one input, or to none.

alma calls what it prepared with the one input that it converts with (PT2E), or never (FX, quanto). So that is called
with every batch at the point where its ranges are about to be fixed. Each looks whether alma has that point.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch

from sweep.cell import Mode
from sweep.child import compat, data
from sweep.child.data import Data

USED = "calibrated-on-your-data"
"""The name that rows have of it."""


def on(batches: Sequence[Data], mode: Mode) -> None:
    """Have the conversion that comes next in this process calibrated with these, if it is one that has ranges."""
    if not batches or mode.target is not None:
        return
    if mode.engine == "pt2e-quantized":
        _before("export_quant", "convert_pt2e", lambda prepared: _observe(prepared, batches))
    elif mode.engine == "fx-quantized":
        for module in ("fake_quant", "quant_edge_convert"):
            _after(module, "fx_quantize", lambda prepared: _observe_and_fix(prepared, batches))
    elif mode.engine == "quanto" and mode.precision == "uncalibrated":
        _before("optimum_quanto", "freeze", lambda quantised: _observe_with_quanto(quantised, batches))


def _before(module: str, name: str, work: Callable[[Any], None]) -> None:
    """Do some work on what a function of alma's module is given, before it is."""

    def made(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(model: Any, *args: Any, **kwargs: Any) -> Any:
            work(model)
            return function(model, *args, **kwargs)

        return call

    _replace(module, name, made)


def _after(module: str, name: str, work: Callable[[Any], None]) -> None:
    """Do some work on what a function of alma's module returns."""

    def made(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            returned = function(*args, **kwargs)
            work(returned)
            return returned

        return call

    _replace(module, name, made)


def _replace(module: str, name: str, made: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    found = importlib.import_module(f"{compat.OPTIONS}.{module}")
    if callable(function := getattr(found, name, None)):
        setattr(found, name, made(function))


def _observe(prepared: Any, batches: Sequence[Data]) -> None:
    with torch.no_grad():
        for batch in batches:
            prepared(data.clone(batch))
    compat.used_now(USED)


def _observe_and_fix(prepared: torch.nn.Module, batches: Sequence[Data]) -> None:
    """Its fake quantisers go on observing at every call, which would have its answers depend on those before."""
    _observe(prepared, batches)
    for module in prepared.modules():
        if hasattr(module, "static_enabled"):  # a learnable one
            module.static_enabled[0] = 0  # type: ignore[operator]
        elif hasattr(module, "disable_observer"):
            module.disable_observer()  # type: ignore[operator]


def _observe_with_quanto(quantised: torch.nn.Module, batches: Sequence[Data]) -> None:
    from optimum.quanto import Calibration

    with Calibration():
        _observe(quantised, batches)
