"""Keeps the zygotes of a supervisor, and the nurseries that they come from."""

import json
from collections.abc import Mapping

from sweep import reaper
from sweep.isolate.zygote import MARK, Nursery, Start, Zygote

_Kind = tuple[Start, str]
"""What tells zygotes apart: how they start cells, and the environment that cells see, as JSON."""


class ZygotePool:
    """The zygotes of a supervisor, and the nurseries they come from: one for each environment that cells ask for.

    From its first nursery until it is closed it holds `adoption`, so that its zygotes become this process's children.
    """

    MOST_NURSERIES = 2
    """The one used longest ago goes when there is one more."""

    def __init__(self, adoption: reaper.OrphanAdoption) -> None:
        self._adoption = adoption
        self._adopts = False
        self._nurseries: dict[_Kind, Nursery] = {}
        self._idle: list[tuple[_Kind, Zygote]] = []
        self._busy: dict[Zygote, _Kind] = {}

    def acquire(self, start: Start, environment: Mapping[str, str]) -> Zygote:
        """One that has nothing to do, for cells that see this environment. Raises BadEnvironment, ZygoteLost.

        It is to be given to `release` or to `discard` then.
        """
        kind = (start, json.dumps(environment, sort_keys=True))
        zygote = self._take_idle(kind)
        if zygote is None:
            zygote = self._nursery(kind, environment).zygote()
        self._busy[zygote] = kind
        return zygote

    def _take_idle(self, kind: _Kind) -> Zygote | None:
        """An idle one of a kind. If there is none, all idle ones go, so that there are no more than cells at a time."""
        taken = next((zygote for other, zygote in self._idle if other == kind and zygote.alive), None)
        for _, zygote in self._idle:
            if zygote is not taken and (taken is None or not zygote.alive):
                zygote.close()
        self._idle = [(other, zygote) for other, zygote in self._idle if taken and zygote is not taken and zygote.alive]
        return taken

    def _nursery(self, kind: _Kind, environment: Mapping[str, str]) -> Nursery:
        nursery = self._nurseries.pop(kind, None)
        if nursery and not nursery.alive:
            nursery.close()
            nursery = None
        if nursery is None:
            if not self._adopts:
                self._adoption.hold()
                self._adopts = True
            nursery = Nursery(kind[0], environment)
        self._nurseries[kind] = nursery  # the last is the one used last
        for other in list(self._nurseries)[: -self.MOST_NURSERIES]:
            self._nurseries.pop(other).close()
        return nursery

    def release(self, zygote: Zygote) -> None:
        """Its cell is over: it is idle."""
        self._idle.append((self._busy.pop(zygote), zygote))

    def discard(self, zygote: Zygote) -> None:
        """Close one that was lost, and end what its cell left behind."""
        del self._busy[zygote]
        zygote.close()
        nurseries = [nursery.pid for nursery in self._nurseries.values()]
        zygotes = [other.pid for other in (*self._busy, *(idle for _, idle in self._idle))]
        reaper.end_all(f"{MARK}={zygote.mark}", spare=[*nurseries, *zygotes])

    def close(self) -> None:
        """Close all, and end whatever they left. It can be used again."""
        for _, zygote in self._idle:
            zygote.close()
        for zygote in list(self._busy):
            zygote.close()
        marks = [nursery.mark for nursery in self._nurseries.values()]
        for nursery in self._nurseries.values():
            nursery.close()
        self._idle, self._busy, self._nurseries = [], {}, {}
        for mark in marks:
            reaper.end_all(f"{MARK}={mark}")
        if self._adopts:  # what else this process starts is not ours to adopt
            self._adopts = False
            self._adoption.release()
