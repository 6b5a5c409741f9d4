"""Does a cell measure the same beside others as alone? Sweeps the same cells at full parallelism and one at a time.

For each cell: its p50 at full parallelism over that alone, medians over the rounds, and beneath them the median and the
worst distance from 1. The last line is the same of the rounds alone, every second one over the others: what the machine
itself does, which no sweep can be fairer than.

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
    print(f"beside/alone, distance from 1: {distances(list(ratios.values()))}")
    if rounds > 1:
        halves = [statistics.median(found[::2]) / statistics.median(found[1::2]) for found in alone.values()]
        print(f"alone/alone, distance from 1:  {distances(halves)}")


def distances(ratios: list[float]) -> str:
    """The median and the worst of how far they are from 1."""
    found = sorted(abs(ratio - 1) for ratio in ratios)
    return f"median {statistics.median(found):.1%}, worst {found[-1]:.1%}"


def sweep(arguments: list[str]) -> dict[str, float]:
    """The p50 of each cell that is ok, in ms."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sweep", *arguments, f"hydra.sweep.dir={folder}/run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows = [json.loads(line) for line in (Path(folder) / "run" / "results.jsonl").read_text().splitlines()]
    return {row["id"]: row["latency_ms"]["p50"] for row in rows if row["status"] == "ok"}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:])
