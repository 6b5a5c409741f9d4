"""Holds every engine to the number of threads that was asked for."""

import os
from typing import Any

from sweep import machine
from sweep.child import onnx_session


def wanted(threads: int | None) -> int | None:
    """How many threads engines are to be held to: those asked for, or what a quota of control groups leaves of the
    CPUs, for more of them would be held up by it, all at once. None where nothing holds them."""
    bound = len(os.sched_getaffinity(0))
    return machine.cpus() if threads is None and machine.cpus() < bound else threads


def pin(threads: int | None) -> int:
    """Hold this process to `threads` threads on as many CPUs, or to nothing for None; returns how many torch uses.

    Call before anything that makes a pool of threads. OpenVINO and torch keep to the CPUs of the process.
    """
    if threads is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def pin_onnxruntime(threads: int) -> None:
    """Tell ONNX Runtime the number: it counts the machine's CPUs and moves its threads there, whatever is allowed.

    Importing it starts a thread of its own (1.32 has a telemetry client), so call no earlier than it is needed.
    """

    def set_threads(options: Any) -> None:
        options.intra_op_num_threads = threads

    onnx_session.replace_class(set_threads)
