"""Runs a cell in a process of its own: group, folder, caches, environment, deadlines, log and report."""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sweep import verdict
from sweep.cell import Cell, Evidence, Exit, Limits, Outcome, Phase
from sweep.errors import BadEnvironment

ENVIRONMENT = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    *("CC", "CXX", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HF_HOME", "TORCH_HOME"),
)
"""Variables a cell may see besides LC_*; `isolate.env` adds to them. The rest, secrets among it, stays outside."""

LOG_TAIL = 1_000_000
"""How many of a log's last bytes go into the run folder."""


def run(cell: Cell) -> Outcome:
    """The row of a cell and the files of its folder. Never raises for anything the cell does."""
    with tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True) as scratch:
        work = Path(scratch)
        description = json.dumps(asdict(cell), indent=1)
        (work / "cell.json").write_text(description, encoding="utf-8")
        arguments = ["sweep.child", str(work / "cell.json"), str(os.getpid())]
        environment = {**_environment(cell, os.environ), **_caches(work)}
        if cell.cache == "warm":
            _watch([*arguments, "prime"], work, environment, cell.limits)
        ending, evidence = _supervise(arguments, work, environment, cell.limits)
        log = _tail(work / "cell.log")
    samples = {
        "unit": "s",
        "timer_overhead_subtracted": evidence.timer_overhead,
        "eager": evidence.eager and evidence.eager.samples,
        "conversion": evidence.converted and evidence.converted.samples,
    }
    report = asdict(evidence)
    for subject in filter(None, (report["eager"], report["converted"])):
        del subject["samples"]
    try:
        result = verdict.judge(cell, ending, evidence)
    except (ValueError, ArithmeticError):  # figures that nothing honest reports
        result = verdict.judge(cell, ending, Evidence())
    return Outcome(
        result=result,
        files={
            "cell.json": description,
            "report.json": json.dumps({"exit": asdict(ending), "evidence": report}, indent=1),
            "cell.log": log,
            "samples.json": json.dumps(samples),
        },
    )


