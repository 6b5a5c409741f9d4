"""Runs a cell in processes of its own: folders, caches, environment, and what becomes of how they ended."""

import atexit
import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep import reading
from sweep.cell import Cell, Phase
from sweep.errors import BadEnvironment
from sweep.evidence import Evidence, Exit, Trial
from sweep.isolate.process import Echo, Place, Watch
from sweep.isolate.supervisor import Supervisor
from sweep.isolate.zygote import NotBegun, ZygoteLost
from sweep.reading import one_line
from sweep.result import Outcome, Reason, not_run
from sweep.verdict import judge

ENVIRONMENT = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    *("CC", "CXX", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HF_HOME", "TORCH_HOME"),
)
"""Variables a cell may see besides LC_*; `isolate.env` adds to them. The rest, secrets among it, stays outside."""

_HERE: list[Supervisor] = []
"""This process's own supervisor, if it has run a cell without being told where."""


def run(cell: Cell, echo: Echo | None = None, supervisor: Supervisor | None = None) -> Outcome:
    """The row of a cell and the files of its folder. Never raises for anything the cell does; Withdrawn if told to end.

    What the cell prints is given to `echo` as it comes.
    """
    supervisor = supervisor or _here()
    trials: list[Trial] = []
    shared = False
    try:
        with (
            supervisor.place(cell, echo) as (place, gpu),
            tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True) as scratch,
        ):
            described = json.dumps(asdict(cell), indent=1)
            room = _Room(supervisor.here(cell), Path(scratch), supervisor, place, gpu)
            if cell.cache == "warm":
                room.trial("prime")
            while len(trials) < cell.measure.processes:
                shared = supervisor.shared
                trials.append(room.trial())
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


def _here() -> Supervisor:
    if not _HERE:
        _HERE.append(Supervisor())
    return _HERE[0]


def close() -> None:
    """Let go of what this process keeps for the cells it runs itself."""
    while _HERE:
        _HERE.pop().close()


atexit.register(close)


class _Room:
    """A cell's own folder, compile caches and environment, which its processes share one after the other."""

    def __init__(self, cell: Cell, work: Path, supervisor: Supervisor, place: Place, gpu: str | None) -> None:
        self._cell, self._work, self._supervisor, self._place = cell, work, supervisor, place
        (work / "cell.json").write_text(json.dumps(asdict(cell)), encoding="utf-8")
        self._environment = _allowed(os.environ, cell.env, cell.python_path)
        self._own = _own(cell, gpu) | _caches(work, supervisor.compile_threads)
        self._started = time.monotonic()

    def trial(self, *flags: str) -> Trial:
        """One process of the cell. Raises ZygoteLost."""
        arguments = [str(self._work / "cell.json"), *flags]
        try:
            watch, ending = self._seen_through(arguments)
        except NotBegun:  # it died between two cells
            watch, ending = self._seen_through(arguments)
        merged: dict[str, Any] = {}
        for message in watch.report.messages:
            evidence = message.get("evidence")
            for key, value in evidence.items() if isinstance(evidence, dict) else ():
                before = merged.get(key)
                merged[key] = before | value if isinstance(before, dict) and isinstance(value, dict) else value
        try:
            evidence = reading.of(Evidence).validate_python(merged)
        except ValidationError:
            evidence = Evidence()
        worked = {
            phase.key: evidence.seconds[phase.key] - watch.paused(phase, evidence.seconds[phase.key])
            for phase in Phase
            if phase.key in evidence.seconds
        }
        return Trial(ending=ending, evidence=replace(evidence, seconds=worked), log=watch.log.text)

    def _seen_through(self, arguments: Sequence[str]) -> tuple[Watch, Exit]:
        with self._supervisor.zygote(self._cell.start, self._environment) as zygote:
            watch = Watch(zygote, self._cell.limits, self._place, self._started)
            environment = {**self._environment, **self._own}
            return watch, watch.see_through("sweep.child", arguments, self._work, environment)


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


def _allowed(outer: Mapping[str, str], more: Sequence[str], python_path: Sequence[str]) -> dict[str, str]:
    """What all processes of a cell see of this one's environment."""
    allowed = {
        name: value for name, value in outer.items() if name in ENVIRONMENT or name in more or name.startswith("LC_")
    }
    # its working folder will be another
    paths = [str(Path(path).absolute()) for path in outer.get("PYTHONPATH", "").split(os.pathsep) if path]
    # ONNX Runtime's telemetry is a thread, and with a thread nothing can be forked
    return {"ORT_DISABLE_TELEMETRY": "1", **allowed, "PYTHONPATH": os.pathsep.join([*python_path, *paths])}


def _own(cell: Cell, gpu: str | None) -> dict[str, str]:
    """What a cell sees besides: the device it may use, and how many threads."""
    own = {}
    if cell.device.kind == "cpu":
        own["CUDA_VISIBLE_DEVICES"] = ""
    elif gpu is not None:
        own["CUDA_VISIBLE_DEVICES"] = gpu
    if cell.threads is not None:
        own |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cell.threads))
    return own


def _caches(work: Path, compile_threads: int) -> dict[str, str]:
    """Compile caches of a cell alone: cold at first, and gone with it; and its share of the CPUs to compile with."""
    folders = {
        "TORCHINDUCTOR_CACHE_DIR": work / "inductor",
        "TRITON_CACHE_DIR": work / "triton",
        "TORCH_EXTENSIONS_DIR": work / "extensions",
    }
    for folder in folders.values():
        folder.mkdir()
    folders_by_name = {name: str(folder) for name, folder in folders.items()}
    return {**folders_by_name, "TORCHINDUCTOR_COMPILE_THREADS": str(compile_threads)}
