"""Every conversion the installed alma has, what it needs, and whether it can run here: `python -m sweep.modes`."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from sweep import ending
from sweep.cell import Mode
from sweep.errors import ExitCode
from sweep.isolate import survey
from sweep.plan import registry
from sweep.plan.inventory import Inventory
from sweep.report.console import plain_unless_terminal, table
from sweep.request.invocation import current


@dataclass(frozen=True, kw_only=True, slots=True)
class Here:
    """A mode, and what keeps it from running on this machine; nothing if it can."""

    mode: Mode
    obstacles: tuple[str, ...]


def surveyed(has: Inventory) -> list[Here]:
    return [Here(mode=mode, obstacles=tuple(obstacles(mode, has))) for mode in has.modes.values()]


def obstacles(mode: Mode, has: Inventory) -> list[str]:
    """Everything that keeps a mode from running where `has` holds, each with what to do about it."""
    found = []
    if not mode.implemented:
        found.append("alma registers it but implements nothing of that name")
    if not set(mode.runs_on) & has.devices:
        found.append(f"needs a {' or '.join(mode.runs_on)} device")
    return found + [
        f"needs {need}: {registry.REQUIREMENTS[need].remedy}" for need in mode.needs if need not in has.found
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog=current().command("modes"), description=__doc__)
    parser.add_argument("--json", action="store_true", help="for programs: one JSON array")
    options = parser.parse_args(arguments)
    return ending.of("sweep.modes", lambda: _list(as_json=options.json))


def _list(*, as_json: bool) -> ExitCode:
    has = survey.local()
    listed = surveyed(has)
    if as_json:
        print(json.dumps([_as_json(here) for here in listed], indent=1))
    else:
        _show(listed, has, plain_unless_terminal(Console(highlight=False)))
    return ExitCode.COMPLETE


def _as_json(here: Here) -> dict[str, Any]:
    return {**asdict(here.mode), "runs_here": not here.obstacles, "obstacles": here.obstacles}


def _show(listed: Sequence[Here], has: Inventory, console: Console) -> None:
    lines = table("conversion", "runs on", "input", "computes in", "engine", "here", "why not")
    for here in listed:
        mode = here.mode
        verdict = Text("no", "yellow") if here.obstacles else Text("yes", "green")
        facts = (mode.name, " ".join(mode.runs_on), mode.dtype, mode.precision, mode.engine)
        lines.add_row(*map(Text, facts), verdict, Text("; ".join(here.obstacles)))
    console.print(lines)
    able = sum(not here.obstacles for here in listed)
    console.print(f"alma-torch {has.versions['alma-torch']}: {len(listed)} conversions, {able} can run here")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
