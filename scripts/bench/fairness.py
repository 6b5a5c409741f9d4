"""Does a cell measure the same beside others as alone? Sweeps the same cells at full parallelism and one at a time.

For each cell: its p50 at full parallelism over that alone, medians over the rounds, and beneath them the median and the
worst distance from 1. A second figure compares the rounds alone with each other: what the machine itself does.

    .venv/bin/python scripts/bench/fairness.py [ROUNDS] [OVERRIDES…]
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CELLS = [
    "+model=resnet,squeezenet",
    "conversion=EAGER,EXPORT+EAGER,JIT_TRACE,TORCH_SCRIPT,ONNX_CPU,COMPILE_INDUCTOR_DEFAULT,COMPILE_OPENVINO",
    "measure=quick",
]


def main(rounds: int, overrides: list[str]) -> None:
    beside: dict[str, list[float]] = {}
    alone: dict[str, list[float]] = {}
    for number in range(rounds):
        ways: list[tuple[dict[str, list[float]], list[str]]] = [(beside, []), (alone, ["dispatch.cells_per_node=1"])]
        for found, options in ways if number % 2 else reversed(ways):
            for cell, p50 in sweep([*(overrides or CELLS), *options]).items():
                found.setdefault(cell, []).append(p50)
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    ratios = {}
    print(f"{'cell':<64} {'beside/alone':>12} {'alone':>22}")
    for cell, found in alone.items():
        middle = statistics.median(found)
        ratios[cell] = statistics.median(beside[cell]) / middle
        spread = [p50 / middle for p50 in found]
        print(f"{cell:<64} {ratios[cell]:>12.3f} {min(spread):>12.3f} to {max(spread):.3f}")
    distances = sorted(abs(ratio - 1) for ratio in ratios.values())
    print(f"distance from 1: median {statistics.median(distances):.1%}, worst {distances[-1]:.1%}")


def sweep(arguments: list[str]) -> dict[str, float]:
    """The p50 of each cell that is ok, in ms."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sweep", *arguments, f"hydra.sweep.dir={folder}/run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows = [json.loads(line) for line in (Path(folder) / "run" / "results.jsonl").read_text().splitlines()]
    return {row["id"]: row["latency_ms"]["p50"] for row in rows if row["status"] == "ok"}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:])
