"""Does the interval of the median hold? Runs the same cells again and again, each time as a sweep of its own would.

For each cell it prints how many of the repeats' 95 % intervals hold the median of all repeats' medians, for the
latency and for the speed-up, how far apart the repeats came out, and the latency of each with its interval.

    .venv/bin/python scripts/bench/interval.py [REPEATS] [OVERRIDES…]
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence

from sweep import isolate
from sweep.cell import Cell
from sweep.isolate import survey
from sweep.plan import validate
from sweep.plan.cells import expand
from sweep.request.compose import compose
from sweep.result import Result

CELLS = ("+model=mlp,resnet", "conversion=EAGER,ONNX_CPU")


def main(repeats: int, asked: Sequence[str]) -> None:
    print(f"{repeats} repeats of each; an interval holds if the median of the repeats' medians lies in it")
    print(f"{'cell':<24} {'latency holds':>14} {'speed-up holds':>15} {'spread of medians':>18} {'noisy rows':>11}")
    for cell in _cells(asked or CELLS):
        rows = []
        for _ in range(repeats):
            with isolate.Supervisor() as supervisor:  # another each time, so that none is forked from the same process
                rows.append(isolate.run(cell, supervisor).result)
        print(_line(cell, rows))
        print(
            *(
                f"  {row.latency_ms.p50_low:.4g} {row.latency_ms.p50:.4g} {row.latency_ms.p50_high:.4g}"
                for row in rows
                if row.latency_ms
            ),
            sep="\n",
            flush=True,
        )


def _cells(asked: Sequence[str]) -> list[Cell]:
    with tempfile.TemporaryDirectory() as folder:
        composed = compose([*asked, f"hydra.sweep.dir={folder}/run"])
    assert composed is not None
    here = survey.local()
    return validate.split_by_eligibility(expand(composed[0], here.modes), [here])[0]


def _line(cell: Cell, rows: list[Result]) -> str:
    latencies = [row.latency_ms for row in rows if row.latency_ms]
    speedups = [row.speedup for row in rows if row.speedup]
    middle = statistics.median(latency.p50 for latency in latencies)
    ratio = statistics.median(speedup.value for speedup in speedups)
    holds = sum(latency.p50_low <= middle <= latency.p50_high for latency in latencies)
    ratio_holds = sum(speedup.low <= ratio <= speedup.high for speedup in speedups)
    spread = (max(latency.p50 for latency in latencies) - min(latency.p50 for latency in latencies)) / middle
    noisy = sum("noisy" in row.message for row in rows)
    name = f"{cell.model.name} {cell.conversion}"
    return f"{name:<24} {f'{holds}/{len(rows)}':>14} {f'{ratio_holds}/{len(rows)}':>15} {spread:>18.1%} {noisy:>11}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2:])
