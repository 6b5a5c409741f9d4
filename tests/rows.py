"""Rows to start from: one with every field filled by hand, and ones that are not ok."""

from typing import Any

from sweep.cell import Phase
from sweep.evidence import Engine, MachineLoad, Memory
from sweep.result import Crash, Decision, Eager, Fidelity, Latency, Quality, Quotient, Result, Speedup
from sweep.status import Reason, Status


def speedup(
    value: float, low: float = 0, high: float = 0, *, chosen_by: float = 0, confirming: int = 0, **changes: Any
) -> Speedup:
    """A speed-up that is decided by whether its interval holds 1; one of 1 % either side if nothing else is said.

    It is of a first trial that found `chosen_by`, or `value`, and of so many `confirming` ones that found `value`.
    """
    low, high = low or value * 0.99, high or value * 1.01
    decision = Decision.FASTER if low > 1 else Decision.SLOWER if high < 1 else Decision.UNDECIDED
    first = Quotient(value=chosen_by or value, spread=0.005)
    confirmation = Quotient(value=value, spread=0.005, round=2, confirms=True)
    values: dict[str, Any] = {
        "trials": confirming or 1,
        "decision": decision,
        "quotients": (first, *(confirmation,) * confirming),
    }
    return Speedup(value=value, low=low, high=high, **values | changes)


def ok(**changes: Any) -> Result:
    """An ok row twice as fast as eager, in three trials; keywords replace its fields."""
    values: dict[str, Any] = {
        "id": "mlp-onnx_cpu-cpu-b4-0123456789",
        "model": "mlp",
        "conversion": "ONNX_CPU",
        "device": "cpu",
        "batch_size": 4,
        "threads": 2,
        "overrides": {"cache": "warm"},
        "status": Status.OK,
        "quality": Quality.FIRM,
        "phase": Phase.VERIFY,
        "seconds": {
            "build": 0.5,
            "eager": 1.5,
            "convert": 2.5,
            "first_call": 0.25,
            "warmup": 0.75,
            "measure": 3.5,
            "verify": 0.125,
            "total": 9.5,
            "waited": 1.25,
        },
        "latency_ms": Latency(
            p50=2.0,
            p90=2.5,
            p99=3.0,
            mean=2.25,
            std=0.5,
            min=1.75,
            max=4.0,
            n=900,
            p50_low=1.9,
            p50_high=2.1,
            processes=3,
        ),
        "throughput_per_s": 1777.5,
        "eager": Eager(p50_ms=4.0, n=600),
        "speedup": Speedup(
            value=2.0,
            low=1.8,
            high=2.2,
            trials=3,
            decision=Decision.FASTER,
            break_even_calls=1375,
            quotients=(
                Quotient(value=1.6, spread=0.01),
                Quotient(value=2.0, spread=0.02, round=2),
                Quotient(value=2.5, spread=0.03, round=2),
            ),
        ),
        "fidelity": Fidelity(
            rel_l2=1e-6, cosine=1.0, max_abs=1e-5, top1_agreement=1.0, inputs=8, tolerance_class="fp32"
        ),
        "engine": Engine(requested="onnxruntime", actual="onnxruntime", precision="fp32", evidence={"nodes": 3}),
        "memory_mb": Memory(rss_peak=123.5),
        "load": MachineLoad(cpu_by_others=0.01, cpu_pressure=0.02, heat_throttled=False),
        "node": "node-1",
        "hardware": "a CPU x2",
        "fingerprint": "abcd1234",
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "compat": ("fix-a", "fix-b"),
        "attempts": ("ok on node-1",),
        "log": "cells/a/cell.log",
        "samples": "cells/a/samples.json",
    }
    return Result(**values | changes)


def not_ok(reason: Reason, message: str = "what to do", /, **changes: Any) -> Result:
    """A row of a cell of `mlp` that did not get to measure anything; keywords replace its fields."""
    values: dict[str, Any] = {
        "id": f"mlp-{reason}",
        "model": "mlp",
        "conversion": "EAGER",
        "device": "cpu",
        "batch_size": 4,
        "threads": None,
        "overrides": {"cache": "warm"},
        "status": reason.status,
        "reason": reason,
        "message": message,
    }
    return Result(**values | changes)


def crashed(**changes: Any) -> Result:
    crash = Crash(
        signal="SIGSEGV", exception=None, stack=("model.py:3 in forward",), last_lines=("about to <fall>", "\x1b[1mbye")
    )
    values = {"conversion": "JIT_TRACE", "crash": crash, "seconds": {"total": 3.25}, "log": "cells/x/cell.log"}
    return not_ok(Reason.SIGNAL, "ended by SIGSEGV", **values | changes)
