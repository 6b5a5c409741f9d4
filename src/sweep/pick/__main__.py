"""The fastest proved conversion of a sweep, within what you ask of it: `python -m sweep.pick RUN`."""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from sweep import ending
from sweep.errors import BadRequest, ExitCode
from sweep.pick import choosing, script
from sweep.pick.choosing import Choice, Constraints
from sweep.plan.names import did_you_mean, near
from sweep.reading import one_line
from sweep.record import read_cell
from sweep.report import text
from sweep.report.console import plain_unless_terminal, print_json
from sweep.report.run import load
from sweep.request.invocation import current
from sweep.result import Result

EXIT_CODES = f"""exit codes: 0 there is one for every model, device and batch size; 1 not for all of them; 2 the request
is wrong; {ending.EXIT_CODES}"""

NOTHING = "nothing that is proved and firm keeps within what is asked"

_CONSTRAINTS = {
    "--min-cosine": ("X", "cosine with eager's output, of the worst sample"),
    "--max-rel-l2": ("X", "relative L2 error against eager's output, of the worst sample"),
    "--max-memory": ("MB", "peak memory: the device's where the row has that, else of the process"),
    "--p50-under": ("MS", "median latency"),
    "--p99-under": ("MS", "99th percentile of latency"),
    "--min-speedup": ("X", "speed-up against eager"),
    "--max-convert": ("SECONDS", "what the conversion itself takes"),
    "--max-metric-drop": ("X", "by how much your own metric (data.metric) is worse than eager's"),
}


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    return ending.run_command("sweep.pick", lambda: _pick(options))


def _pick(options: argparse.Namespace) -> ExitCode:
    constraints = Constraints(**{field.name: getattr(options, field.name) for field in fields(Constraints)})
    run = Path(options.run).expanduser()
    chosen = choices(_rows(run), options, constraints)
    if options.emit:
        return _emit(run, chosen)
    if options.json:
        print_json({"constraints": asdict(constraints), "groups": [_choice_as_json(choice) for choice in chosen]})
    else:
        _show(chosen, plain_unless_terminal(Console(highlight=False)))
    return ExitCode.COMPLETE if all(choice.best for choice in chosen) else ExitCode.FAILED_ON


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=current().command("pick"), description=__doc__, epilog=EXIT_CODES)
    parser.add_argument("run", metavar="RUN", help="a run folder")
    for name, (unit, meaning) in _CONSTRAINTS.items():
        parser.add_argument(name, metavar=unit, type=_number, help=meaning)
    parser.add_argument("--model", metavar="NAME", help="of this model only")
    parser.add_argument("--device", metavar="NAME", help="on this device only")
    parser.add_argument("--batch", metavar="N", type=int, help="with this batch size only")
    parser.add_argument("--where", metavar="TEXT", help="only where the heading, as the matrix has it, holds this text")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs: one JSON object")
    form.add_argument("--emit", choices=("python",), help="a script that makes the conversion again, and checks it")
    return parser


def _number(argument: str) -> float:
    number = float(argument)
    if not math.isfinite(number):
        raise ValueError
    return number


def _rows(run: Path) -> list[Result]:
    rows = load(run).rows
    if not rows:
        raise BadRequest(f"there is no row in {run} yet")
    return rows


def choices(rows: Sequence[Result], options: argparse.Namespace, constraints: Constraints) -> list[Choice]:
    """A choice for every group that the options select. Raises BadRequest with every unknown name."""
    problems = [
        *_unknown("model", options.model, (row.model for row in rows)),
        *_unknown("device", options.device, (row.device for row in rows)),
        *_unknown(
            "batch size", None if options.batch is None else str(options.batch), (str(row.batch_size) for row in rows)
        ),
    ]
    if problems:
        raise BadRequest(*problems)
    selected = [
        row
        for row in rows
        if options.model in {None, row.model}
        and options.device in {None, row.device}
        and options.batch in {None, row.batch_size}
    ]
    if not selected:
        raise BadRequest("no cell of this sweep has this model, device and batch size together")
    all_choices = choosing.choose(selected, constraints)
    matching = [choice for choice in all_choices if not options.where or options.where in choice.title]
    if not matching:
        raise BadRequest(f"no heading holds {options.where!r}; there is\n{_titles(all_choices)}")
    return matching


def _titles(choices: Sequence[Choice]) -> str:
    return "\n".join(f"  {one_line(choice.title)}" for choice in choices)


