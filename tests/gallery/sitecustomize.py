"""Python runs this before cells are forked: with LC_SWEEP_LIES alma's dispatcher tells what lie the model asks for."""

import importlib.abc
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Liar(importlib.abc.MetaPathFinder):
    """Loads `alma.conversions.select` as it is, and puts a lie in front of its one function."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "alma.conversions.select":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            from lies import LIES, TOLD

            honest = module.select_forward_call_function

            def select(model: Any, conversion: str, data: Any, device: Any) -> Any:
                return LIES[TOLD[-1]](model, lambda: honest(model, conversion, data, device), data)

            module.select_forward_call_function = select  # type: ignore[attr-defined]

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if os.environ.get("LC_SWEEP_LIES"):
    sys.meta_path.insert(0, Liar())
