"""What the user got wrong: one class per cause, each with its exit code and what to do about it."""

from enum import IntEnum


class ExitCode(IntEnum):
    COMPLETE = 0  # every planned cell has a row
    FAILED_ON = 1  # a status named in fail_on occurred
    BAD_REQUEST = 2  # nothing ran
    INTERRUPTED = 3  # rows written, resumable
    BUG = 4  # in sweep itself


class SweepError(Exception):
    """The root of what sweep tells its user; `str()` of it is what the user reads."""

    exit_code = ExitCode.BAD_REQUEST


class BadRequest(SweepError):
    """The command line or the configuration does not say what to run. Holds every problem found."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class BadEnvironment(SweepError):
    """What sweep needs around it is missing or broken: alma cannot be read, Ray cannot be reached."""


class RunFolderTaken(SweepError):
    """The run folder holds a sweep already, or cannot be written."""


class Incomplete(SweepError):
    """A planned cell has no row, or more than one. Never the user's doing."""

    exit_code = ExitCode.BUG
