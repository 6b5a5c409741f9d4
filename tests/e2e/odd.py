"""Small models that are odd in one way each, as people have them. The class is the model."""

from collections import UserDict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


class FrozenNorm(nn.Module):
    """Keeps its normalisation in evaluation mode, by a `train` that returns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(32), nn.Linear(32, 8)

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)
        self.norm.eval()

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.norm(x))


class Profiled(nn.Module):
    """Marks its parts for the profiler, one of them scripted, by names that engines use too."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.jit.script(nn.Linear(32, 32))
        self.head = nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> Any:
        with torch.profiler.record_function("forward"):
            return self.head(self.body(x))


class ScoresAndBoxes(nn.Module):
    """Coordinates of thousands of pixels in one tensor with scores, and a branch that a trace does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(x.reshape(-1, 2, 16).repeat(1, 8, 2))
        scores = y[..., 4:] if bool(x.sum() > 0) else y[..., 4:].flip(-1)
        return torch.cat([y[..., :4] * 1e5, scores], -1)


class Labels(nn.Module):
    """Returns the class and not its scores."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x).argmax(-1)  # type: ignore[no-any-return]


class Filtered(nn.Module):
    """Leaves only its three highest scores finite."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 50)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.head(x)
        least = scores.topk(3).values[..., -1:]
        return torch.where(scores < least, torch.tensor(float("-inf")), scores)


class FindsNothing(nn.Module):
    """Returns those of its scores that are above a threshold that none is above."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 50)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.head(x).sigmoid()
        return scores[scores > 2], (scores > 2).nonzero()


class Remembers(nn.Module):
    """Keeps the features of the inputs it has seen, by their values."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(32, 512), *(nn.Linear(512, 512) for _ in range(6)))
        self.head = nn.Linear(512, 8)
        self.seen: dict[float, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> Any:
        key = float(x.sum())
        if key not in self.seen:
            self.seen[key] = self.body(x)
        return self.head(self.seen[key])


class SetsThreads(nn.Module):
    """Sets torch's threads whenever it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> Any:
        torch.set_num_threads(2)
        return self.head(x)


class Clamps(nn.Module):
    """Clamps its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(x.mul_(3).clamp_(-1, 1))


class Saturates(nn.Module):
    """Gives +1 and -1, but for the last digits."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.head(x) * 1e-3 + torch.linspace(-9, 9, 8))


class GoesOn(nn.Module):
    """Takes longer for some inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.exit = nn.Linear(32, 512), nn.Linear(512, 8)
        self.deep = nn.Sequential(*(nn.Sequential(nn.Linear(512, 512), nn.ReLU()) for _ in range(12)))

    def forward(self, x: torch.Tensor) -> Any:
        h = self.gate(x)
        return self.exit(self.deep(h) if bool(x[0, 0] > 0) else h)


class Noisy(nn.Module):
    """Adds noise, as samplers do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(x + torch.randn_like(x))


class Counts(nn.Module):
    """Counts its calls, and adds the number."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 8)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> Any:
        self.calls += 1
        return self.head(x) + self.calls


class Cache:
    """An object that holds what it needs for the next token."""

    def __init__(self, keys: torch.Tensor) -> None:
        self.layers = [keys, keys * 2]
        self.limit = None


@dataclass
class Answer:
    """As causal language models return."""

    logits: torch.Tensor
    past: Cache
    extra: UserDict[str, torch.Tensor] = field(default_factory=UserDict)


class Typed(nn.Module):
    """Returns a dataclass that holds an object that holds tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> Answer:
        h = self.head(x)
        return Answer(h, Cache(h.relu()), UserDict(hidden=h))


class Spectrum(nn.Module):
    """Returns a lazy conjugate, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> Any:
        return torch.fft.rfft(self.head(x)).conj(), "complex"


class Double(nn.Module):
    """Is of float64."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 8).double()

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(x)


class Amplifies(nn.Module):
    """Divides by a sum that would be zero if there were no rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> Any:
        shares = torch.softmax(self.head(x), -1)
        return self.head(x) / (shares.sum(-1, keepdim=True) - 1 + 1e-9)


class Hooked(nn.Module):
    """Scales its output in a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 8)
        self.register_forward_hook(lambda module, given, output: output * 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(x)
