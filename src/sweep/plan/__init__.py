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
from sweep.result import Result, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Every cell in the order it was asked for: those that are `ready` to run somewhere, and rows of the `refused`.

    `doubts` is what should be said before anything runs.
    """

    cells: Sequence[Cell]
    ready: Sequence[Cell]
    refused: Sequence[Result]
    doubts: Sequence[str]

    def without(self, rows: Sequence[Result]) -> "Plan":
        """The plan with what is still to be done where these rows are there already."""
        done = {row.id for row in rows}
        ready = [cell for cell in self.ready if cell.id not in done]
        return replace(self, ready=ready, refused=[row for row in self.refused if row.id not in done])

    def refuse_invalid(self) -> None:
        """Raise BadRequest with all that makes no sense anywhere, if anything does not."""
        if invalid := [row for row in self.refused if row.status is Status.INVALID]:
            raise BadRequest(*dict.fromkeys(row.message for row in invalid))


def make(
    requests: Sequence[Request],
    nodes: Sequence[Inventory],
    grid: Grid = EVERY_CELL,
    registered: Mapping[str, Registered] | None = None,
) -> Plan:
    """The plan of a sweep on these nodes, with the conversions that its configuration registers.

    Raises BadRequest with all that keeps it from being one.
    """
    modes = _modes(nodes, registered or {})
    rules.refuse_unknown(grid, requests, modes)
    cells = expand(requests, modes, grid)
    if not cells:
        raise BadRequest("nothing to run: the conversions asked for select no mode")
    ready, refused = validate.split(cells, nodes, modes)
    asked = ((request, conversions(request, modes)) for request in requests)
    return Plan(cells=cells, ready=ready, refused=refused, doubts=rules.unmet(grid, asked, modes))


def _modes(nodes: Sequence[Inventory], registered: Mapping[str, Registered]) -> dict[str, Mode]:
    """What nodes have and the configuration registers. Raises BadRequest where that takes the name of another."""
    known = all_modes(nodes)
    try:
        return known | registry.own(registered, known, "configuration")
    except ValueError as error:
        raise BadRequest(*(f"register: {problem}" for problem in str(error).split("; "))) from error
