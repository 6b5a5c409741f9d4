"""One cell, from its description to its evidence: `python -m sweep.child DESCRIPTOR CELL.JSON PARENT`."""

import ctypes
import faulthandler
import os
import platform
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from sweep.cell import Cell, Failure, Phase
from sweep.child.channel import Channel

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal this process gets when its parent dies."""


def main(descriptor: int, cell_file: Path, parent: int) -> int:
    """Exit code 0 when all evidence was reported, 1 when an exception was; a crash reports nothing more."""
    channel = Channel(descriptor)
    die_with(parent)
    faulthandler.enable()
    try:
        run(TypeAdapter(Cell).validate_json(cell_file.read_bytes()), channel)
    except Exception as error:
        traceback.print_exc()
        channel.tell(failure=asdict(failure(error)))
        return 1
    channel.tell(done=True)
    return 0


def die_with(parent: int) -> None:
    """Get KILL when the supervisor dies, and exit now if it already has."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")


def failure(error: Exception) -> Failure:
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return Failure(type=name, message=str(error), traceback=traceback.format_exc())


def run(cell: Cell, channel: Channel) -> None:
    """The way of a cell in its process; raises what the model or its conversion raises."""
    from sweep.child import threads

    assert cell.mode is not None, "only cells with a mode are dispatched"
    thread_count = threads.pin(cell.threads)
    import torch

    from sweep.child import attest, compat, convert, measure, survey

    device = torch.device(cell.device.kind)
    wait = measure.synchronizer(device)
    channel.tell(
        versions=survey.versions(),
        hardware=survey.hardware(),
        node=platform.node(),
        threads=thread_count,
    )

    with channel.during(Phase.BUILD):
        compat.before_import()
        torch.manual_seed(cell.seed)
        model = convert.build_model(cell.model.config, device)
        example, *others = convert.make_inputs(cell, device)

    with channel.during(Phase.EAGER), torch.no_grad():
        reference = [attest.tensors(model(x)) for x in others]
        # by forward, as alma calls every conversion: EAGER against this baseline compares like with like
        measure.warm_up(lambda: model.forward(example), cell.measure.warmup_calls)
        channel.tell(eager_samples=measure.sample(lambda: model.forward(example), cell.measure, wait))

    witness = attest.Witness(cell.mode)
    data = convert.cast(example, cell.mode.dtype)
    with channel.during(Phase.CONVERT):
        forward = convert.convert(model, cell.mode.name, data, device)
        wait()
    channel.tell(compat=compat.used())

    with torch.no_grad():
        with channel.during(Phase.FIRST_CALL):
            first = forward(data)
            wait()
        with channel.during(Phase.WARM_UP):
            measure.warm_up(lambda: forward(data), cell.measure.warmup_calls)
        with channel.during(Phase.MEASURE):
            channel.tell(samples=measure.sample(lambda: forward(data), cell.measure, wait))
        with channel.during(Phase.VERIFY):
            outputs = [attest.tensors(forward(convert.cast(x, cell.mode.dtype))) for x in others]
            channel.tell(
                comparison=asdict(attest.compare(reference, outputs)),
                engine=asdict(witness.engine()),
                memory=asdict(measure.peak_memory(device)),
                device=attest.device_of(first),
            )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
