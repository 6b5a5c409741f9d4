"""One cell, from its description to its evidence: `python -m sweep.child REPORT GO PARENT CELL.JSON [prime]`."""

import atexit
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from sweep import reading, reaper
from sweep.cell import Cell, Phase
from sweep.child.channel import Channel
from sweep.evidence import Failure


def main(descriptor: int, go: int, parent: int, cell_file: str, *flags: str) -> int:
    """Exit code 0 when all evidence was reported, 1 when an exception was; a crash reports nothing more."""
    channel = Channel(descriptor, go)
    channel.enter(Phase.START)
    die_with(parent)
    Path("/proc/self/oom_score_adj").write_text("1000")  # if the kernel must kill someone, then not the supervisor
    faulthandler.enable()
    faulthandler.register(signal.SIGQUIT)  # what a supervisor sends before it ends what takes too long
    try:
        run(reading.of(Cell).validate_json(Path(cell_file).read_bytes()), channel, prime="prime" in flags)
    except SystemExit:
        raise
    except BaseException as error:
        traceback.print_exc()
        channel.tell(failure=asdict(failure(error)))
        return 1
    channel.tell(done=True)
    return 0


def end_with(work: Callable[[], int]) -> NoReturn:
    """End this process with the code of its work, as an interpreter does, but for taking every object apart.

    That takes a process with torch 0.25 to 0.4 s. What was registered to be done at exit is done, and may still fail.
    """
    try:
        code = work()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if not isinstance(ended.code, int | None):
            print(ended.code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a model may have closed it
            stream.flush()
    os._exit(code & 0xFF)


def die_with(parent: int) -> None:
    """Get KILL when the supervisor dies, and exit now if it already has."""
    reaper.end_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")


def failure(error: BaseException) -> Failure:
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception:  # a model's exception may do anything when it is asked what it says
        message = "(its message cannot be printed)"
    frames = traceback.extract_tb(error.__traceback__)[-50:]
    stack = tuple(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    return Failure(type=name, message=message[:10_000], stack=stack)


def run(cell: Cell, channel: Channel, *, prime: bool) -> None:
    """The way of a cell in its process; to `prime` the compile caches it goes as far as the first call.

    Raises what the model or its conversion raises.
    """
    from sweep.child import threads

    assert cell.mode is not None, "only cells with a mode are dispatched"
    dtype, cpus = cell.mode.dtype, len(os.sched_getaffinity(0))
    thread_count = threads.pin(cell.threads)  # before torch makes its pool
    import torch

    from sweep.child import attest, compat, convert, engines, measure, survey

    device = torch.device(cell.device.kind)
    timer = measure.Timer(device)
    channel.tell(**survey.node(cpus), threads=thread_count, timer_overhead=timer.overhead)

    with channel.during(Phase.BUILD):
        convert.prepare(cell.threads)
        memory_before = measure.forget_peak()
        convert.seed(cell.seed, device)
        model = convert.build_model(cell.model.config, device)
        example, *others = convert.make_inputs(cell, device)

    with channel.during(Phase.EAGER), torch.no_grad():
        channel.take_turn()  # already for the reference: many threads beside many others would wait for each other
        reference = attest.Reference(model, others)
        # by forward, as alma calls every conversion: EAGER against this baseline compares like with like
        eager = measure.Subject(model.forward, example, timer, cell.measure)
        if not prime:
            eager.measure()
            channel.tell(eager=eager.evidence())
            eager.read_whole(attest.tensors, enough=eager.excusable / 10, times=3)
        channel.end_turn()

    witness = engines.Witness(cell.mode, model)
    data = convert.cast(example, dtype)
    with channel.during(Phase.CONVERT):
        forward = convert.convert(model, cell.mode, data, device)
        timer.wait()
    channel.tell(compat=compat.used())
    converted = measure.Subject(forward, data, timer, cell.measure)
    with torch.no_grad():
        with channel.during(Phase.FIRST_CALL):
            first = converted.call()
            timer.wait()
        channel.tell(device=attest.devices_of(first, model))
        if prime:
            return
        channel.take_turn()
        with channel.during(Phase.WARM_UP):
            converted.warm_up()
        with channel.during(Phase.MEASURE):
            converted.sample()
            channel.tell(converted=converted.evidence())
        with channel.during(Phase.VERIFY):
            channel.tell(memory=asdict(measure.peak_memory(memory_before, device)))
            channel.tell(output=asdict(attest.verified(reference, converted, eager, dtype)))
            channel.end_turn()
            channel.tell(engine=asdict(witness.engine(forward, data, device)))


if __name__ == "__main__":
    end_with(lambda: main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
