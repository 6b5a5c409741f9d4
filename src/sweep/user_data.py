"""The user's own data: what yields it, and how conversions are judged by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ASKED = ("arguments", "rebatch", "calibration", "targets")
"""What of data changes the question that a cell asks."""

JUDGED_BY = ("data.samples", "data.metric", "data.allowed_drop", "data.higher_is_better")
"""Options by which an answer is judged: they, and what is in them, change no question."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UserData:
    """The user's own data by name. `arguments` is what its target is called with, `_target_` among them.

    `samples` are read at most, in batches of the cell's size (`rebatch`) or as they come. Static quantisation is fitted
    to the first `calibration` batches. `targets` is the key of what is right in the mappings that it yields. `metric`
    is a dotted path or a node, see `child.metric`, of which a conversion may lose `allowed_drop`.
    """

    name: str
    arguments: Mapping[str, Any]
    samples: int = 512
    rebatch: bool = True
    calibration: int = 8
    targets: str | None = None
    metric: str | Mapping[str, Any] | None = None
    allowed_drop: float | None = None
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        problems = [] if _is_target(self.arguments) else ["data needs a _target_ such as mypackage.batches"]
        problems += ["data.samples must be at least 1"] if self.samples < 1 else []
        problems += ["data.calibration must be at least 0"] if self.calibration < 0 else []
        if self.metric is not None and not (isinstance(self.metric, str) and "." in self.metric):
            node = self.metric if isinstance(self.metric, Mapping) else {}
            problems += (
                [] if _is_target(node) else ["data.metric must be a path such as mypackage.accuracy, or a _target_"]
            )
        if self.allowed_drop is not None:
            problems += ["data.allowed_drop needs data.metric"] if self.metric is None else []
            problems += [] if self.allowed_drop >= 0 else ["data.allowed_drop must be at least 0"]
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def metric_name(self) -> str:
        """The last part of the metric's path."""
        path = self.metric if isinstance(self.metric, str) else (self.metric or {}).get("_target_", "")
        return str(path).rpartition(".")[2]

    @property
    def asked(self) -> dict[str, Any]:
        """What of it changes what a cell means: what inputs it gives, and what is fitted to them."""
        return {name: getattr(self, name) for name in ASKED}


def _is_target(node: Mapping[str, Any]) -> bool:
    target = node.get("_target_")
    return isinstance(target, str) and "." in target
