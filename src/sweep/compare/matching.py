"""Which cells of two sweeps are the same, and how the sweeps themselves differ."""

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

QUESTION_FIELDS = (
    "model.config",
    "mode.",
    *(name for name, option in OPTIONS.items() if option.meaning != "never" and name != "model"),
)
"""The fields of `cell.json` that change a cell's id, besides its names: `plan.cells`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRun:
    """A sweep to compare. `rows`, `timings` and `questions` are by the ids of cells.

    `timings` holds the cells whose samples could be read, `questions` the content of `cell.json` of the cells that the
    other run does not have. `planned` are the ids of all cells; `versions` are those in `sweep.json`.
    """

    name: str
    rows: Mapping[str, Result]
    timings: Mapping[str, Timings] = field(default_factory=dict)
    questions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    planned: frozenset[str] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Renamed:
    """Cells with the same names and other ids: their options differ. `differs` says which, where that is known."""

    base: tuple[Result, ...]
    new: tuple[Result, ...]
    differs: tuple[str, ...]


def ok_in_both(base: ComparedRun, new: ComparedRun) -> list[str]:
    """Ids of the cells that are ok in both: only their times are compared."""
    return [
        id_
        for id_, row in base.rows.items()
        if id_ in new.rows and row.status is Status.OK and new.rows[id_].status is Status.OK
    ]


def unlike_hardware(base: ComparedRun, new: ComparedRun) -> Counter[tuple[str, str]]:
    """How many cells ran on other hardware than in the base, by both. Cells that did not run are left out."""
    counts: Counter[tuple[str, str]] = Counter()
    for id_, row in base.rows.items():
        other = new.rows.get(id_)
        if other is None:
            continue
        if row.fingerprint and other.fingerprint:
            unlike = row.fingerprint != other.fingerprint
        else:
            unlike = bool(row.hardware and other.hardware and row.hardware != other.hardware)
        if unlike:
            counts[_hardware(row), _hardware(other)] += 1
    return counts


def _hardware(row: Result) -> str:
    return one_line(row.hardware or "unknown hardware") + (f" [{row.fingerprint}]" if row.fingerprint else "")


def renamed(
    vanished: Sequence[Result], appeared: Sequence[Result], base: ComparedRun, new: ComparedRun
) -> Iterator[Renamed]:
    """The cells among `vanished` and `appeared` that have the same names in both sweeps."""
    by_name: dict[tuple[object, ...], tuple[list[Result], list[Result]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((vanished, appeared)):
        for row in rows:
            by_name[row.model, row.conversion, row.device, row.batch_size][side].append(row)
    for before, now in by_name.values():
        if before and now:
            known = len(before) == len(now) == 1 and before[0].id in base.questions and now[0].id in new.questions
            differs = list(_differences(base.questions[before[0].id], new.questions[now[0].id])) if known else []
            yield Renamed(base=tuple(before), new=tuple(now), differs=tuple(differs))


def _differences(base: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """`measure.processes 3 → 1` for every option that differs."""
    before, now = dict(flat(base)), dict(flat(new))
    for name in dict.fromkeys([*before, *now]):
        if name.startswith(QUESTION_FIELDS) and before.get(name) != now.get(name):
            yield f"{name} {_as_text(before.get(name))} → {_as_text(now.get(name))}"


def _as_text(value: object) -> str:
    return one_line(json.dumps(value), 60)


def versions(base: ComparedRun, new: ComparedRun) -> list[str]:
    """`torch 2.13.0 → 2.14.0` for every version that changed."""
    return version_changes(_installed(base), _installed(new))


def _installed(run: ComparedRun) -> dict[str, str]:
    """Versions by name, as rows have them; `A/B` where those of nodes differ."""
    seen: dict[str, set[str]] = defaultdict(set)
    for row in run.rows.values():
        for name, version in row.versions.items():
            seen[name].add(version)
    return {**run.versions, **{name: "/".join(sorted(versions)) for name, versions in seen.items()}}
