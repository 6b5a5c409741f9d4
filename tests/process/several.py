"""Models that take more than one tensor, as users have them, and their configs."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

HERE = "several"


class Masked(torch.nn.Module):
    """Token ids and a mask, by name; gives a mapping."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(50, width)
        self.head = torch.nn.Linear(width, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, scale: float = 1.0) -> dict[str, torch.Tensor]:
        kept = self.embedding(ids) * mask[..., None].to(self.head.weight.dtype)
        return {"hidden": kept, "logits": self.head(kept.sum(1)) * scale}


IDS = {"shape": ["batch", "seq"], "dtype": "int64", "high": 50}
MASKED: dict[str, Any] = {
    "_target_": f"{HERE}.Masked",
    "seq": 6,
    "inputs": {"ids": IDS, "mask": {"like": "ids", "dtype": "int64", "fill": "mask"}, "scale": 2.0},
}
LSTM: dict[str, Any] = {
    "_target_": "torch.nn.LSTM",
    "input_size": 4,
    "hidden_size": 5,
    "inputs": [{"shape": [7, "batch", 4]}, {"tuple": [{"shape": [1, "batch", 5]}, {"shape": [1, "batch", 5]}]}],
}


@dataclass
class Pair:
    first: torch.Tensor
    second: torch.Tensor


class Graph(torch.nn.Module):
    """A layer over the edges of a graph."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.own, self.theirs = torch.nn.Linear(features, 4), torch.nn.Linear(features, 4)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        heard = torch.zeros(x.shape[0], 4, dtype=x.dtype).index_add(0, edges[1], self.theirs(x)[edges[0]])
        return torch.relu(self.own(x) + heard)


GRAPH: dict[str, Any] = {
    "_target_": f"{HERE}.Graph",
    "features": 6,
    "nodes": 9,
    "edges": 20,
    "inputs": [
        {"shape": ["nodes", "features"]},
        {"shape": [2, "edges"], "dtype": "int64", "high": "nodes"},
    ],
}


class Images(torch.nn.Module):
    """A list of images; gives a list of mappings, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 2, 3)

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return [{"scores": self.layer(image[None]).mean((2, 3))[0]} for image in images]


IMAGES: dict[str, Any] = {
    "_target_": f"{HERE}.Images",
    "inputs": [{"times": "batch", "of": {"shape": [3, 8, 8], "fill": "uniform"}}],
}


class Cache:
    def __init__(self, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.layers = layers


class Caching(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, cache: Cache) -> Pair:
        key, value = cache.layers[0]
        return Pair(first=self.layer(x) @ key.transpose(-1, -2) @ value, second=key + 1)


CACHING: dict[str, Any] = {
    "_target_": f"{HERE}.Caching",
    "past": 3,
    "inputs": {
        "x": {"shape": ["batch", 2, 4]},
        "cache": {
            "_target_": f"{HERE}.Cache",
            "layers": [{"tuple": [{"shape": ["batch", "past", 4]}, {"shape": ["batch", "past", 4]}]}],
        },
    },
    "output": "first",
}
CONFIGS = {"masked": MASKED, "lstm": LSTM, "graph": GRAPH, "images": IMAGES, "caching": CACHING}


class Keeping(torch.nn.Module):
    def forward(self, **given: Any) -> torch.Tensor:
        self.kept = given
        x: torch.Tensor = given["x"]
        return x


def inputs_of(model: Masked, seq: int) -> dict[str, Any]:
    ids = {"shape": ["batch", seq], "dtype": "int64", "high": model.embedding.num_embeddings}
    return {"ids": ids, "mask": {"like": "ids", "dtype": "int64", "fill": "ones"}}


class Fixed(torch.nn.Module):
    """Right at the length that it was traced with, and wrong at another."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = int(x.shape[1])  # a number, which a trace keeps
        return x.cumsum(1) / length


class Dies(torch.nn.Module):
    """Kills its process at a length of five, unless it is the control's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] == 5 and Path("/proc/self/comm").read_text().strip() != "sweep-control":
            os.kill(os.getpid(), signal.SIGSEGV)
        if x.shape[1] == 6:
            raise ValueError("six is too many")
        return x.cumsum(1)


class Half(torch.nn.Module):
    """A model whose weights are of half precision, as language models come; takes token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Embedding(50, 64), torch.nn.Linear(64, 64), torch.nn.GELU())
        self.layers.to(torch.bfloat16)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.layers(ids)
        return hidden


class Branches(torch.nn.Module):
    """Goes one of two ways, by what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chosen: torch.Tensor = self.layer(x) if x.sum() > 0 else self.layer(-x)
        return chosen
