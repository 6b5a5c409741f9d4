"""Which cells of two sweeps are the same, and how the sweeps themselves differ."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sweep.cell import OPTIONS, asked
from sweep.plan.inventory import environment_changes, version_changes
from sweep.reading import flat, one_line
from sweep.result import Quotient, Result
from sweep.status import Status
from sweep.user_data import ASKED, JUDGED_BY

HOW = (*(name for name, option in OPTIONS.items() if option.meaning == "never" and option.recorded), *JUDGED_BY)
"""Options that say how a cell is measured and judged: where they differ, the question is still the same."""

WHAT = (
    *("model.config", "mode.", "environment.name"),
    *(name for name, option in OPTIONS.items() if option.meaning != "never" and name != "model"),
)
"""The fields of `cell.json` that change what is asked, besides its names: `plan.cells`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRun:
    """A sweep to compare. `rows`, `quotients` and `questions` are by the ids of cells.

    `quotients` are what trials found of those cells whose rows do not say it, `questions` the content of `cell.json` of
    those cells that have one. `planned` are the ids of all cells; `versions` and `environments` are those in
    `sweep.json`.
    """

    name: str
    rows: Mapping[str, Result]
    quotients: Mapping[str, Sequence[Quotient]] = field(default_factory=dict)
    questions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    planned: frozenset[str] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    environments: Mapping[str, Any] = field(default_factory=dict)

    def quotients_of(self, id_: str) -> Sequence[Quotient]:
        """What the trials of a cell found; nothing where that is not known."""
        speedup = self.rows[id_].speedup
        return (speedup and speedup.quotients) or self.quotients.get(id_, ())


@dataclass(frozen=True, kw_only=True, slots=True)
class Renamed:
    """Cells with the same names and other ids: their options differ. `differs` says which, where that is known."""

    base: tuple[Result, ...]
    new: tuple[Result, ...]
    differs: tuple[str, ...]


def aligned(base: ComparedRun, new: ComparedRun) -> ComparedRun:
    """The new sweep with the ids of the base for cells that ask the same: what makes an id changed once.

    Cells without an id in common are matched by what their `cell.json` asks, or their rows where one has no such file;
    where several ask the same, none of them is.
    """
    ids = dict(_matched(base, new, _question))
    for now, before in _matched(_without(base, ids.values()), _without(new, ids), _row_question):
        if not (before in base.questions and now in new.questions):  # or their questions differ
            ids[now] = before
    return replace(
        new,
        rows={ids.get(id_, id_): row for id_, row in new.rows.items()},
        questions={ids.get(id_, id_): question for id_, question in new.questions.items()},
        planned=frozenset(ids.get(id_, id_) for id_ in new.planned),
    )


def _without(run: ComparedRun, ids: Collection[str]) -> ComparedRun:
    return replace(run, rows={id_: row for id_, row in run.rows.items() if id_ not in ids})


_Ask = Callable[[ComparedRun, str], Hashable | None]


def _matched(base: ComparedRun, new: ComparedRun, ask: _Ask) -> Iterator[tuple[str, str]]:
    """The ids (new, base) of cells of one sweep only that alone ask the same; `ask` says what, None if nothing does."""
    befores = _by_question(base, base.rows.keys() - new.rows.keys() - new.planned, ask)
    nows = _by_question(new, new.rows.keys() - base.rows.keys() - base.planned, ask)
    for question, ids in nows.items():
        if len(ids) == len(befores.get(question, ())) == 1:
            yield ids[0], befores[question][0]


def _by_question(run: ComparedRun, ids: Iterable[str], ask: _Ask) -> dict[Hashable, list[str]]:
    found = defaultdict(list)
    for id_ in ids:
        if (question := ask(run, id_)) is not None:
            found[question].append(id_)
    return found


