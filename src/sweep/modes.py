"""Every conversion the installed alma has, what it needs, and whether it can run here: `python -m sweep.modes`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from sweep import ending
from sweep.cell import Mode
from sweep.devices import KINDS, in_words
from sweep.errors import ExitCode
from sweep.isolate import survey
from sweep.plan import registry
from sweep.plan.inventory import Inventory
from sweep.report.console import plain_unless_terminal, print_json, table
from sweep.request.invocation import current


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalMode:
    """A mode, and the obstacles that keep it from running on this machine; none where it can run."""

    mode: Mode
    obstacles: tuple[str, ...]


def local_modes(machine: Inventory) -> list[LocalMode]:
    return [LocalMode(mode=mode, obstacles=tuple(obstacles(mode, machine))) for mode in machine.modes.values()]


def obstacles(mode: Mode, machine: Inventory) -> list[str]:
    """Everything that keeps a mode from running on a machine, each with what to do about it."""
    problems = []
    if not mode.implemented:
        problems.append("alma registers it but implements nothing of that name")
    if not set(mode.runs_on) & machine.devices:
        problems.append(f"needs {' or '.join(map(in_words, mode.runs_on))}")
    return problems + [
        f"needs {need}: {registry.REQUIREMENTS[need].remedy}" for need in mode.needs if need not in machine.found
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog=current().command("modes"), description=__doc__)
    parser.add_argument("--json", action="store_true", help="for programs: one JSON array")
    options = parser.parse_args(arguments)
    return ending.run_command("sweep.modes", lambda: _list_modes(as_json=options.json))


def _list_modes(*, as_json: bool) -> ExitCode:
    machine = survey.local()
    modes = local_modes(machine)
    if as_json:
        print_json([_as_json(local) for local in modes])
    else:
        _show(modes, machine, plain_unless_terminal(Console(highlight=False)))
    return ExitCode.COMPLETE


def _as_json(local: LocalMode) -> dict[str, Any]:
    return {**asdict(local.mode), "runs_here": not local.obstacles, "obstacles": local.obstacles}


def _show(modes: Sequence[LocalMode], machine: Inventory, console: Console) -> None:
    lines = table("conversion", "runs on", "input", "computes in", "engine", "here", "why not")
    for local in modes:
        mode = local.mode
        verdict = Text("no", "yellow") if local.obstacles else Text("yes", "green")
        runs_on = "every device" if set(mode.runs_on) >= set(KINDS) else " ".join(mode.runs_on)
        facts = (mode.name, runs_on, mode.dtype, mode.precision, mode.engine)
        lines.add_row(*map(Text, facts), verdict, Text("; ".join(local.obstacles)))
    console.print(lines)
    runnable = sum(not local.obstacles for local in modes)
    console.print(f"alma-torch {machine.versions['alma-torch']}: {len(modes)} conversions, {runnable} can run here")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
