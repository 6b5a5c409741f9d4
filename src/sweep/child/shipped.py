"""Models that are shipped with sweep and need more than a call of their library."""

from typing import Any

import torch


def vit_b_16(**arguments: Any) -> torch.nn.Module:
    """torchvision's, with a head that is not zero: as torchvision begins it, every answer is 0."""
    import torchvision

    model: torch.nn.Module = torchvision.models.vit_b_16(**arguments)
    if arguments.get("weights") is None:
        torch.nn.init.normal_(model.heads.head.weight, std=0.02)  # type: ignore[union-attr, arg-type]
    return model
