"""A config as Python: what its dotted paths name, and the calls it describes."""

import importlib
from functools import partial
from typing import Any

HYDRA_KEYS = {"_target_", "_args_", "_partial_", "_convert_", "_recursive_"}
"""Keys of a node that say how it is made, and are no arguments."""


def instantiate(node: Any) -> Any:
    """A config node as Python: every mapping with a `_target_` becomes the call it describes, as in Hydra."""
    if isinstance(node, list):
        return [instantiate(item) for item in node]
    if not isinstance(node, dict):
        return node
    values = {key: instantiate(value) for key, value in node.items() if key not in HYDRA_KEYS}
    if "_target_" not in node:
        return values
    target, positional = locate(node["_target_"]), instantiate(node.get("_args_") or [])
    return partial(target, *positional, **values) if node.get("_partial_") else target(*positional, **values)


def locate(path: str) -> Any:
    """The object at a dotted path; ImportError names the part that is missing."""
    parts = path.split(".")
    for split in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:split])
        try:
            value = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not (module_name + ".").startswith(error.name + "."):
                raise
            continue
        for part in parts[split:]:
            if not hasattr(value, part):
                raise ImportError(f"target {path!r}: {value.__name__} has no {part!r}")
            value = getattr(value, part)
        return value
    raise ImportError(f"target {path!r}: there is no module {parts[0]!r}")
