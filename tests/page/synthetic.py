"""Rows of sweeps that never ran: every status, unlike hardware, and figures that look as real ones do."""

import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sweep.cell import Mode, Phase
from sweep.evidence import Engine, MachineLoad, Memory
from sweep.plan import registry
from sweep.result import (
    SECONDS,
    Crash,
    Decision,
    Eager,
    Fidelity,
    Latency,
    Quality,
    Quotient,
    Result,
    Speedup,
)
from sweep.status import Reason, Status

MODES = registry.modes(json.loads((Path(__file__).parents[1] / "unit" / "alma_0_3_7.json").read_text()))
MODELS, DEVICES = ("resnet", "vit", "mlp"), ("cpu", "cuda")
EAGER_MS = {"resnet": 24.0, "vit": 71.0, "mlp": 0.035}
VERSIONS = {"python": "3.11.7", "alma-torch": "0.3.7", "torch": "2.13.0", "openvino": "2025.4.1"}
NODES = {
    "cpu": [("cpu-1", "AMD EPYC 9354 x2, 24 GiB", "0ffd61c6"), ("cpu-2", "Intel Xeon 8481C x8, 64 GiB", "77ab02c1")],
    "cuda": [("gpu-1", "AMD EPYC 9354 x16, 128 GiB, NVIDIA H100", "c01d55aa")],
}
TIMES = {
    "tensorrt": 2.6,
    "cudagraphs": 1.9,
    "inductor": 1.35,
    "aot-inductor": 1.45,
    "openvino": 1.9,
    "onnxruntime": 1.6,
    "torchscript": 1.1,
    "export": 0.97,
    "quanto": 0.55,
    "torchao": 0.8,
    "fx-quantized": 1.3,
    "pt2e-quantized": 0.4,
}
"""About how many times faster than eager an engine is."""
CONFIRMED = ("tensorrt", "cudagraphs", "openvino", "onnxruntime")

COMPILES = {"inductor": 27.0, "aot-inductor": 31.0, "tensorrt": 58.0}
ERRORS = {"fp32": 4e-7, "fp16": 7e-4, "bf16": 4e-3, "int8": 1.4e-2, "int8_static": 3e-2, "fp8": 8e-2, "int4": 0.19}


def synthetic(count: int, *, seed: int = 0) -> Iterator[Result]:
    """`count` rows of 3 models × 2 devices × alma's 72 modes at batch 1, then 2, 3 and so on; the same for a seed."""
    chance = random.Random(seed)
    asked = (
        (model, device, batch, mode)
        for batch in range(1, count + 1)
        for model in MODELS
        for device in DEVICES
        for mode in MODES.values()
    )
    for number, (model, device, batch, mode) in zip(range(count), asked, strict=False):
        planned: dict[str, Any] = {
            "id": f"{model}-{mode.name}-{device}-b{batch}-{number:010x}".lower(),
            "model": model,
            "conversion": mode.name,
            "device": device,
            "batch_size": batch,
            "threads": None,
            "seconds": dict.fromkeys(SECONDS),
        }
        yield Result(**planned | (_refused(device, mode) or _ran(planned, mode, chance)))


def about(rows: Sequence[Result], planned: int = 0) -> dict[str, Any]:
    """What `sweep.json` would say of such rows, of a plan of `planned` or just these."""
    nodes: list[dict[str, Any]] = [
        {"name": name, "hardware": hardware, "fingerprints": {device: mark}, "cpus": 2, "memory_mb": 25277, "gpus": 0}
        for device, of_device in NODES.items()
        for name, hardware, mark in of_device
    ]
    nodes.append({"name": "cpu-3", "hardware": None, "fingerprints": {}, "problem": "cannot import torch"})
    plan = [row.id for row in rows] + [f"cell-{number}" for number in range(len(rows), planned)]
    command = ["+model=resnet,vit,mlp", "conversions=all", "device=cpu,cuda"]
    return {"schema": 2, "command": command, "versions": VERSIONS, "nodes": nodes, "plan": plan}


