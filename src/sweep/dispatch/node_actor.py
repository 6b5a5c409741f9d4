"""What runs on a node for as long as cells are sent there; Ray makes an actor of it."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sweep import isolate
from sweep.cell import Cell
from sweep.evidence import Further
from sweep.isolate import survey
from sweep.plan.inventory import Inventory
from sweep.result import Outcome


def look(declared: Inventory) -> Inventory:
    """What the node that this is called on has, beside what Ray was told of it. Raises BadEnvironment."""
    here = survey.local()
    gpu_missing = declared.gpus and not here.gpus
    return replace(
        here,
        id=declared.id,
        environment=declared.environment,
        node=declared.node,
        cpus=min(here.cpus, declared.cpus),
        # what Ray does not know of, it gives to nobody
        gpus=min(here.gpus, declared.gpus),
        devices=here.devices if declared.gpus else here.devices - {"cuda"},
        labels=declared.labels,
        resources=declared.resources,
        no_gpu=f"{declared.node} offers {declared.gpus:g} GPU to Ray, but torch finds none there: look for its driver"
        if gpu_missing
        else "",
    )


class NodeActor:
    """Supervises the cells of one node, several at a time; every method is called in a thread of its own."""

    def __init__(self, cells: int, shipped_from: str | None, gpus: str = "") -> None:
        """`cells` is how many run at a time, `shipped_from` the folder that the working folder here is a copy of.

        `gpus` are those that another actor holds for this one, as CUDA_VISIBLE_DEVICES names them.
        """
        with suppress(OSError):  # Ray gives its workers a low priority, and times would suffer; only root may undo it
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        self._supervisor = isolate.Supervisor(
            cells=cells,
            gpus=[name for name in visible.split(",") if name],
            shipped=(Path(shipped_from), Path.cwd()) if shipped_from else None,
        )

    def ready(self) -> str:
        """Comes back when the node is there for us, with the GPUs that it gives, as CUDA_VISIBLE_DEVICES has them."""
        return os.environ.get("CUDA_VISIBLE_DEVICES", "")

    def rest(self) -> None:
        """End all processes that wait for a cell, while none is here; compile caches stay for further trials."""
        self._supervisor.rest()

    def run(self, cell: Cell, further: Further) -> Outcome | None:
        """What became of a cell; None if it was told to end."""
        try:
            return isolate.run(cell, self._supervisor, further=further)
        except isolate.Withdrawn:
            return None

    def end(self) -> None:
        """End all that runs."""
        self._supervisor.end()

    def close(self) -> None:
        """Leave nothing behind, now that no cell runs here any more."""
        self._supervisor.close()
