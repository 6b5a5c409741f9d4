"""The figures of a row, from the samples and peaks of all of a cell's processes."""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from scipy import special

from sweep import stats
from sweep.evidence import MachineLoad, Memory, Trial
from sweep.moderation import ROUNDING, Prior
from sweep.result import Eager, Latency, Quotient
from sweep.verdict.quotient import quotient as of_blocks

DRIFT_DEGREES = 5
"""Degrees of freedom that `measure.drift` counts for."""


def latency(*trials: Sequence[float], drift: float = 0.0) -> Latency:
    """Latencies in milliseconds, from each trial's samples: in seconds, in the order taken, at least two of them.

    Each figure is the median of that figure of the trials, so that one with more samples does not count more; `min` and
    `max` are of all samples. The interval of p50 is Student's of the logarithms of the trials' own medians. Trials that
    run within seconds of each other cannot show how the machine moves: `drift`, the share by which its speed changes
    within minutes, is taken for two standard deviations, known as if from DRIFT_DEGREES + 1 trials.
    """
    ms = [sorted(sample * 1e3 for sample in samples) for samples in trials]

    def median_of(figure: Callable[[Sequence[float]], float]) -> float:
        return statistics.median(map(figure, ms))

    p50 = median_of(statistics.median)
    logs = [math.log(statistics.median(samples)) for samples in ms]
    squares = math.fsum((value - statistics.fmean(logs)) ** 2 for value in logs)
    own = len(logs) - 1
    known = Prior(size=max((drift / 2) ** 2, ROUNDING), degrees=DRIFT_DEGREES)
    variance, degrees = known.better(squares / own if own else 0.0, own)
    half = float(special.stdtrit(degrees, 0.975)) * math.sqrt(variance / len(logs))
    return Latency(
        p50=p50,
        p90=median_of(lambda ordered: stats.percentile(ordered, 0.9)),
        p99=median_of(lambda ordered: stats.percentile(ordered, 0.99)),
        mean=median_of(statistics.fmean),
        std=median_of(statistics.stdev),
        min=min(ordered[0] for ordered in ms),
        max=max(ordered[-1] for ordered in ms),
        n=sum(map(len, ms)),
        p50_low=p50 * math.exp(-half),
        p50_high=p50 * math.exp(half),
        processes=len(trials),
    )


def quotient(trial: Trial) -> Quotient | None:
    """What a trial found; None of one that was not measured to its end."""
    eager, converted = trial.evidence.eager, trial.evidence.converted
    if eager is None or converted is None:
        return None
    value, spread = of_blocks(eager.blocks, converted.blocks)
    return Quotient(
        value=value,
        spread=spread,
        round=trial.round,
        confirms=trial.confirms,
        control=trial.control,
        disturbed=any(disturbances(load(trial))),
        page_faults=converted.page_faults,
        eager_page_faults=eager.page_faults,
    )


FAULT_SECONDS = 1e-6
"""What a page fault costs, about, its page of zeros included: resnet18 took Inductor 22 ms with 4,500 of them in a call
and 15 ms without, which is 1.6 µs each, on a virtual machine; on bare metal it is less."""

MANY_FAULTS = 0.05
"""The share of a call from which on its page faults are told."""

FEW_TRIALS = 3
"""So many show the luck of processes by themselves."""


def share_of_faults(page_faults: float | None, seconds: float) -> float:
    """The share of a call that its page faults take, about.

    Whether memory is given back to the kernel after each call, and asked for in the next one, is the luck of a process:
    it depends on what happens to lie behind it.
    """
    return (page_faults or 0.0) * FAULT_SECONDS / seconds


def luck(quotients: Sequence[Quotient], latency: Latency | None, eager: Eager | None) -> float:
    """How far a quotient may be off, as a share, for one of its two processes asks for memory in each call or happens
    not to: 0 once there are trials enough to show it, disturbed ones not among them."""
    quiet = [quotient for quotient in quotients if not quotient.disturbed] or quotients
    if latency is None or len(quiet) >= FEW_TRIALS:
        return 0.0
    shares = [share_of_faults(quotient.page_faults, latency.p50 / 1e3) for quotient in quiet]
    if eager:
        shares += [share_of_faults(quotient.eager_page_faults, eager.p50_ms / 1e3) for quotient in quiet]
    return max(shares)


QUIET, WAITING, HELD_UP = 0.15, 0.30, 0.01
"""What a trial that is called undisturbed may have seen at most: the share of the CPUs that others used, and the shares
of the time that some process waited for a CPU, its own threads among them, and that a quota held it up.

Measured on 2 CPUs (scripts/bench/load.py, resnet18): where others used up to 9 % of them the speed-up moved by less
than trials do without, where they used 12 to 17 % by 4 to 6 %, and at 45 % that of ONNX Runtime came out 1.9 times too
high. Ray, the supervisor and the kernel use 5 to 10 % themselves."""


def disturbances(load: MachineLoad) -> Iterator[str]:
    """Each figure of a machine load that is too high for a measurement to be called undisturbed, in words."""
    if load.cpu_by_others > QUIET:
        yield f"others used {load.cpu_by_others:.0%} of the CPUs"
    elif (load.cpu_pressure or 0) > WAITING and load.cpu_by_others > HELD_UP:  # its own threads wait for CPUs too
        yield f"a process waited for a CPU {load.cpu_pressure:.0%} of the time"
    if (load.quota_throttled or 0) > HELD_UP:
        yield f"its control group's CPU quota held it up {load.quota_throttled:.0%} of the time"
    if load.heat_throttled:
        yield "heat slowed a CPU down"
    if load.gpu_processes:
        yield f"{load.gpu_processes} other processes were on its GPU"
    if load.gpu_throttled:
        yield "its GPU ran slower, for heat or want of power"


def break_even_calls(eager: Latency, converted: Latency, seconds: Mapping[str, float]) -> int | None:
    """After how many calls converting has paid off; `seconds` are what the phases took. None where it never does."""
    saved_ms = eager.p50 - converted.p50
    spent_ms = (seconds.get("convert", 0.0) + seconds.get("first_call", 0.0)) * 1e3
    return math.ceil(spent_ms / saved_ms) if saved_ms > 0 else None


def peak(memories: Sequence[Memory]) -> Memory | None:
    """The highest peaks of several processes; None of none."""
    if not memories:
        return None
    on_cuda = [memory.cuda_peak for memory in memories if memory.cuda_peak is not None]
    return Memory(rss_peak=max(memory.rss_peak for memory in memories), cuda_peak=max(on_cuda, default=None))


def load(trial: Trial) -> MachineLoad:
    """The worst machine load of a trial that was measured, while either of the two was."""
    subjects = (trial.evidence.eager, trial.evidence.converted)
    return worst_load(subject.load for subject in subjects if subject)


def worst_load(loads: Iterable[MachineLoad]) -> MachineLoad:
    """The highest value of each figure of several machine loads, at least one."""
    every = [asdict(load) for load in loads]
    highest: dict[str, Any] = {
        name: max((load[name] for load in every if load[name] is not None), default=None) for name in every[0]
    }
    return MachineLoad(**highest)
