"""A model against itself: does the 95 % interval of its speed-up hold 1, and how wide is it?

Sweeps EAGER alone, of each model with several seeds, each a cell and a control of its own. It prints for each model
how many intervals hold 1, the median of their half-widths, and how far single trials are from 1. With `busy` a
neighbour keeps one CPU busy all the while, and rows that say that they were disturbed are counted apart.

    .venv/bin/python scripts/bench/same.py [SEEDS: 20] [busy] [OVERRIDES…]
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MODELS = ("mlp", "mobilenet", "resnet")

NEIGHBOUR = """
import signal
from sweep import reaper
reaper.end_with_parent(signal.SIGKILL)
while True:
    pass
"""


def main(seeds: int, *, busy: bool, overrides: list[str]) -> None:
    neighbour = subprocess.Popen([sys.executable, "-c", NEIGHBOUR]) if busy else None
    try:
        rows = swept(seeds, overrides)
    finally:
        if neighbour:
            neighbour.kill()
            neighbour.wait()
    print("model         cells  hold 1  half-width  trials  sd of trials  disturbed")
    for model in dict.fromkeys(row["model"] for row in rows):
        show(model, [row for row in rows if row["model"] == model])
    show("all", rows)


def swept(seeds: int, overrides: list[str]) -> list[dict[str, Any]]:
    """The rows of one sweep: a cell for each model and seed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sweep", f"+model={','.join(MODELS)}", "conversion=EAGER"]
        command += [f"seed={','.join(map(str, range(seeds)))}", "-m", *overrides, f"hydra.sweep.dir={folder}/run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = (Path(folder) / "run" / "results.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["speedup"]]


def show(name: str, rows: list[dict[str, Any]]) -> None:
    judged = [row["speedup"] for row in rows if row["quality"] != "disturbed"]
    if not judged:
        print(f"{name:<12} {len(rows):>6}  all disturbed")
        return
    hold = sum(speedup["low"] <= 1 <= speedup["high"] for speedup in judged)
    width = statistics.median(math.log(speedup["high"] / speedup["low"]) / 2 for speedup in judged)
    trials = statistics.median(speedup["trials"] for speedup in judged)
    logs = [[math.log(q["value"]) for q in speedup["quotients"] if not q["disturbed"]] for speedup in judged]
    squares = [value**2 for of_row in logs for value in of_row]  # around 0, which is true
    spread = math.sqrt(statistics.fmean(squares)) if squares else math.nan
    print(
        f"{name:<12} {len(rows):>6} {hold / len(judged):>7.0%} {width:>11.1%} {trials:>7.0f} {spread:>13.1%} "
        f"{len(rows) - len(judged):>10}"
    )


if __name__ == "__main__":
    asked = sys.argv[1:]
    count = int(asked.pop(0)) if asked and asked[0].isdigit() else 20
    with_neighbour = "busy" in asked
    main(count, busy=with_neighbour, overrides=[argument for argument in asked if argument != "busy"])