def _refused(device: str, mode: Mode) -> dict[str, Any] | None:
    if device not in mode.runs_on:
        message = f"{mode.name} runs on {' or '.join(mode.runs_on)} only, and this cell asks for {device}"
        return {"status": Status.SKIPPED, "reason": Reason.NEEDS_DEVICE, "message": message}
    if mode.engine == "tvm":
        message = "needs tvm.relay: build an older apache-tvm, or leave TVM modes out"
        return {"status": Status.SKIPPED, "reason": Reason.NEEDS_PACKAGE, "message": message}
    if mode.name == "OPTIMUM_QUANTO_WI2":
        message = f"unknown conversion {mode.name!r}: did you mean OPTIMUM_QUANTO_WI4?"
        return {"status": Status.INVALID, "reason": Reason.UNKNOWN_CONVERSION, "message": message}
    return None


def _ran(planned: dict[str, Any], mode: Mode, chance: random.Random) -> dict[str, Any]:
    unlike = planned["model"] == "mlp" and planned["device"] == "cpu"  # on two kinds of hardware
    node, hardware, fingerprint = NODES[planned["device"]][chance.randrange(2) if unlike else 0]
    where = {
        "threads": 2,
        "node": node,
        "hardware": hardware,
        "fingerprint": fingerprint,
        "versions": VERSIONS,
        "compat": ("pt2e-quantize-moved",),
        "log": f"cells/{planned['id']}/cell.log",
        "samples": f"cells/{planned['id']}/samples.json",
    }
    dice = chance.random() if mode.name != "EAGER" else 0.5
    if dice < 0.09:
        return where | _crashed(node, chance)
    return where | _measured(planned, mode, node, chance, lies=dice > 0.93)


def _crashed(node: str, chance: random.Random) -> dict[str, Any]:
    segfault = Crash(
        signal="SIGSEGV",
        exception=None,
        stack=("/srv/run.py:12 in forward", "/srv/kernel.py:80 in call"),
        last_lines=("Fatal Python error: Segmentation fault", "Current thread 0x00007f (most recent call first):"),
    )
    raised = Crash(
        signal=None,
        exception="RuntimeError",
        stack=("convert.py:80 in convert", "fuse.py:12 in fuse"),
        last_lines=("Traceback (most recent call last):", "RuntimeError: cannot fuse"),
    )
    ended = Crash(signal="SIGTERM", exception=None, stack=(), last_lines=("compiling…",))
    node_number, limit = chance.randrange(90), chance.choice([60, 600])
    reason, message, crash = chance.choice(
        [
            (Reason.SIGNAL, "ended by SIGSEGV in phase first-call: see the log", segfault),
            (Reason.TIMEOUT, f"took longer than limits.convert={limit} s in phase convert: see the log", ended),
            (Reason.RAISED, f"RuntimeError in phase convert: cannot fuse node {node_number}: see the log", raised),
        ]
    )
    seconds = {"build": 0.4, "eager": 3.1, "total": chance.uniform(4, 60), "waited": 0.0}
    return {
        "status": Status.CRASHED,
        "reason": reason,
        "message": message,
        "phase": Phase.CONVERT,
        "seconds": dict.fromkeys(SECONDS) | seconds,
        "crash": crash,
        "attempts": (f"lost with {node}", f"{reason} on {node}") if chance.random() < 0.2 else (f"{reason} on {node}",),
    }


