"""One process of a cell: `python -m sweep.child REPORT GO PARENT CELL.JSON BASELINE [prime|control|shapes NUMBER]`.

It converts the model and reports evidence of that; or, as a `control`, it keeps the model as it is. BASELINE is the
file in which a control leaves what the processes of conversions need of it; there may be that of an earlier one in it.
"""

import atexit
import faulthandler
import math
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sweep import reading, reaper
from sweep.cell import Cell, Phase
from sweep.child import failure
from sweep.child.channel import Channel

if TYPE_CHECKING:  # it brings torch, which must wait until threads are pinned
    from sweep.child.benchmark import Baseline, Conversion
    from sweep.child.measure import MemoryWatch


def main(descriptor: int, go: int, parent: int, cell_file: str, baseline_file: str, *flags: str) -> int:
    """Run a cell and report its evidence; returns the exit code: 0 when all was reported, 1 when an exception was.

    `descriptor` is what the report is written to, `go` what says that it is this process's turn to measure.
    """
    channel = Channel(descriptor, go)
    channel.enter(Phase.START)
    end_with_parent(parent)
    Path("/proc/self/oom_score_adj").write_text("1000")  # if the kernel must kill someone, then not the supervisor
    faulthandler.enable()
    faulthandler.register(signal.SIGQUIT)  # what a supervisor sends before it ends what takes too long
    try:
        cell = reading.of(Cell).validate_json(Path(cell_file).read_bytes())
        sys.path[:0] = [path for path in cell.python_path if os.pathsep in path]  # which PYTHONPATH cannot hold
        if "control" in flags:
            Path("/proc/self/comm").write_text("sweep-control")
            keep_control(cell, channel, Path(baseline_file))
        else:
            further = int(flags[1]) if "shapes" in flags else None
            run(cell, channel, Path(baseline_file), prime="prime" in flags, shapes_from=further)
    except SystemExit:
        raise
    except BaseException as error:
        traceback.print_exc()
        channel.tell(failure=asdict(failure.of(error)))
        return 1
    channel.tell(done=True)
    return 0


def run_and_exit(work: Callable[[], int]) -> NoReturn:
    """End this process with the exit code that `work` returns, as an interpreter does, but free no objects.

    Freeing them takes a process with torch 0.25 to 0.4 s. What was registered with `atexit` runs, and may still fail.
    """
    try:
        code = work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if not isinstance(error.code, int | None):
            print(error.code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a model may have closed it
            stream.flush()
    os._exit(code & 0xFF)


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its `parent` dies, and exit now if it already has."""
    reaper.end_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")


def run(cell: Cell, channel: Channel, baseline_file: Path, *, prime: bool, shapes_from: int | None = None) -> None:
    """Take a cell's steps and report what they give; to `prime` the compile caches, only as far as the first call.

    With `shapes_from`, what comes after that are the further sizes, from that number on. Raises what the model or its
    conversion raises.
    """
    baseline, memory = build(cell, channel)
    from sweep.child import compat, outputs
    from sweep.child.benchmark import Conversion

    conversion = Conversion(baseline)
    cpu_before = cpu_seconds()
    with channel.during(Phase.CONVERT):
        conversion.convert()
    channel.tell(compat=compat.used(), convert_cpu=cpu_seconds() - cpu_before)
    with channel.during(Phase.FIRST_CALL):
        first = conversion.first_call()  # kept to the end: an engine may use an output's memory again once it is gone
    channel.tell(device=outputs.devices_of(first, baseline.model))
    if not prime:
        baseline.recall(baseline_file)
        channel.tell(found=[asdict(one) for one in baseline.found])
        if shapes_from is None:
            measure_by_turns(conversion, channel, memory)
        else:
            check_shapes(conversion, channel, shapes_from)


def cpu_seconds() -> float:
    """CPU time of this process so far, and of the ended processes that it started."""
    of_all = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return math.fsum(used.ru_utime + used.ru_stime for used in of_all)


def build(cell: Cell, channel: Channel) -> tuple["Baseline", "MemoryWatch"]:
    """Pin threads, import what the steps need, and build the cell's model; report where that was."""
    from sweep.child import threads

    cpus = len(os.sched_getaffinity(0))
    allowed = threads.wanted(cell.threads)
    thread_count = threads.pin(allowed)  # before torch makes its pool of threads
    import torch

    from sweep.child import batches, convert, measure, survey
    from sweep.child.benchmark import Baseline

    device = torch.device(cell.device.kind)
    timer = measure.Timer(device)
    channel.tell(**survey.where_it_runs(cpus), threads=thread_count, timer_overhead=timer.overhead)
    with channel.during(Phase.BUILD):
        convert.prepare(allowed, device)
        read = batches.read(cell)  # before what memory is measured from: it is no conversion's
        memory = measure.MemoryWatch(device)
        baseline = Baseline(cell, device, timer, read)
    channel.tell(samples=baseline.feed.samples)
    return baseline, memory


def measure_by_turns(conversion: "Conversion", channel: Channel, memory: "MemoryWatch") -> None:
    """What comes after the first call: blocks by turns with the control, then what proves them."""
    converted = conversion.converted
    memory.forget_peak()
    channel.take_turn()
    with channel.during(Phase.WARM_UP):
        conversion.warm_up()
    with channel.during(Phase.MEASURE):
        channel.stand_aside()
        while not converted.has_enough:
            conversion.take_block()
            channel.stand_aside()
        channel.tell(converted=converted.evidence(), memory=asdict(memory.peak()))
    with channel.during(Phase.VERIFY):
        conversion.look_beyond_the_call()
        if not conversion.is_quick:  # beside compilers, a quick one would take ten times as long as alone
            channel.end_turn()
        channel.tell(output=asdict(conversion.verify()))
        if (measured := conversion.check_metric()) is not None:
            channel.tell(metric=asdict(measured))
        channel.tell(engine=asdict(conversion.attest()))


def check_shapes(conversion: "Conversion", channel: Channel, begin: int) -> None:
    """How it takes each of the further sizes from a number on, told one by one: the next may end this process."""
    with channel.during(Phase.VERIFY):
        for number in range(begin, len(conversion.baseline.shapes)):
            check = conversion.check_shape(number, channel.alone)
            channel.tell(shapes={str(number): asdict(check)})


def keep_control(cell: Cell, channel: Channel, baseline_file: Path) -> None:
    """Build the model and leave it unconverted: write its reference, and take blocks of its latency when asked to."""
    baseline, memory = build(cell, channel)
    with channel.during(Phase.EAGER):
        channel.take_turn()  # the reference needs it too: threads of many cells at a time would wait for each other
        baseline.take_reference()
        baseline.warm_up()
        baseline.examine_memory()
        baseline.examine_latency()
        baseline.find_losses(earlier=baseline_file)
        baseline.take_shapes()
        channel.end_turn()
        baseline.take_metric()
    baseline_file.unlink(missing_ok=True)  # that of an earlier one, which others may have open
    baseline.keep(baseline_file)
    memory.forget_peak()  # the copies of the model are gone
    channel.tell(memory=asdict(memory.peak()), gpu_free=memory.free_on_gpu())
    channel.ready()
    while asked := channel.asked_for():
        if asked == "begin":
            baseline.eager.load = baseline.timer.watch()
        baseline.eager.blocks.clear()
        baseline.take_block()
        channel.tell_block(**baseline.eager.evidence())


if __name__ == "__main__":
    run_and_exit(lambda: main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
