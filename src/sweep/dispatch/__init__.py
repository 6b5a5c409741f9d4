"""Carries ready cells to where they run, and their outcomes back."""

import os
from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from sweep.cell import Cell
from sweep.dispatch.backlog import Backlog
from sweep.plan.inventory import Inventory
from sweep.request.settings import Dispatch
from sweep.result import Outcome
from sweep.runtime_environment import Environment


class Dispatcher(Protocol):
    """Who carries cells to where they run; to be closed in the end, which may take seconds: when all is said."""

    def nodes(self, waits: Callable[[str], None] = lambda _text: None) -> list[Inventory]:
        """What each node has that cells can be sent to, in each environment. While cells run, nodes that join are
        added. Never empty.

        `waits` is called with what takes long. Raises BadEnvironment, CarrierLost.
        """

    def run(
        self, backlog: Backlog, started: Callable[[Cell], None], waits: Callable[[str], None] = lambda _text: None
    ) -> Generator[Outcome, None, None]:
        """Take cells from the backlog until it is empty: an outcome for each, as it comes.

        Never raises for what a cell or its node does. The backlog may change with every outcome. `started` is
        called when a cell goes out, `waits` with what cells wait for, and who has it. Closing the iterator ends what
        still runs. Raises CarrierLost, for which cells without a row can be gone on with.
        """

    @property
    def problems(self) -> Sequence[str]:
        """What a reader should know of what carried the cells, and failed."""

    def close(self) -> None:
        """Let go of what it keeps to run cells, if it has not yet."""


def create(options: Dispatch, environments: Sequence[Environment] = (), *, wants_gpus: bool = False) -> Dispatcher:
    """The dispatcher of that name, with those environments besides the nodes' own: only Ray starts anything in them.

    `wants_gpus` is whether any cell of the sweep does.
    """
    if options.name == "serial":
        from sweep.dispatch.serial import SerialDispatcher

        return SerialDispatcher()
    from sweep.dispatch.connect import restore

    before = dict(os.environ)
    from sweep.dispatch.ray import RayDispatcher

    restore(os.environ, before)  # importing Ray sets one

    return RayDispatcher(options, environments, wants_gpus=wants_gpus)
