"""A small model for the digits that scikit-learn ships, how it is trained, and its data."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset, TensorDataset

TESTED = 500
"""The last of the 1,797 images: none is trained on."""


class Digits(torch.nn.Module):
    """Convolutions and two linear layers: 8x8 images to ten classes."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, width, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(width, 2 * width, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(2 * width * 16, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(images)
        return logits


def images_and_labels(*, tested: bool) -> tuple[torch.Tensor, torch.Tensor]:
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(found.target)
    part = slice(-TESTED, None) if tested else slice(0, -TESTED)
    return images[part], labels[part]


def test_set() -> Dataset[Any]:
    return TensorDataset(*images_and_labels(tested=True))


def loader(size: int = 50) -> DataLoader[Any]:
    return DataLoader(test_set(), batch_size=size)


def named(size: int = 50) -> Iterator[dict[str, torch.Tensor]]:
    for images, labels in loader(size):
        yield {"images": images, "label": labels}


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits.argmax(1) == labels).float().mean())


def loss(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(logits, labels))


def shuffled_anew() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """In another order in each process."""
    images, labels = images_and_labels(tested=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(os.getpid()))
    yield images[order], labels[order]


def trained(file: Path, epochs: int = 12) -> None:
    """Train it and leave its weights in a file."""
    torch.manual_seed(0)
    model, (images, labels) = Digits(), images_and_labels(tested=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for chosen, right in DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True):
            optimizer.zero_grad()
            torch.autograd.backward(torch.nn.functional.cross_entropy(model(chosen), right))
            optimizer.step()
    torch.save(model.state_dict(), file)
