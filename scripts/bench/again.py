"""Does a comparison raise an alarm where nothing changed, and does it find what did? Sweeps the same cells again.

A pair is two sweeps of nothing new; in a third one a single conversion, SLOWED, works a twentieth longer than the
unconverted model. It prints what `sweep.compare` calls slower or faster: nothing between the first two is, and SLOWED
is between the first and the third. Beside that stands what latencies did meanwhile, which comparing them would have
told: how far p50 of a cell moved at most, and how far the speed-ups of a model moved together, by which controls
differ. At the end it counts.

    .venv/bin/python scripts/bench/again.py [PAIRS: 3] [OVERRIDES…]
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SLOWED, MORE = "SLOWED", "SWEEP_AGAIN_MORE"
"""The conversion, and the environment variable that says by which share it works longer."""

SHARE = 0.05
CELLS = (
    "+model=mlp,resnet",
    f"conversion=EAGER,EXPORT+EAGER,JIT_TRACE,ONNX_CPU,COMPILE_INDUCTOR_DEFAULT,{SLOWED}",
    "dispatch=serial",
)
REGISTER = (
    f"+register.{SLOWED}={{target:again.slowed,engine:eager}}",
    f"isolate.env=[{MORE}]",
)


def slowed(model: Callable[[Any], Any], data: Any) -> Callable[[Any], Any]:
    """The conversion: the unconverted model, and then work that takes the share MORE of what it takes itself.

    How much work that is, is found out once; so it feels the machine as the model does.
    """
    import torch

    with torch.no_grad():
        seconds = fastest(lambda: model(data), 200)
    steps = round(float(os.environ[MORE]) * seconds / (fastest(lambda: spin(100_000), 20) / 100_000))

    def call(x: Any) -> Any:
        output = model(x)
        spin(steps)
        return output

    return call


def spin(steps: int) -> None:
    for _ in range(steps):
        pass


def fastest(work: Callable[[], Any], times: int) -> float:
    """The lower quartile of the seconds that some work takes: a conversion may run beside something else."""
    from time import perf_counter

    found = []
    for _ in range(times):
        began = perf_counter()
        work()
        found.append(perf_counter() - began)
    return statistics.quantiles(found, n=4)[0]


def main(pairs: int, overrides: list[str]) -> None:
    alarms, told_wrong, found, slow_cells = 0, 0, 0, 0
    for number in range(1, pairs + 1):
        with tempfile.TemporaryDirectory() as folder:
            runs = {name: f"{folder}/{name}" for name in ("base", "again", "slowed")}
            for name, run in runs.items():
                sweep(run, SHARE if name == "slowed" else 0.0, overrides)
            same, changed = (compare(runs["base"], runs[name], f"{folder}/said.json") for name in ("again", "slowed"))
        print(f"pair {number} of {pairs}")
        show("nothing new", same)
        show(f"{SLOWED} works {SHARE:.0%} longer", changed)
        wrong = [cell for cell in told(changed) if cell["conversion"] != SLOWED]
        alarms += same["regressed"]
        told_wrong += len(told(same)) + len(wrong)
        slow_cells += sum(cell["conversion"] == SLOWED for cell in cells(changed))
        found += sum(cell["verdict"] == "slower" and cell["conversion"] == SLOWED for cell in cells(changed))
    print(f"pairs of nothing new with an alarm (exit 1): {alarms} of {pairs}")
    print(f"cells told slower or faster that did not change: {told_wrong}")
    print(f"cells of {SLOWED} that were found: {found} of {slow_cells}")


def sweep(run: str, share: float, overrides: Iterable[str]) -> None:
    here = str(Path(__file__).parent)
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "sweep", *CELLS, *REGISTER, *overrides, f"hydra.sweep.dir={run}"]
    environment = {**os.environ, "PYTHONPATH": path, MORE: str(share)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def compare(base: str, new: str, output: str) -> dict[str, Any]:
    """What `sweep.compare` says, as JSON has it, of one sweep against another."""
    command = [sys.executable, "-m", "sweep.compare", base, new, "--format=json", f"--output={output}"]
    ended = subprocess.run(command, check=False)
    said: dict[str, Any] = json.loads(Path(output).read_text())
    assert ended.returncode == said["regressed"], f"it ended with {ended.returncode}"
    return said


def cells(said: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = said["against"][0]["timed"]
    return found


def told(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in cells(said) if cell["verdict"] in {"slower", "faster"}]


def show(title: str, said: dict[str, Any]) -> None:
    print(f"  {title}: {'an alarm' if said['regressed'] else 'no alarm'}")
    for row in said["against"][0]["changed"]:
        print(f"    {row['model']} {row['conversion']}: {row['base']}, then {row['new']}")
    for cell in cells(said):
        interval = (
            f"{cell['low']:.3f} to {cell['high']:.3f}, p {cell['p']:.2g}" if cell["p"] is not None else cell["why_not"]
        )
        if cell["verdict"] != "no difference" or cell["conversion"] == SLOWED:
            name = f"{cell['model']} {cell['conversion']}"
            print(f"    {name:<32} {cell['verdict']:<14} {cell['ratio']:.3f} ({interval})")
    for model in sorted({cell["model"] for cell in cells(said)}):
        of = [cell for cell in cells(said) if cell["model"] == model]
        moved = max((cell["p50_ratio"] for cell in of), key=lambda ratio: abs(math.log(ratio)))
        shift = statistics.median(cell["ratio"] for cell in of)
        eager = statistics.median(cell["eager_ratio"] for cell in of)
        apart = statistics.median(abs(math.log(cell["ratio"] / shift)) for cell in of)
        print(
            f"    {model}: eager moved by {eager:.3f}, p50 by {moved:.3f} at most; speed-ups by {shift:.3f} together, "
            f"and {apart:.1%} from that (medians)"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:])
