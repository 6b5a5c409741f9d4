"""How sweep was started, so that the commands it prints are started the same way."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sweep.request import hydra_grammar

STARTED_AS = "SWEEP_STARTED_AS"
"""The variable in which a script that runs `python -m sweep` says what it was called."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """The words before the arguments: `python -m sweep`, `scripts/sweep`, `sweep`."""

    words: tuple[str, ...] = ("python", "-m", "sweep")

    def resume(self, folder: str) -> str:
        """The shell command that goes on with the sweep in a run folder."""
        # Hydra's own grammar wants most names in quotes
        name = folder if re.fullmatch(r"[\w/.+-]+", folder, re.ASCII) else hydra_grammar.literal(folder)
        return shlex.join([*self.words, f"resume={name}"])

    def rerun(self, folder: str, id_: str) -> str:
        """The shell command that runs one cell of a run folder again in the foreground."""
        return f"{self.command('rerun')} {shlex.quote(f'{folder}/cells/{id_}')}"

    def command(self, name: str) -> str:
        """How another command of sweep is called: `python -m sweep.NAME`, or `sweep NAME`."""
        *before, last = self.words
        as_module = before[-1:] == ["-m"]
        return shlex.join([*before, f"{last}.{name}"] if as_module else [*self.words, name])


class FromPython(Invocation):
    """The invocation of a program that called `sweep.run`."""

    __slots__ = ()

    def resume(self, folder: str) -> str:
        return f"sweep.run(resume={folder!r})"


@cache
def current() -> Invocation:
    """How this process was started. STARTED_AS is for this process alone, so it is removed from the environment."""
    return detect(sys.orig_argv, sys.argv, os.environ.pop(STARTED_AS, None))


def detect(original: Sequence[str], argv: Sequence[str], script: str | None = None) -> Invocation:
    """The invocation by `sys.orig_argv`, `sys.argv` and the content of STARTED_AS; `python -m sweep` if none tells."""
    if script:
        return Invocation((script,))
    for number, module in enumerate(original[1:], 1):
        if original[number - 1] == "-m" and module.partition(".")[0] == "sweep":
            return Invocation((*original[:number], "sweep"))
    started = Path(argv[0]) if argv else Path()
    if started.name == "sweep":
        on_path = shutil.which("sweep")
        same = on_path is not None and Path(on_path).absolute() == started.absolute()
        return Invocation(("sweep" if same else str(started),))
    return Invocation()
