"""Refuses command lines that Hydra would take for something else than was meant, or that sweep cannot follow."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from sweep.errors import BadRequest
from sweep.request import read
from sweep.request.resume import Argument

_FOLDER = "a sweep has one folder: name it with hydra.sweep.dir=FOLDER"
RENAMED = {"measure.max_seconds": "measure.seconds", "measure.processes": "measure.trials"}
"""Options that had another name in an earlier version, which command lines may still use."""

_CARRIER = "sweep carries cells itself: use dispatch=ray or dispatch=serial"
_GRID = "sweep needs every cell before the first one runs: give lists of values, a,b,c"
_OF_HYDRA = {
    "hydra/launcher": _CARRIER,
    "hydra.launcher": _CARRIER,
    "hydra/sweeper": _GRID,
    "hydra.sweeper": _GRID,
    "hydra.sweep.subdir": _FOLDER,
    "hydra.run.dir": _FOLDER,
    "hydra.job.chdir": "a cell runs in a folder of its own anyway",
    "hydra.job.env_set": "cells would not see it: set it in front of the command, and name it in isolate.env=[NAME]",
}
"""What of Hydra's own cannot be set, and why; names below one of these as well."""

_FOLDERS = {"hydra.sweep.dir", "resume", "dispatch.working_dir", "--config-dir", "-cd"}
"""Options and flags that name a folder."""


class Override(Argument, Protocol):
    """An override, as Hydra parsed it."""

    def value(self) -> Any:
        """What it sets."""

    def is_interval_sweep(self) -> bool:
        """Whether it asks for all numbers between two."""


def as_text(arguments: Sequence[str]) -> list[str]:
    """The arguments with a ? for what is no UTF-8 in them, as in a misspelt name, which then gets its row.

    Raises BadRequest where that is in the name of a folder, which would be another one then, and where this folder has
    such a name or is gone: Hydra's files are UTF-8.
    """
    problems = []
    try:
        here = str(Path.cwd())
    except FileNotFoundError:
        raise BadRequest("this folder was removed meanwhile: start sweep in another one") from None
    if _readable(here) != here:
        problems.append(f"the name of this folder is no UTF-8: {_readable(here)}; start sweep in another one")
    for number, argument in enumerate(arguments):
        flag = arguments[number - 1] if number and "=" not in argument else argument.partition("=")[0]
        if _readable(argument) != argument and flag in _FOLDERS:
            problems.append(f"the name of this folder is no UTF-8: {_readable(argument)}; give it another name")
    if problems:
        raise BadRequest(*problems)
    return list(map(_readable, arguments))


def by_its_name_now(argument: str) -> str:
    """An argument with the name that its option has now."""
    name, equals, value = argument.partition("=")
    return f"{RENAMED.get(name, name)}{equals}{value}"


def _readable(text: str) -> str:
    return text.encode(errors="replace").decode()


def refuse_misleading(overrides: Sequence[Override], config_dir: str | None, shipped: Path) -> None:
    """Raise BadRequest for such overrides, and for configs in `config_dir` that `shipped`, sweep's own, would hide."""
    problems = [*_hidden(config_dir, shipped), *_repeated(overrides)]
    for override in overrides:
        problems += _problems(override)
    if problems:
        raise BadRequest(*problems)


def _hidden(config_dir: str | None, shipped: Path) -> Iterator[str]:
    for path in sorted(_hidden_configs(Path(config_dir), shipped)) if config_dir else ():
        yield (
            f"{path}: sweep has a {path.parent.name} {path.stem!r} of its own, which would be taken in "
            "its place: give yours another name"
        )


def _repeated(overrides: Sequence[Override]) -> Iterator[str]:
    names = [override.key_or_group for override in overrides if not override.key_or_group.startswith("hydra")]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name} is given more than once: use {name}=a,b to run each"


def _problems(override: Override) -> Iterator[str]:
    name, line = override.key_or_group, str(override.input_line)
    for of_hydra, why in _OF_HYDRA.items():
        if name == of_hydra or name.startswith((f"{of_hydra}.", f"{of_hydra}/")):
            yield f"{line}: {why}"
    if name in read.GROUPS and _leads_out_of_its_group(override):
        yield f"{line}: a name must not lead out of its group"
    elif name in read.GROUPS and isinstance(override.value(), list):
        names = ",".join(str(value) for value in override.value())
        plus = "+" if line.startswith("+") else ""
        yield f"{line} would merge these into one: give {plus}{name}={names} to run each"
    if override.is_interval_sweep():
        yield f"{line} is no list of values: use range(1,5) or 1,2,3,4"
    if "glob(" in line and name not in read.GROUPS:
        yield f"{line}: glob() chooses among configs of a group, and {name} is none: give a list of values, a,b,c"


def _hidden_configs(folder: Path, shipped: Path) -> Iterator[Path]:
    """The user's configs that Hydra would not find, because it looks at the shipped ones first."""
    for path in folder.glob("*/*.yaml"):
        if path.parent.name in read.GROUPS and (shipped / path.relative_to(folder)).exists():
            yield path


def _leads_out_of_its_group(override: Override) -> bool:
    """Whether a value is a path to a config in another folder than the group's."""
    return any(
        part.strip(" '\"").startswith(("/", "..")) for part in str(override.input_line).partition("=")[2].split(",")
    )
