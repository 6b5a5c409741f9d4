"""A model that fails below the first supervisor that ran it, as on a node whose driver or disk is broken."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch


class Linear(torch.nn.Linear):
    def __init__(self, folder: str) -> None:
        super().__init__(8, 4)
        self.sick = Path(folder) / "sick"

    def forward(self, x: torch.Tensor) -> Any:
        here = f"of {_parent(os.getppid())}"
        with suppress(FileExistsError):
            self.sick.symlink_to(here)  # one step, whoever else does the same
        if str(self.sick.readlink()) == here:
            raise RuntimeError("something is broken on this node")
        return super().forward(x)


def _parent(zygote: int) -> int:
    """The process that a zygote belongs to: Ray's worker, on each node another one."""
    return int(Path(f"/proc/{zygote}/stat").read_text().rpartition(")")[2].split()[1])