def _tail(log: Path, size: int = LOG_TAIL) -> str:
    """The end of a log; nothing if the cell took it away."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - size))
            return file.read(size).decode(errors="replace")
    except OSError:
        return ""


def survey(probes: Mapping[str, str], seconds: float = 300) -> dict[str, Any]:
    """What `sweep.child.survey` found on this machine. Raises BadEnvironment with the end of its log."""
    with tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True) as scratch:
        work = Path(scratch)
        limits = Limits(start=seconds, total=seconds)
        environment = _allowed(os.environ, ())
        _, messages = _watch(["sweep.child.survey", json.dumps(dict(probes))], work, environment, limits)
        found: dict[str, Any] = {}
        for message in messages:
            found |= message.get("evidence", {})
        if "versions" not in found:
            tail = _tail(work / "cell.log", 2000).strip()
            raise BadEnvironment(
                "cannot read the conversions of alma-torch in this environment; install the tested set with "
                f"`pip install -c constraints.txt -e .`. It said:\n{tail}"
            )
    return found


def _supervise(
    arguments: Sequence[str], work: Path, environment: Mapping[str, str], limits: Limits
) -> tuple[Exit, Evidence]:
    ending, messages = _watch(arguments, work, environment, limits)
    merged: dict[str, Any] = {}
    for message in messages:
        evidence = message.get("evidence")
        for key, value in evidence.items() if isinstance(evidence, dict) else ():
            before = merged.get(key)
            merged[key] = before | value if isinstance(before, dict) and isinstance(value, dict) else value
    try:
        return ending, TypeAdapter(Evidence).validate_python(merged)
    except ValidationError:
        return ending, Evidence()


def _watch(
    arguments: Sequence[str], work: Path, environment: Mapping[str, str], limits: Limits
) -> tuple[Exit, list[dict[str, Any]]]:
    """Start `python -m arguments[0] DESCRIPTOR arguments[1:]`, and see it to its end: how, and what it reported."""
    module, *rest = arguments
    home, temporary = Path(tempfile.mkdtemp(prefix="home-", dir=work)), Path(tempfile.mkdtemp(prefix="tmp-", dir=work))
    reads, writes = os.pipe()
    with open(work / "cell.log", "wb") as log:
        started = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(writes), *rest],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env={**environment, "TMPDIR": str(temporary)},
            pass_fds=[writes],
            start_new_session=True,
        )
        os.close(writes)
        try:
            reader = _Reader(reads)
            phase, timeout = _until_gone(child.pid, reader, limits, started)
        finally:
            _end_group(child.pid, limits.grace)
            child.wait()
            os.close(reads)
    seconds = time.monotonic() - started
    return Exit(code=child.returncode, phase=phase, seconds=seconds, timeout=timeout), reader.messages


_GLANCE = 0.5
"""Seconds to wait at a time: a worker that is told to stop hears of it only between two waits."""


class _Reader:
    """Collects the JSON lines of a report channel; a line that is none is left out."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.messages: list[dict[str, Any]] = []
        self._rest = b""

    def read(self) -> bool:
        """Take what is there; False at the end of the channel."""
        while True:
            try:
                data = os.read(self.descriptor, 1 << 20)
            except BlockingIOError:
                return True
            if not data:
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.messages += [message for line in lines if isinstance(message := _parsed(line), dict)]

    @property
    def phase(self) -> Phase:
        known = {phase.value for phase in Phase}
        said = (message.get("phase") for message in self.messages)
        named = [phase for phase in said if isinstance(phase, str) and phase in known]
        return Phase(named[-1]) if named else Phase.START


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _until_gone(pid: int, reader: _Reader, limits: Limits, started: float) -> tuple[Phase, str | None]:
    """Wait, without spinning, until the process is gone or a deadline has passed: the phase, and which deadline."""
    phase, phase_started = Phase.START, started
    alive = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(alive, selectors.EVENT_READ)
            selector.register(reader.descriptor, selectors.EVENT_READ)
            while True:
                ends = min(phase_started + limits.of(phase), started + limits.total)
                ready = {key.fd for key, _ in selector.select(min(_GLANCE, max(0.0, ends - time.monotonic())))}
                if reader.descriptor in ready and not reader.read():
                    selector.unregister(reader.descriptor)
                if reader.phase is not phase:
                    phase, phase_started = reader.phase, time.monotonic()
                if alive in ready:
                    reader.read()
                    return reader.phase, None
                if not ready and time.monotonic() >= ends:
                    return phase, _overrun(phase, limits, time.monotonic() - started)
    finally:
        os.close(alive)


def _overrun(phase: Phase, limits: Limits, seconds: float) -> str:
    if seconds >= limits.total:
        return f"took more than limits.total={limits.total:g} s"
    return f"took more than limits.{phase.value.replace('-', '_')}={limits.of(phase):g} s"


def _end_group(pid: int, grace: float) -> None:
    """TERM, grace, KILL to the process and all of its group. Its pid is still ours: nobody has waited for it yet."""
    alive = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(alive, selectors.EVENT_READ)
            if not selector.select(0):
                os.killpg(pid, signal.SIGTERM)
                selector.select(grace)
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # the group is already empty
    finally:
        os.close(alive)


def _environment(cell: Cell, outer: Mapping[str, str]) -> dict[str, str]:
    environment = _allowed(outer, cell.env)
    inherited = [str(Path(path).absolute()) for path in outer.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment["PYTHONPATH"] = os.pathsep.join([*cell.python_path, *inherited])
    if cell.device.kind == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if cell.threads is not None:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cell.threads))
    return environment


def _allowed(outer: Mapping[str, str], more: Sequence[str]) -> dict[str, str]:
    return {
        name: value for name, value in outer.items() if name in ENVIRONMENT or name in more or name.startswith("LC_")
    }


def _caches(work: Path) -> dict[str, str]:
    """Compile caches of a cell alone: cold at first, and gone with it."""
    folders = {
        "TORCHINDUCTOR_CACHE_DIR": work / "inductor",
        "TRITON_CACHE_DIR": work / "triton",
        "TORCH_EXTENSIONS_DIR": work / "extensions",
    }
    for folder in folders.values():
        folder.mkdir()
    return {name: str(folder) for name, folder in folders.items()}
