"""How sweep treats the options of cells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """How sweep treats an option of a cell, or an option inside one.

    `meaning` says whether it is part of the cell's id. `always`: it is. `if set`: only where it does not have its
    default, so that a new option changes no id of an earlier run folder. `never`: it is not, like all that says how it
    is measured; `recorded` is whether a row tells of it all the same. `plain` is whether it is a single value,
    for which Hydra need not compose anew, and which rules can compare. `column` is whether a row has one; if not, it
    is in the row's `overrides`. `by_rule` is whether rules can set it. `group` is the config group that it is part of.
    """

    meaning: Literal["always", "if set", "never"] = "if set"
    recorded: bool = False
    plain: bool = False
    column: bool = False
    by_rule: bool = False
    group: str | None = None


def option(**treatment: Any) -> Mapping[str, Option]:
    """The metadata of a field that is an option."""
    return {"option": Option(**treatment)}
