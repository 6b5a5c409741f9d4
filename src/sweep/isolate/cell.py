"""Runs a cell in processes of its own, one after the other, and makes its row of how they ended."""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from sweep import inputs
from sweep.cell import Cell, Phase
from sweep.errors import BadEnvironment
from sweep.evidence import Evidence, Exit, Further, Sampled, ShapeCheck, Trial
from sweep.isolate import environment, files, survey
from sweep.isolate.control import Control, ControlFailed, ControlLost
from sweep.isolate.output import Echo
from sweep.isolate.process import Slot, Watch
from sweep.isolate.supervisor import Supervisor
from sweep.isolate.zygote import NotBegun, ZygoteLost
from sweep.reading import one_line
from sweep.result import Outcome, not_run
from sweep.status import Reason
from sweep.verdict import crash, judge

FIRST = Further()

FEWEST_BLOCKS = 5
"""Blocks of a control that is measured alone."""


def run(cell: Cell, supervisor: Supervisor, echo: Echo | None = None, further: Further = FIRST) -> Outcome:
    """The row of a cell and the files of its folder. Never raises for anything the cell does; Withdrawn if told to end.

    What the cell prints is given to `echo` as it comes. The row is of the earlier trials in `further`, too.
    """
    if cell.device.kind != "cpu":  # what drives a GPU does not survive a fork, and libraries start it when imported
        cell = replace(cell, start="spawn")
    trials = list(further.earlier)
    shared = False
    try:
        with (
            supervisor.slot(cell, echo) as (slot, gpu),
            supervisor.scratch.folder(cell.id, fresh=not trials, keep=cell.measure.budget > 0) as folder,
        ):
            described = json.dumps(asdict(cell), indent=1)
            workspace = _Workspace(supervisor.with_local_paths(cell), folder, supervisor, slot, gpu)
            if cell.cache == "warm" and not trials:
                workspace.prime()
            for _ in range(further.count or cell.measure.trials):
                shared = supervisor.shared
                trials.append(workspace.trial(further))
                shared = shared or supervisor.shared
                if judge.problem(cell, trials[-1]):
                    break
    except ControlLost:
        return _lost(cell, "the process that holds its model unconverted ended, or did not answer")
    except ZygoteLost:
        return _lost(cell, "the process that starts cells was killed")
    except (OSError, BadEnvironment) as error:
        return _lost(cell, f"no process could be made for it: {one_line(str(error))}")
    try:
        result = judge.judge(cell, trials)
    except Exception:  # figures that nothing honest reports
        result = judge.judge(cell, [replace(trial, evidence=Evidence()) for trial in trials])
    return Outcome(
        result=result,
        files={"cell.json": described, **files.of_trials(trials)},
        crowded=shared and result.reason is Reason.MEMORY and cell.limits.memory is None,
    )


