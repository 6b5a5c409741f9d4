"""From requests to the cells of a sweep, and which of them can run where; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sweep.cell import Cell, Mode, Request
from sweep.errors import BadRequest
from sweep.plan import registry, rules, validate
from sweep.plan.cells import conversions, expand
from sweep.plan.inventory import Inventory, all_modes
from sweep.plan.registry import Registered
from sweep.plan.rules import EVERY_CELL, Grid
from sweep.result import Result
from sweep.status import Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The cells of a sweep in the order of its requests: those `ready` to run on some node, and rows of the `refused`.

    `doubts` are messages to show before anything runs.
    """

    cells: Sequence[Cell]
    ready: Sequence[Cell]
    refused: Sequence[Result]
    doubts: Sequence[str]

    def without(self, rows: Sequence[Result]) -> "Plan":
        """The plan without the cells that have one of these rows already."""
        done = {row.id for row in rows}
        ready = [cell for cell in self.ready if cell.id not in done]
        return replace(self, ready=ready, refused=[row for row in self.refused if row.id not in done])

    def refuse_invalid(self) -> None:
        """Raise BadRequest with the messages of all `invalid` rows, if there are any."""
        if invalid := [row for row in self.refused if row.status is Status.INVALID]:
            raise BadRequest(*dict.fromkeys(row.message for row in invalid))


def make(
    requests: Sequence[Request],
    nodes: Sequence[Inventory],
    grid: Grid = EVERY_CELL,
    registered: Mapping[str, Registered] | None = None,
    *,
    may_come: bool = False,
) -> Plan:
    """The plan of a sweep on these nodes, with the conversions that its configuration registers.

    `may_come` is whether cells wait for nodes that are not there yet. Raises BadRequest with every problem.
    """
    modes = _modes(nodes, registered or {})
    rules.refuse_unknown_conversions(grid, requests, modes)
    cells = expand(requests, modes, grid)
    if not cells:
        raise BadRequest("nothing to run: the conversions asked for select no mode")
    ready, refused = validate.split_by_eligibility(cells, nodes, modes, may_come=may_come)
    named = ((request, conversions(request, modes)) for request in requests)
    return Plan(cells=cells, ready=ready, refused=refused, doubts=rules.unused_conditions(grid, named, modes))


def _modes(nodes: Sequence[Inventory], registered: Mapping[str, Registered]) -> dict[str, Mode]:
    """The modes of the nodes and those that the configuration registers. Raises BadRequest for a name that is taken."""
    known = all_modes(nodes)
    try:
        return known | registry.modes_of_registered(registered, known, "configuration")
    except ValueError as error:
        raise BadRequest(*(f"register: {problem}" for problem in str(error).split("; "))) from error
