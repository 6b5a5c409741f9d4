"""How much memory a model's weights take, found before they are made; and how they are read from a file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from sweep import machine

KNOWN = ("sweep.child.libraries.", "torchvision.", "timm.", "transformers.", "diffusers.")
"""What makes models that can be made without memory (on torch's meta device), and does nothing else besides."""


class TooLarge(MemoryError):
    """A model whose weights alone are more than a process of its cell may hold."""


def refuse_too_large(config: Mapping[str, Any], make: Callable[[], Any], most_mb: float | None) -> None:
    """Raise TooLarge, with the sum, for a model that cannot fit. `make` makes it, `most_mb` is `limits.memory`.

    Only a model of a library is made without memory first; any other is let through, and ended at the limit while it is
    made.
    """
    most = most_mb * 1e6 if most_mb else 0.9 * machine.memory()
    is_known = str(config["_target_"]).startswith(KNOWN) and not config.get("weights") and not config.get("pretrained")
    found = _made_without_memory(make) if is_known else None
    if found is None or found[1] <= most:
        return
    count, size = found
    limit = "limits.memory" if most_mb else f"90 % of the {machine.memory() / 1e9:.1f} GB here"
    raise TooLarge(
        f"{count / 1e9:.2f} billion weights take {size / 1e9:.1f} GB, twice that with its control, and a process of "
        f"this cell may hold {most / 1e9:.1f} GB ({limit}): give it narrower weights, or a node with more memory"
    )


def _made_without_memory(make: Callable[[], Any]) -> tuple[int, int] | None:
    """How many weights and buffers a model has, and their bytes; None where it cannot be made so."""
    try:
        with torch.device("meta"):
            model = make()
        tensors = [*model.parameters(), *model.buffers()]
    except Exception:  # it will say itself what is wrong, where it is made in earnest
        return None
    return sum(t.numel() for t in tensors), sum(t.numel() * t.element_size() for t in tensors)


def state_dict(path: Path) -> Mapping[str, Any]:
    """The weights in a checkpoint, mapped into memory and not read into it where its format allows that."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        loaded: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # a file of torch before 1.6 cannot be mapped
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    nested = loaded.get("state_dict")
    return nested if isinstance(nested, Mapping) else loaded