def _question(run: ComparedRun, id_: str) -> Hashable | None:
    """What the `cell.json` of a cell asks."""
    cell = run.questions.get(id_)
    if cell is None:
        return None
    own = _label(cell.get("mode"))
    device = {name: value for name, value in _part(cell, "device").items() if value and name not in {"known", "near"}}
    model = _part(cell, "model")
    data = {name: value for name, value in _part(cell, "data").items() if name in ASKED}
    plain = [cell.get(name) for name in ("conversion", "batch_size", "threads", "seed", "cache")]
    newer = [data, cell.get("dynamic") or False, _part(cell, "environment").get("name")]  # earlier versions have none
    question = [model.get("name"), model.get("config"), device, own, *plain, *newer]
    return _duplicate(id_), json.dumps(question, sort_keys=True)


def _part(cell: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = cell.get(name)
    return part if isinstance(part, dict) else {}


def _label(mode: Any) -> list[Any] | None:
    """What a conversion that is not alma's says of itself; alma's say it by their names."""
    if not isinstance(mode, dict) or not mode.get("target"):
        return None
    return [mode.get(name) for name in ("target", "dtype", "precision", "engine")]


def _row_question(run: ComparedRun, id_: str) -> Hashable:
    """What a row tells of what was asked."""
    row = run.rows[id_]
    options = tuple(sorted(asked(row.overrides).items()))
    return _duplicate(id_), row.model, row.conversion, row.device, row.batch_size, row.threads, row.environment, options


def _duplicate(id_: str) -> str:
    """The number of a cell that asks what another one did before: `plan.cells`."""
    return id_.partition("~")[2]


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
    for number, rows in enumerate((vanished, appeared)):
        for row in rows:
            by_name[row.model, row.conversion, row.device, row.batch_size][number].append(row)
    for before, now in by_name.values():
        if before and now:
            known = len(before) == len(now) == 1 and before[0].id in base.questions and now[0].id in new.questions
            questions = (base.questions[before[0].id], new.questions[now[0].id]) if known else ({}, {})
            yield Renamed(base=tuple(before), new=tuple(now), differs=tuple(_differences(*questions, WHAT)))


def measured_otherwise(base: ComparedRun, new: ComparedRun) -> Counter[str]:
    """`measure.trials 1 → 3` for each option in which cells of both were measured or judged otherwise, and how many.

    It is told from `cell.json`, or from what the rows say was set where a cell has no such file on a side.
    """
    counts: Counter[str] = Counter()
    for id_ in base.rows.keys() & new.rows.keys():
        if id_ in base.questions and id_ in new.questions:
            counts.update(_differences(base.questions[id_], new.questions[id_], HOW))
        else:
            counts.update(_differences(_set(base.rows[id_]), _set(new.rows[id_]), HOW))
    return counts


def _set(row: Result) -> dict[str, Any]:
    return {name: value for name, value in row.overrides.items() if name.startswith(HOW)}


def _differences(base: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    """`measure.trials 1 → 3` for every option that differs and has one of these names, or is inside it."""
    before, now = dict(flat(base)), dict(flat(new))
    for name in dict.fromkeys([*before, *now]):
        told = name.startswith(names) and not name.endswith(".source")  # where a tolerance is from
        if told and before.get(name) != now.get(name):
            yield f"{name} {_as_text(before, name)} → {_as_text(now, name)}"


def _as_text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name, "absent")
    return one_line(value if isinstance(value, str) else json.dumps(value), 60)


def versions(base: ComparedRun, new: ComparedRun) -> list[str]:
    """`torch 2.13.0 → 2.14.0` for every version that changed, and what did in environments."""
    changed = version_changes(_installed(base), _installed(new))
    return changed + [
        change
        for change in environment_changes(base.environments, new.environments)
        if not change.endswith(tuple(changed))
    ]


def _installed(run: ComparedRun) -> dict[str, str]:
    """Versions by name, as rows have them that ran in their node's own environment; `A/B` where nodes differ."""
    seen: dict[str, set[str]] = defaultdict(set)
    for row in (row for row in run.rows.values() if row.environment is None):
        for name, version in row.versions.items():
            seen[name].add(version)
    return {**run.versions, **{name: "/".join(sorted(versions)) for name, versions in seen.items()}}
