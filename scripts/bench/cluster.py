"""Does a cluster stay busy? Sweeps cells that sleep for a second on 1, 2, 4 and 8 simulated nodes of one CPU each.

For each size: the share of the ideal, which is the cells' sleep divided by the nodes, from when every node is up until
one finds nothing left to do; and the share of the nodes' time for which a cell was there. The nodes are Ray's own
simulation, all on this machine, so that 8 of them want 8 cells' CPU time of its CPUs.

    .venv/bin/python scripts/bench/cluster.py [CELLS A NODE: 30]
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sweep.cell import Model
from sweep.dispatch.backlog import Backlog
from sweep.isolate.guard import Guard
from sweep.plan import validate
from sweep.plan.cells import expand
from sweep.plan.inventory import all_modes
from sweep.request.compose import compose
from sweep.request.settings import Dispatch

MODEL = """
import time, torch
class Sleepy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        time.sleep(1)
        self.layer = torch.nn.Linear(8, 8)
    def forward(self, x):
        return self.layer(x)
"""


def main(cells_a_node: int) -> None:
    os.environ["RAY_AUTH_MODE"] = "disabled"  # before Ray is imported: the nodes listen to this machine alone
    guard = Guard("SWEEP_CLUSTER")
    os.environ.update(guard.mark)
    print(f"{'nodes':>5} {'cells':>6} {'seconds':>8} {'of the ideal':>13} {'slots busy':>11}")
    try:
        for nodes in (1, 2, 4, 8):
            one_size(nodes, cells_a_node * nodes)
    finally:
        guard.close()


def one_size(count: int, cells: int) -> None:
    from ray.cluster_utils import Cluster

    from sweep.dispatch.ray import RayDispatcher

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(count - 1):
        cluster.add_node(num_cpus=1)
    with tempfile.TemporaryDirectory() as folder:
        dispatcher = RayDispatcher(Dispatch(address=cluster.address))
        nodes = dispatcher.nodes()
        ready, _ = validate.split_by_eligibility(expand(_requests(Path(folder), cells), all_modes(nodes)), nodes)
        started: dict[str, float] = {}
        ended: dict[str, float] = {}
        # the first cell of a node waits for the node's actor and imports torch: one each, which are not counted
        warming = {cell.id for cell in ready[:count]}
        backlog = Backlog(ready, 0)
        for outcome in dispatcher.run(backlog, lambda cell: started.setdefault(cell.id, time.monotonic())):
            assert outcome.result.status == "ok", outcome.result.message
            ended[outcome.result.id] = time.monotonic()
            backlog.ended(outcome)
    cluster.shutdown()
    first = max(ended[id_] for id_ in warming)  # from here on every node is up
    last_busy = sorted(ended.values())[-count]  # until the first node finds nothing left
    span = last_busy - first
    spans = [(max(started[id_], first), min(ended[id_], last_busy)) for id_ in ended]
    busy = sum(max(0.0, end - begin) for begin, end in spans)
    asleep = sum(max(0.0, min(1.0, end - begin)) for begin, end in spans)
    print(f"{count:>5} {cells:>6} {span:>8.1f} {asleep / span / count:>13.1%} {busy / span / count:>11.1%}", flush=True)


def _requests(folder: Path, cells: int) -> list[Any]:
    (folder / "sleepy.py").write_text(MODEL)
    composed = compose(
        [
            *("+model=mlp", "conversion=EAGER", f"seed=range(0,{cells})", "measure=quick", "threads=1"),
            *(f"measure.{name}=0" for name in ("seconds", "block_seconds", "max_warmup_seconds", "verify_after_calls")),
            f"hydra.sweep.dir={folder}/run",
        ]
    )
    assert composed is not None
    from dataclasses import replace

    model = Model(name="sleepy", config={"_target_": "sleepy.Sleepy", "input": {"shape": [8]}})
    return [replace(asked, model=model, python_path=(str(folder),)) for asked in composed[0]]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