class _Workspace:
    """A cell's own folder, compile caches and environment, which its processes share one after the other."""

    def __init__(self, cell: Cell, folder: Path, supervisor: Supervisor, slot: Slot, gpu: str | None) -> None:
        self._cell, self._folder, self._supervisor, self._slot, self._gpu = cell, folder, supervisor, slot, gpu
        (folder / "cell.json").write_text(json.dumps(asdict(cell)), encoding="utf-8")
        self._of_zygote = environment.of_zygote(cell, os.environ) | survey.of_compilers()
        caches = environment.caches(folder, supervisor.compile_threads)
        self._of_process = self._of_zygote | environment.of_cell(cell, gpu) | caches
        self._started = time.monotonic()

    def prime(self) -> None:
        """Fill the compile caches. Raises ZygoteLost."""
        self._run_process([str(self._folder / "cell.json"), "", "prime"])

    def trial(self, further: Further) -> Trial:
        """One process of the cell, and its control. Raises ZygoteLost, ControlLost."""
        try:
            return self._trial(further)
        except ControlLost:  # once may be chance
            return self._trial(further)

    def _trial(self, further: Further) -> Trial:
        environments = (self._of_zygote, self._of_process)
        came = time.monotonic()
        try:
            with self._supervisor.control(self._cell, self._gpu, further.control, environments, self._slot.echo) as (
                control,
                started,
            ):
                self._started += time.monotonic() - came  # it has deadlines of its own
                turns = _Turns(control, self._slot)
                by_turns = control.fits_beside_another
                if not by_turns:
                    turns.take_all(self._cell)
                watch, ending = self._run_process(
                    [str(self._folder / "cell.json"), str(control.baseline)], turns.control_block if by_turns else None
                )
                trial = watch.trial(ending)
                seconds = {**trial.evidence.seconds, Phase.EAGER.key: control.seconds if started else 0.0}
                if not further.earlier and trial.evidence.engine:
                    trial = replace(trial, evidence=replace(trial.evidence, shapes=self._shapes(control.baseline)))
        except ControlFailed as failed:
            trial, by_turns = failed.trial, True
        else:
            if turns.sampled is not None:
                trial = replace(trial, evidence=replace(trial.evidence, eager=turns.sampled, seconds=seconds))
        return replace(
            trial, round=further.round, confirms=further.confirms, control=further.control, by_turns=by_turns
        )

    def _shapes(self, baseline: Path) -> dict[str, ShapeCheck]:
        """How what is converted takes the further sizes, in a process of its own, and in another for those after one
        at which it died. Raises ZygoteLost."""
        asked = inputs.shapes(self._cell.model.config)
        found: dict[str, ShapeCheck] = {}
        while len(found) < len(asked):
            number = len(found)
            arguments = [str(self._folder / "cell.json"), str(baseline), "shapes", str(number)]
            watch, ending = self._run_process(arguments)
            trial = watch.trial(ending)
            found |= trial.evidence.shapes
            if len(found) < len(asked):
                failure = crash.problem(trial)
                said = failure[1] if failure else "its process reported nothing of it"
                found[str(len(found))] = ShapeCheck(sizes=asked[len(found)], failure=said)
        return found

    def _run_process(
        self, arguments: Sequence[str], control_block: Callable[[], None] | None = None
    ) -> tuple[Watch, Exit]:
        try:
            return self._try_to_run(arguments, control_block)
        except NotBegun:  # the zygote died between two cells
            return self._try_to_run(arguments, control_block)

    def _try_to_run(self, arguments: Sequence[str], control_block: Callable[[], None] | None) -> tuple[Watch, Exit]:
        with self._supervisor.zygote(self._cell.start, self._of_zygote) as zygote:
            watch = Watch(zygote, self._cell.limits, self._slot, self._started, control_block or (lambda: None))
            return watch, watch.run_to_end("sweep.child", arguments, self._folder, self._of_process)


class _Turns:
    """Collects the blocks of a control in one trial."""

    def __init__(self, control: Control, slot: Slot) -> None:
        self._control, self._slot = control, slot
        self.sampled: Sampled | None = None

    def control_block(self) -> None:
        """Have it take one more block. The first of all finds it asleep for long, and is taken twice."""
        before = self.sampled
        if before is None:
            self._control.block(self._slot.check, begin=True)
        block = self._control.block(self._slot.check, begin=before is None)
        self.sampled = replace(block, blocks=(*(before.blocks if before else ()), *block.blocks))

    def take_all(self, cell: Cell) -> None:
        """Have it take all its blocks now, alone, and end, for there is no memory for another process beside it."""
        with self._slot.lock.has_turn(replace(self._slot.turn), self._slot.check):
            ends = time.monotonic() + cell.measure.seconds
            while self.sampled is None or len(self.sampled.blocks) < FEWEST_BLOCKS or time.monotonic() < ends:
                self.control_block()
        self._control.end()


def _lost(cell: Cell, why: str) -> Outcome:
    where = f"on {platform.node()}, {why}"
    row = not_run(cell, Reason.LOST, f"{where}; resume with retry=[lost]")
    return Outcome(result=replace(row, attempts=(f"lost {where}",)))
