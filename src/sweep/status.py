"""What a row says of its cell in one word, and why."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    OK = "ok"  # measured, and proved to be what the label says
    MISMATCH = "mismatch"  # it ran, but it is not what the label says
    UNPROVED = "unproved"  # it ran and was measured, and nothing can prove or refute its label
    INVALID = "invalid"  # makes no sense anywhere
    SKIPPED = "skipped"  # makes sense, but not here
    CRASHED = "crashed"  # started, and did not finish


class Reason(StrEnum):
    """Why a cell is not `ok`. A reason belongs to one status, but for two that say what is refuted or unproved."""

    OUTPUT = "output"  # disagrees with eager beyond the tolerance, wrong shape or type, NaN; or nothing to compare
    ENGINE = "engine"  # fell back to another engine; or none that can be attested
    DEVICE = "device"  # ran elsewhere

    UNKNOWN_CONVERSION = "unknown-conversion"
    UNIMPLEMENTED_CONVERSION = "unimplemented-conversion"  # registered, but nothing implements it
    UNKNOWN_MODEL = "unknown-model"
    BAD_MODEL = "bad-model"  # its config cannot be built into a model and an input, or its output not read
    BAD_DATA = "bad-data"  # its data cannot be read, or the model not called with it
    UNKNOWN_DEVICE = "unknown-device"

    NEEDS_DEVICE = "needs-device"
    NO_NODE = "no-node"
    NEEDS_PACKAGE = "needs-package"
    EAGER_FAILS = "eager-fails"  # the unconverted model does not run there
    EXCLUDED = "excluded"  # by the user's rule
    DUPLICATE = "duplicate"
    INTERRUPTED = "interrupted"

    RAISED = "raised"
    SIGNAL = "signal"
    EXITED = "exited"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    LOST = "lost"  # its node or worker is gone
    NO_REPORT = "no-report"

    @property
    def status(self) -> Status:
        """Of `output` and `engine`, which an unproved row has too, `mismatch`."""
        return _STATUS_OF[self]

    def can_be_of(self, status: Status) -> bool:
        """Whether a row with this status may have this reason."""
        return status is self.status or (status is Status.UNPROVED and self in {Reason.OUTPUT, Reason.ENGINE})


_STATUS_OF: dict[Reason, Status] = {
    reason: status
    for status, reasons in {
        Status.MISMATCH: (Reason.OUTPUT, Reason.ENGINE, Reason.DEVICE),
        Status.INVALID: (
            Reason.UNKNOWN_CONVERSION,
            Reason.UNIMPLEMENTED_CONVERSION,
            Reason.UNKNOWN_MODEL,
            Reason.BAD_MODEL,
            Reason.BAD_DATA,
            Reason.UNKNOWN_DEVICE,
        ),
        Status.SKIPPED: (
            Reason.NEEDS_DEVICE,
            Reason.NO_NODE,
            Reason.NEEDS_PACKAGE,
            Reason.EAGER_FAILS,
            Reason.EXCLUDED,
            Reason.DUPLICATE,
            Reason.INTERRUPTED,
        ),
        Status.CRASHED: (
            Reason.RAISED,
            Reason.SIGNAL,
            Reason.EXITED,
            Reason.TIMEOUT,
            Reason.MEMORY,
            Reason.LOST,
            Reason.NO_REPORT,
        ),
    }.items()
    for reason in reasons
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why a trial does not prove its cell's label."""

    reason: Reason
    message: str
    status: Status = Status.MISMATCH
