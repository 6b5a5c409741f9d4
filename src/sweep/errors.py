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
    """The run folder holds a sweep already, another sweep writes to it, or it cannot be written."""


class RunFolderBroken(SweepError):
    """What is in the run folder is not what sweep wrote there."""


class RunFolderFull(SweepError):
    """A row could not be written; those before it are, and the sweep can be resumed."""

    exit_code = ExitCode.INTERRUPTED


class Incomplete(SweepError):
    """A planned cell has no row, or more than one. Never the user's doing."""

    exit_code = ExitCode.BUG
