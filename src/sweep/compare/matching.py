"""Which cells of two sweeps are the same question, and how the sweeps themselves differ."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweep.cell import OPTIONS
from sweep.compare.significance import Timings
from sweep.plan.inventory import version_changes
from sweep.reading import flat, one_line
from sweep.result import Result, Status

ASKED = (
    "model.config",
    "mode.",
    *(name for name, option in OPTIONS.items() if option.meaning != "never" and name != "model"),
)
"""What of a cell its id stands for, besides its names: `plan.cells`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRun:
    """A sweep to compare: its rows, and what they alone do not tell, each by a cell's id.

    `timings` has those whose samples could be read, `asked` what a cell asked (its `cell.json`) where that may be
    wanted; `planned` are the ids of all cells, `versions` what `sweep.json` says of them.
    """

    name: str
    rows: Mapping[str, Result]
    timings: Mapping[str, Timings] = field(default_factory=dict)
    asked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    planned: frozenset[str] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Renamed:
    """Cells of one name under other ids: not the same was asked. `differs` says what, where that is known."""

    base: tuple[Result, ...]
    new: tuple[Result, ...]
    differs: tuple[str, ...]


def proved(base: ComparedRun, new: ComparedRun) -> list[str]:
    """Ids of the cells that are ok in both: only their times are compared."""
    return [
        id_
        for id_, row in base.rows.items()
        if id_ in new.rows and row.status is Status.OK and new.rows[id_].status is Status.OK
    ]


def unlike_hardware(base: ComparedRun, new: ComparedRun) -> Counter[tuple[str, str]]:
    """How many cells ran on what in the base, and on what else now. Of what did not run, nothing is known."""
    found: Counter[tuple[str, str]] = Counter()
    for id_, row in base.rows.items():
        other = new.rows.get(id_)
        if other is None:
            continue
        if row.fingerprint and other.fingerprint:
            unlike = row.fingerprint != other.fingerprint
        else:
            unlike = bool(row.hardware and other.hardware and row.hardware != other.hardware)
        if unlike:
            found[_hardware(row), _hardware(other)] += 1
    return found


def _hardware(row: Result) -> str:
    return one_line(row.hardware or "unknown hardware") + (f" [{row.fingerprint}]" if row.fingerprint else "")


def renamed(
    vanished: Sequence[Result], appeared: Sequence[Result], base: ComparedRun, new: ComparedRun
) -> Iterator[Renamed]:
    by_name: dict[tuple[object, ...], tuple[list[Result], list[Result]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((vanished, appeared)):
        for row in rows:
            by_name[row.model, row.conversion, row.device, row.batch_size][side].append(row)
    for before, now in by_name.values():
        if before and now:
            known = len(before) == len(now) == 1 and before[0].id in base.asked and now[0].id in new.asked
            differs = list(_differs(base.asked[before[0].id], new.asked[now[0].id])) if known else []
            yield Renamed(base=tuple(before), new=tuple(now), differs=tuple(differs))


def _differs(base: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """`measure.processes 3 → 1` for every part of the question that is not the same."""
    before, now = dict(flat(base)), dict(flat(new))
    for name in dict.fromkeys([*before, *now]):
        if name.startswith(ASKED) and before.get(name) != now.get(name):
            yield f"{name} {_said(before.get(name))} → {_said(now.get(name))}"


def _said(value: object) -> str:
    return one_line(json.dumps(value), 60)


def versions(base: ComparedRun, new: ComparedRun) -> list[str]:
    """`torch 2.13.0 → 2.14.0` for every version that is not what it was."""
    return version_changes(_installed(base), _installed(new))


def _installed(run: ComparedRun) -> dict[str, str]:
    """Versions by name, as rows have them; several, where nodes differ, with strokes between."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in run.rows.values():
        for name, version in row.versions.items():
            found[name].add(version)
    return {**run.versions, **{name: "/".join(sorted(versions)) for name, versions in found.items()}}
