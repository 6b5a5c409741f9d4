"""Runs a cell in processes of its own, one after the other, and makes its row of how they ended."""

import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep import reading
from sweep.cell import Cell, Phase
from sweep.errors import BadEnvironment
from sweep.evidence import Evidence, Exit, Trial
from sweep.isolate import environment
from sweep.isolate.output import Echo
from sweep.isolate.process import Slot, Watch
from sweep.isolate.supervisor import Supervisor
from sweep.isolate.zygote import NotBegun, ZygoteLost
from sweep.reading import one_line
from sweep.result import Outcome, Reason, not_run
from sweep.verdict import judge


def run(cell: Cell, supervisor: Supervisor, echo: Echo | None = None) -> Outcome:
    """The row of a cell and the files of its folder. Never raises for anything the cell does; Withdrawn if told to end.

    What the cell prints is given to `echo` as it comes.
    """
    trials: list[Trial] = []
    shared = False
    try:
        with (
            supervisor.slot(cell, echo) as (slot, gpu),
            tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True) as scratch,
        ):
            described = json.dumps(asdict(cell), indent=1)
            workspace = _Workspace(supervisor.with_local_paths(cell), Path(scratch), supervisor, slot, gpu)
            if cell.cache == "warm":
                workspace.trial("prime")
            while len(trials) < cell.measure.processes:
                shared = supervisor.shared
                trials.append(workspace.trial())
                shared = shared or supervisor.shared
                if judge.problem(cell, trials[-1]):
                    break
    except ZygoteLost:
        return _lost(cell, "the process that starts cells was killed")
    except (OSError, BadEnvironment) as error:
        return _lost(cell, f"no process could be made for it: {one_line(str(error))}")
    try:
        result = judge.judge(cell, trials)
    except (ValueError, ArithmeticError):  # figures that nothing honest reports
        result = judge.judge(cell, [replace(trial, evidence=Evidence()) for trial in trials])
    return Outcome(
        result=result,
        files={
            "cell.json": described,
            "report.json": json.dumps({"processes": [_report(trial) for trial in trials]}),
            "cell.log": "\n".join(trial.log for trial in trials),
            "samples.json": json.dumps({"unit": "s", "processes": [_samples(trial.evidence) for trial in trials]}),
        },
        crowded=shared and result.reason is Reason.MEMORY and cell.limits.memory is None,
    )


class _Workspace:
    """A cell's own folder, compile caches and environment, which its processes share one after the other."""

    def __init__(self, cell: Cell, folder: Path, supervisor: Supervisor, slot: Slot, gpu: str | None) -> None:
        self._cell, self._folder, self._supervisor, self._slot = cell, folder, supervisor, slot
        (folder / "cell.json").write_text(json.dumps(asdict(cell)), encoding="utf-8")
        self._of_zygote = environment.allowed(os.environ, cell.env, cell.python_path)
        caches = environment.caches(folder, supervisor.compile_threads)
        self._of_process = self._of_zygote | environment.of_cell(cell, gpu) | caches
        self._started = time.monotonic()

    def trial(self, *flags: str) -> Trial:
        """One process of the cell. Raises ZygoteLost."""
        arguments = [str(self._folder / "cell.json"), *flags]
        try:
            watch, ending = self._run_process(arguments)
        except NotBegun:  # the zygote died between two cells
            watch, ending = self._run_process(arguments)
        try:
            evidence = reading.of(Evidence).validate_python(watch.report.evidence())
        except ValidationError:
            evidence = Evidence()
        worked = {
            phase.key: evidence.seconds[phase.key] - watch.paused(phase, evidence.seconds[phase.key])
            for phase in Phase
            if phase.key in evidence.seconds
        }
        return Trial(ending=ending, evidence=replace(evidence, seconds=worked), log=watch.log.text)

    def _run_process(self, arguments: Sequence[str]) -> tuple[Watch, Exit]:
        with self._supervisor.zygote(self._cell.start, self._of_zygote) as zygote:
            watch = Watch(zygote, self._cell.limits, self._slot, self._started)
            return watch, watch.run_to_end("sweep.child", arguments, self._folder, self._of_process)


def _lost(cell: Cell, why: str) -> Outcome:
    where = f"on {platform.node()}, {why}"
    row = not_run(cell, Reason.LOST, f"{where}; resume with retry=[lost]")
    return Outcome(result=replace(row, attempts=(f"lost {where}",)))


def _report(trial: Trial) -> dict[str, Any]:
    report = asdict(trial)
    del report["log"]
    for subject in filter(None, (report["evidence"]["eager"], report["evidence"]["converted"])):
        del subject["samples"]
    return report


def _samples(evidence: Evidence) -> dict[str, Any]:
    return {
        "timer_overhead_subtracted": evidence.timer_overhead,
        "eager": evidence.eager and evidence.eager.samples,
        "conversion": evidence.converted and evidence.converted.samples,
    }