def _measured(planned: dict[str, Any], mode: Mode, node: str, chance: random.Random, *, lies: bool) -> dict[str, Any]:
    engine, batch = mode.engine.partition(" or ")[0], planned["batch_size"]
    eager = EAGER_MS[planned["model"]] * batch**0.8 * chance.uniform(0.97, 1.03)
    times = chance.uniform(0.985, 1.02) * (TIMES.get(engine, 1) * chance.uniform(0.8, 1.25) if engine in TIMES else 1)
    p50 = eager / times
    disturbed = mode.name != "EAGER" and chance.random() < 0.05
    convert = COMPILES.get(engine, 1.2) * chance.uniform(0.7, 1.4)
    error = 0.0 if mode.name == "EAGER" else ERRORS.get(mode.precision, 0.4) * chance.uniform(0.6, 1.5)
    precision = "bf16" if engine == "openvino" and mode.precision == "fp32" else mode.precision
    remarks = [f"computes in {precision}, its label says {mode.precision}"] if precision != mode.precision else []
    remarks += ["disturbed: others used 40% of the CPUs"] if disturbed else []
    pays_off = math.ceil(convert * 1e3 / (eager - p50)) if eager > p50 else None
    speedup = _speedup(times, engine, chance, disturbed=disturbed, break_even_calls=pays_off)
    wide = speedup.decision is Decision.UNDECIDED and speedup.high / speedup.low > 1.06
    said: dict[str, Any] = {"status": Status.OK}
    if lies:
        error = chance.uniform(0.3, 2)
        said = {"status": Status.MISMATCH, "reason": Reason.OUTPUT}
        remarks.insert(0, f"relative L2 error {error:.2g} against eager, class fp32 allows 0.0001: do not ship it")
    return said | {
        "message": "; ".join(remarks),
        "quality": Quality.DISTURBED if disturbed else Quality.ROUGH if wide else Quality.FIRM,
        "phase": Phase.VERIFY,
        "seconds": {
            "build": 0.4,
            "eager": 3.2,
            "convert": convert,
            "first_call": convert / 9,
            "warmup": 0.6,
            "measure": 3.4,
            "verify": 0.3,
            "total": convert + 24.5,
            "waited": chance.uniform(0, 9),
        },
        "convert_cpus": 1.4,
        "latency_ms": Latency(
            p50=p50,
            p90=p50 * 1.08,
            p99=p50 * chance.uniform(1.15, 1.9),
            mean=p50 * 1.02,
            std=p50 * 0.05,
            min=p50 * 0.96,
            max=p50 * chance.uniform(2, 9),
            n=chance.randrange(90, 9000),
            p50_low=p50 * 0.95,
            p50_high=p50 * 1.05,
            processes=len(speedup.quotients),
        ),
        "throughput_per_s": batch / p50 * 1e3,
        "eager": Eager(p50_ms=eager, n=700),
        "speedup": speedup,
        "fidelity": Fidelity(
            rel_l2=error,
            cosine=max(-1.0, 1 - error**2 / 2),
            max_abs=error * 3,
            top1_agreement=1.0 if error < 0.1 else 0.8,
            inputs=8,
            tolerance_class=mode.precision,
        ),
        "engine": Engine(
            requested=mode.engine,
            actual=engine,
            precision=precision,
            evidence={"compute_operators": 0, "outside_compiled": 0, "execution_devices": ["CPU"]},
        ),
        "memory_mb": Memory(rss_peak=chance.uniform(40, 900), cuda_peak=310.5 if node == "gpu-1" else None),
        "load": MachineLoad(cpu_by_others=round(chance.uniform(0, 0.04), 3), cpu_pressure=0.01),
        "attempts": (f"{said['status']} on {node}",),
    }


def _speedup(
    times: float, engine: str, chance: random.Random, *, disturbed: bool, break_even_calls: int | None
) -> Speedup:
    """One trial, or three; of the engines that tend to be the fastest three more that confirm, and are all that counts.

    A trial differs from the truth by 2 %, and its interval is as wide as three trials with that deviation make it.
    """

    def trial(round_: int, *, confirms: bool = False) -> Quotient:
        value = times * math.exp(chance.gauss(0, 0.02))
        return Quotient(value=value, spread=0.006, round=round_, confirms=confirms, disturbed=disturbed)

    trials = [trial(1)]
    if chance.random() < 0.5:
        trials += [trial(2), trial(2)]
    if engine in CONFIRMED and not disturbed:
        trials += [trial(3, confirms=True) for _ in range(3)]
    counted = [trial for trial in trials if trial.confirms] or trials
    value = math.exp(math.fsum(math.log(trial.value) for trial in counted) / len(counted))
    spread = math.exp(0.04 / math.sqrt(len(counted)))
    low, high = value / spread, value * spread
    decision = (
        Decision.FASTER
        if low > 1
        else Decision.SLOWER
        if high < 1
        else Decision.SAME
        if low > 1 / 1.03 and high < 1.03
        else Decision.UNDECIDED
    )
    return Speedup(
        value=value,
        low=low,
        high=high,
        trials=len(counted),
        decision=decision,
        break_even_calls=break_even_calls,
        quotients=tuple(trials),
    )
