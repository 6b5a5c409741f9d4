"""The errors that end a command: one class per cause, each with its exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    COMPLETE = 0  # every planned cell has a row
    FAILED_ON = 1  # a status named in fail_on occurred
    BAD_REQUEST = 2  # nothing ran
    INTERRUPTED = 3  # rows written, resumable
    BUG = 4  # in sweep itself


class SweepError(Exception):
    """The base class of all of them; `str()` of one is the message that the user reads, with what to do about it."""

    exit_code = ExitCode.BAD_REQUEST


class BadRequest(SweepError):
    """The command line or the configuration does not say what to run. Holds every problem found."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class BadEnvironment(SweepError):
    """Something that sweep needs is missing or broken: alma cannot be read, Ray cannot be reached."""


class RunFolderTaken(SweepError):
    """The run folder holds a sweep already, another sweep writes to it, or it cannot be written."""


class RunFolderBroken(SweepError):
    """A file in the run folder is missing, cannot be read, or is not what sweep wrote."""


class RunFolderFull(SweepError):
    """A row could not be written. The rows before it are written, and the sweep can be resumed."""

    exit_code = ExitCode.INTERRUPTED


class CarrierLost(SweepError):
    """What carries the cells to where they run is gone, and could not be started again. The sweep can be resumed."""

    exit_code = ExitCode.INTERRUPTED


class Incomplete(SweepError):
    """A planned cell has no row, or more than one: a bug in sweep, not a mistake of the user."""

    exit_code = ExitCode.BUG
