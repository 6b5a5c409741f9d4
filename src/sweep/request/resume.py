"""Which sweep is resumed, and with which arguments."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from sweep.errors import BadRequest
from sweep.record import RunFolder
from sweep.result import SCHEMA


class Argument(Protocol):
    """One `key=value` of a command line, as Hydra reads it."""

    key_or_group: str
    input_line: str | None

    def value(self) -> Any:
        """The value that the option is set to."""


OverridesOf = Callable[[Sequence[str]], Sequence[Argument]]


def resumed_arguments(arguments: list[str], overrides_of: OverridesOf) -> list[str]:
    """The arguments as they are, or for resume=FOLDER those that go on with the sweep in that folder.

    They name the folder as the run folder, and begin with the arguments of that sweep where no model is named now.
    `overrides_of` finds the overrides among arguments. Raises BadRequest, RunFolderBroken.
    """
    given = {override.key_or_group: override for override in overrides_of(arguments)}
    resume = given.get("resume")
    if resume is None or resume.value() is None:
        return arguments
    if "hydra.sweep.dir" in given:
        raise BadRequest("resume names the run folder, so hydra.sweep.dir cannot name another")
    written = str(resume.input_line).partition("=")[2]
    folder = _last_run_folder() if written == "last" else Path(str(resume.value()))
    about = RunFolder(folder).about()
    if about["schema"] < SCHEMA:
        raise BadRequest(
            f"{folder} was written by an earlier version of sweep, which measured otherwise and gave cells other ids: "
            "its rows can be read, and compared with those of a new sweep, but not gone on with"
        )
    stored: list[str] = []
    if "model" not in given:
        replaced = {*given, "resume", "resume_anyway", "retry", "hydra.sweep.dir"}
        before = [str(argument) for argument in about.get("command", [])]
        stale = [override.input_line for override in overrides_of(before) if override.key_or_group in replaced]
        stored = [argument for argument in before if argument not in stale]
    return [*stored, *arguments, f"hydra.sweep.dir={folder if written == 'last' else written}"]


def _last_run_folder() -> Path:
    sweeps = sorted(Path("multirun").glob("*/*/sweep.json"), key=lambda path: path.stat().st_mtime)
    if not sweeps:
        raise BadRequest("resume=last: there is no sweep under multirun/ here; name its folder with resume=FOLDER")
    return sweeps[-1].parent
