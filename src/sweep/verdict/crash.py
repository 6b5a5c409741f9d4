"""How a cell's process failed, from how it ended and what it printed."""

import re
import signal

from sweep.cell import Phase
from sweep.evidence import Exit, Trial
from sweep.reading import one_line
from sweep.result import Crash
from sweep.status import Reason

_MEMORY_ERRORS = {"MemoryError", "torch.OutOfMemoryError"}
_OUT_OF_MEMORY = (
    *("DefaultCPUAllocator: can't allocate memory", "CUDA out of memory", "XPU out of memory"),
    *("MPS backend out of memory", "CUDA error: out of memory", "CUDA failure 2: out of memory"),
)
"""Messages about too little memory, the last of ONNX Runtime: where no class of torch's own says it."""

_UNREADABLE = "sweep.child.outputs.UnreadableOutput"
"""What the unconverted model's own output raises, if no tensors can be read of it."""

_BAD_DATA = "sweep.child.batches.BadData"
"""What is raised for data that cannot be read, in whatever phase that shows."""

_TOO_LARGE = "sweep.child.weights.TooLarge"
"""What is raised for a model whose weights do not fit, before they are made; it does the sum."""

_FRAME = re.compile(r'^  File "(.+)", line (\d+) in (.+)$', re.MULTILINE)
"""A line of a stack as faulthandler prints it."""


def problem(trial: Trial) -> tuple[Reason, str] | None:
    """How a process failed, with a message; None if it ended well.

    A bad end overrides a good report, and the reason it was ended for overrides the signal that ended it.
    """
    ending, evidence = trial.ending, trial.evidence
    where = f"in phase {ending.phase}"
    if stopped := _stopped_from_outside(ending, where):
        reason, message = stopped
        return (
            reason,
            f"{message} (could not be killed: look for a dead disk or driver)" if ending.not_killed else message,
        )
    if ending.code < 0:
        return Reason.SIGNAL, f"ended by {_signal_name(-ending.code)} {where}: see the log"
    if evidence.failure and not evidence.done:
        return _raised(ending, evidence.failure.type, evidence.failure.message)
    if ending.code > 0:
        return Reason.EXITED, f"exited with code {ending.code} {where}: see the log"
    if not evidence.done:
        return Reason.NO_REPORT, f"exited with code 0 {where} and without a report: something called exit early"
    return None


def _stopped_from_outside(ending: Exit, where: str) -> tuple[Reason, str] | None:
    """Why the supervisor or the kernel ended a process; None where neither did."""
    if ending.memory:
        return Reason.MEMORY, f"{ending.memory}, {where}: make batch_size smaller, or raise that limit"
    if ending.report_too_long:
        return Reason.NO_REPORT, f"reported more than a cell has to say {where}, and was ended"
    if ending.timeout:
        return Reason.TIMEOUT, f"{ending.timeout} {where}: see the log, or raise that limit"
    if ending.oom_killed and ending.code == -signal.SIGKILL:
        return Reason.MEMORY, f"killed by the kernel for want of memory {where}: make batch_size smaller"
    return None


def _raised(ending: Exit, kind: str, text: str) -> tuple[Reason, str]:
    summary = f"{kind} in phase {ending.phase}: {one_line(text) or 'no message'}"
    if kind in _MEMORY_ERRORS or any(mark in text for mark in _OUT_OF_MEMORY):
        return Reason.MEMORY, f"{summary}: make batch_size smaller, or run it where there is more"
    if kind == _TOO_LARGE:
        return Reason.MEMORY, one_line(text)
    if kind == _BAD_DATA:
        return Reason.BAD_DATA, f"its data cannot be used: {one_line(text)}"
    if ending.phase is Phase.EAGER and kind == _UNREADABLE:
        return Reason.BAD_MODEL, one_line(text)
    if ending.phase is Phase.BUILD:
        return Reason.BAD_MODEL, f"{summary}: correct the model's config or its code"
    return Reason.RAISED, f"{summary}: the log has the traceback"


def describe(trial: Trial) -> Crash:
    """All that is known of the crash of a process."""
    failure = trial.evidence.failure
    return Crash(
        signal=_signal_name(-trial.ending.code) if trial.ending.code < 0 else None,
        exception=failure.type if failure else None,
        stack=failure.stack if failure else _faulthandler_stack(trial.log),
        last_lines=tuple(filter(None, (one_line(line) for line in trial.log[-20_000:].splitlines())))[-20:],
    )


def _faulthandler_stack(log: str) -> tuple[str, ...]:
    """The last stack that faulthandler printed of the running thread, outermost frame first."""
    _, header, stack = log.rpartition("Current thread 0x")
    frames = _FRAME.findall(stack.partition("\n\n")[0]) if header else []
    return tuple(one_line(f"{file}:{line} in {name}") for file, line, name in reversed(frames))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
