"""What changed between a sweep and its resumption: the plan, the versions, and which rows run again."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sweep.cell import Cell
from sweep.plan.inventory import environment_changes, version_changes
from sweep.result import Result
from sweep.status import Reason, Status


def refusals(before: Mapping[str, Any], cells: Sequence[Cell], now: Mapping[str, Any]) -> list[str]:
    """Why the sweep that `before` (its `sweep.json`) describes cannot go on with these cells and on what is there now,
    if so; of `now` its `versions` and `environments` count.
    """
    return [*_plan_changes(before["plan"], cells), *_version_changes(before, now)]


def _plan_changes(planned_before: Sequence[str], cells: Sequence[Cell]) -> list[str]:
    old, new = dict.fromkeys(planned_before), dict.fromkeys(cell.id for cell in cells)
    fewer, more = [id_ for id_ in old if id_ not in new], [id_ for id_ in new if id_ not in old]
    if not fewer and not more:
        return []
    counts = [f"{len(ids)} cells {how}, such as {ids[0]}" for ids, how in ((fewer, "fewer"), (more, "more")) if ids]
    return [f"the plan changed: {', '.join(counts)}; resume_anyway=true goes on with the new one"]


def _version_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    changed = version_changes(before.get("versions", {}), now.get("versions", {}))
    changed += environment_changes(before.get("environments", {}), now.get("environments", {}))
    if not changed:
        return []
    return [f"versions changed, so rows would not compare: {', '.join(changed)}; resume_anyway=true mixes them"]


def runs_again(row: Result, retry: Sequence[str], planned: Collection[str]) -> bool:
    """Whether a resumed sweep runs the cell of a row again; `retry` holds statuses and reasons, `planned` ids."""
    if row.id not in planned or row.reason in {Reason.INTERRUPTED, Reason.EXCLUDED}:  # rules are of the request
        return True
    if row.reason is Reason.EAGER_FAILS and {
        Status.CRASHED,
        Status.INVALID,
        Reason.BAD_MODEL,
        Reason.BAD_DATA,
    }.intersection(retry):
        return True  # what was not tried because another cell failed depends on that cell
    return row.status in retry or row.reason in retry
