"""Which sweep is resumed, and with which arguments."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from sweep.errors import BadRequest, RunFolderBroken
from sweep.record import RunFolder
from sweep.request import hydra_grammar
from sweep.result import SCHEMA

_OF_RESUMING = {"resume", "resume_anyway", "retry"}
"""Options that say how a sweep goes on, and nothing of what it asks."""


class Argument(Protocol):
    """One `key=value` of a command line, as Hydra reads it."""

    key_or_group: str
    input_line: str | None

    def value(self) -> Any:
        """The value that the option is set to."""


OverridesOf = Callable[[Sequence[str]], Sequence[Argument]]


def resumed_arguments(arguments: list[str], overrides_of: OverridesOf) -> list[str]:
    """The arguments as they are, or those that go on with the sweep that they name by resume=FOLDER, last or auto.

    These name its folder as the run folder, and begin with the arguments of that sweep where no model is named now.
    Where resume=auto finds none, they are those of a new one. `overrides_of` finds the overrides among arguments.
    Raises BadRequest, RunFolderBroken.
    """
    given = {override.key_or_group: override for override in overrides_of(arguments)}
    resume = given.get("resume")
    if resume is None or resume.value() is None:
        return arguments
    written = str(resume.input_line).partition("=")[2]
    if written == "auto":
        return _auto(arguments, given, overrides_of)
    if "hydra.sweep.dir" in given:
        raise BadRequest(
            "resume names the run folder, so hydra.sweep.dir cannot name another; resume=auto goes on in that one"
        )
    folder = _last_run_folder() if written == "last" else Path(str(resume.value()))
    folder_as_written = str(folder) if written == "last" else written
    return [*_gone_on_with(folder, arguments, given, overrides_of), f"hydra.sweep.dir={folder_as_written}"]


def _auto(arguments: list[str], given: Mapping[str, Argument], overrides_of: OverridesOf) -> list[str]:
    """Those that go on with the sweep in the folder that is given, or that asked the same here; else those without
    resume=auto, and what says how to go on.
    """
    named = given.get("hydra.sweep.dir")
    if named is not None:
        folder: Path | None = Path(str(named.value()))
        if "${" in str(folder):
            raise BadRequest(
                f"resume=auto cannot tell which folder {named.input_line} is: name one that is the same each time, "
                "without ${…}"
            )
    else:
        folder = _run_folder_of(_asked(arguments, overrides_of), overrides_of)
    if folder is None or RunFolder(folder).is_unused:
        return _without(arguments, _OF_RESUMING, overrides_of)
    again = _gone_on_with(folder, arguments, given, overrides_of)
    return again if named is not None else [*again, f"hydra.sweep.dir={hydra_grammar.literal(folder)}"]


def _gone_on_with(
    folder: Path, arguments: list[str], given: Mapping[str, Argument], overrides_of: OverridesOf
) -> list[str]:
    """The arguments, after those of the sweep in the folder where no model is named now."""
    about = RunFolder(folder).about()
    if about["schema"] < SCHEMA:
        raise BadRequest(
            f"{folder} was written by an earlier version of sweep, which measured otherwise and gave cells other ids: "
            "its rows can be read, and compared with those of a new sweep, but not gone on with"
        )
    if "model" in given:
        return arguments
    return [*_without(_command(about), {*given, *_OF_RESUMING, "hydra.sweep.dir"}, overrides_of), *arguments]


def _command(about: Mapping[str, Any]) -> list[str]:
    return [str(argument) for argument in about.get("command", [])]


def _without(arguments: Sequence[str], names: Collection[str], overrides_of: OverridesOf) -> list[str]:
    """The arguments without the overrides of these options."""
    stale = [override.input_line for override in overrides_of(arguments) if override.key_or_group in names]
    return [argument for argument in arguments if argument not in stale]


def _asked(arguments: Sequence[str], overrides_of: OverridesOf) -> list[str]:
    """What is asked, in whatever order: the arguments but for those that say where it runs, and how it goes on."""
    named = {override.key_or_group for override in overrides_of(arguments)}
    carrying = {name for name in named if name.partition(".")[0] in {"dispatch", "hydra"}}
    asked = _without(arguments, _OF_RESUMING | carrying, overrides_of)
    return sorted(argument for argument in asked if argument not in {"-m", "--multirun"})


def _run_folder_of(asked: list[str], overrides_of: OverridesOf) -> Path | None:
    """The folder of the newest sweep under multirun/ here that asked this, if there is one."""
    for folder in reversed(_run_folders()):
        try:
            before = _command(RunFolder(folder).about())
        except RunFolderBroken:
            continue
        if _asked(before, overrides_of) == asked:
            return folder
    return None


def _last_run_folder() -> Path:
    folders = _run_folders()
    if not folders:
        raise BadRequest("resume=last: there is no sweep under multirun/ here; name its folder with resume=FOLDER")
    return folders[-1]


def _run_folders() -> list[Path]:
    """Those under multirun/ here with a sweep in them, the newest last."""
    sweeps = sorted(Path("multirun").glob("*/*/sweep.json"), key=lambda path: path.stat().st_mtime)
    return [sweep.parent for sweep in sweeps]