def _unknown(kind: str, name: str | None, names: Iterable[str]) -> list[str]:
    known = list(dict.fromkeys(names))
    if name is None or name in known:
        return []
    hint = did_you_mean(near(name, known)) or f"; there is {', '.join(known)}"
    return [f"no {kind} {name!r} in this sweep{hint}"]


def _emit(run: Path, choices: Sequence[Choice]) -> ExitCode:
    """Print the program of the only choice. Raises BadRequest where there are several."""
    if len(choices) > 1:
        raise BadRequest(
            f"--emit python is for one model, device and batch size; these are {len(choices)}, narrow them with "
            f"--model, --device, --batch or --where:\n{_titles(choices)}"
        )
    (choice,) = choices
    if choice.best is None:
        print(f"sweep.pick: {choice.title}: {NOTHING}", file=sys.stderr)
        return ExitCode.FAILED_ON
    cell = read_cell(run / "cells" / choice.best.id)
    print(script.program(cell, choice.best, "/".join(run.resolve().parts[-2:])), end="")
    return ExitCode.COMPLETE


def _show(choices: Sequence[Choice], console: Console) -> None:
    for choice in choices:
        console.print(Text(one_line(choice.title), "bold"))
        if choice.best is None:
            console.print(Text(f"  {NOTHING}", "yellow"))
        else:
            console.print(Text(f"  {_figures(choice.best)}", "green" if choice.beats_eager else ""))
            if choice.best.message:
                console.print(Text(f"  it says: {choice.best.message}", "dim"))
            for line in _remarks(choice):
                console.print(Text(f"  {line}"))
        for other in choice.passed_over:
            speed = f" ({other.row.speedup.value:.2f}x)" if other.row.speedup else ""
            reasons = "; ".join(map(one_line, other.reasons))
            console.print(Text(f"  passed over: {one_line(other.row.conversion)}{speed}: {reasons}", "dim"))
        console.print()


def _remarks(choice: Choice) -> Iterable[str]:
    """How the best compares with the others and with eager, and whether its figure is confirmed."""
    if choice.not_told_apart:
        yield f"not told apart from it: {'; '.join(map(_speedup, choice.not_told_apart))}"
    speedup = choice.best.speedup if choice.best else None
    if choice.beats_eager and speedup and speedup.decision and not speedup.confirmed:
        yield "not confirmed: the trials that it was chosen by flatter it; a larger measure.budget has it confirmed"
    if not choice.beats_eager:
        yield "nothing proved beats eager here: stay with eager"


def _speedup(row: Result) -> str:
    assert row.speedup is not None, "an ok row has it"
    return f"{one_line(row.conversion)} {text.speedup(row)}, from {row.speedup.low:.2f}x to {row.speedup.high:.2f}x"


def _figures(row: Result) -> str:
    assert row.latency_ms and row.fidelity, "an ok row has them"
    memory, convert = choosing.memory(row), row.seconds.get("convert")
    parts = [
        _speedup(row),
        text.of_trials(row),
        f"p50 {row.latency_ms.p50:.4g} ms",
        f"p99 {row.latency_ms.p99:.4g} ms",
        f"rel. L2 error {row.fidelity.rel_l2:.1e}" if row.fidelity.rel_l2 is not None else "",
        f"cosine {row.fidelity.cosine:.6f}" if row.fidelity.cosine is not None else "",
        f"{row.metric.name} {row.metric.value:.4g} (eager {row.metric.eager:.4g})" if row.metric else "",
        f"converts in {convert:.1f} s" if convert is not None else "",
        f"{memory:.0f} MB" if memory is not None else "",
        f"pays off after {text.pays_off(row)} calls" if text.pays_off(row) not in {"–", "never"} else "",
    ]
    return ", ".join(filter(None, parts))


def _choice_as_json(choice: Choice) -> dict[str, Any]:
    return {
        "title": choice.title,
        "best": asdict(choice.best) if choice.best else None,
        "beats_eager": choice.beats_eager,
        "not_told_apart": [_name(row) for row in choice.not_told_apart],
        "passed_over": [{**_name(other.row), "why": other.reasons} for other in choice.passed_over],
    }


def _name(row: Result) -> dict[str, Any]:
    speedup = asdict(row.speedup) if row.speedup else None
    return {"id": row.id, "conversion": row.conversion, "quality": row.quality, "speedup": speedup}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
