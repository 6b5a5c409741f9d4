"""A short program that does one conversion again as its cell did, and compares the figures with its row."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from importlib import resources
from string import Template
from typing import Any

from sweep.cell import Cell, Limits
from sweep.devices import shown
from sweep.reading import one_line
from sweep.result import Result

WIDTH = 115


def program(cell: Cell, row: Result, run: str) -> str:
    """The text of the program, for an ok row; `run` is the name of its sweep.

    It takes the steps of `sweep.child.benchmark` in one process, and exits with 1 where a figure is not what the row
    says. The only paths of this machine in it are `python_path` and those of the model's config.
    """
    assert row.speedup and row.fidelity and row.engine, "an ok row has them"
    name = row.fidelity.tolerance_class
    tolerance = {name: replace(cell.tolerance[name], source="")} if name in cell.tolerance else {}
    environment = {**(cell.environment.variables if cell.environment else {}), **shown(cell.device.kind, None)}
    cell = replace(cell, limits=Limits(), env=(), overrides={}, tolerance=tolerance, environment=None)
    reported = {
        "speedup": (row.speedup.low, row.speedup.value, row.speedup.high),
        "rel_l2": row.fidelity.rel_l2,
        "allowed": row.fidelity.allowed,
        "engine": row.engine.actual,
        "threads": row.threads,
    }
    if cell.threads is not None:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cell.threads))
    template = resources.files("sweep.pick").joinpath("convert.py.txt").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=_comment(f"{row.conversion} of {row.model} on {row.device}"),
        run=_comment(run),
        id=_comment(row.id),
        hardware=_comment(row.hardware or "unknown"),
        versions=_comment(", ".join(_found(row))),
        cell=_literal(_without_defaults(cell)),
        reported=_literal(reported),
        environment=_literal(environment),
    )


def _found(row: Result) -> Iterator[str]:
    """The versions that it ran with, and the environment that had them, if it was not its node's own."""
    yield from (f"{package} {version}" for package, version in row.versions.items())
    if row.environment:
        yield f"all in the environment {row.environment}"


def _comment(text: str) -> str:
    """A text that cannot end the docstring that it is put into."""
    return one_line(text, 1000).replace("\\", "/").replace('"', "'")


def _literal(value: object, indent: int = 0) -> str:
    """A value as Python code; one that is longer than a line is broken into lines, as many items on each as fit."""
    if indent + len(repr(value)) < WIDTH or not isinstance(value, dict | list | tuple):
        return repr(value)
    inner = indent + 4
    if isinstance(value, dict):
        items = [f"{key!r}: {_literal(item, inner)}," for key, item in value.items()]
    else:
        items = [f"{_literal(item, inner)}," for item in value]
    lines = [""]
    for item in items:
        if lines[-1] and ("\n" in lines[-1] + item or inner + len(lines[-1]) + len(item) >= WIDTH):
            lines.append("")
        lines[-1] += f" {item}" if lines[-1] else item
    opening, closing = "{}" if isinstance(value, dict) else "[]" if isinstance(value, list) else "()"
    within = "".join(f"\n{' ' * inner}{line}" for line in lines)
    return f"{opening}{within}\n{' ' * indent}{closing}"


def _without_defaults(noun: Any) -> Any:
    """An object of one of our classes as dicts and plain values, without the fields that have their defaults."""
    if is_dataclass(noun):
        return {
            field.name: _without_defaults(value)
            for field in fields(noun)
            if (value := getattr(noun, field.name)) != field.default
            and (field.default_factory is MISSING or value != field.default_factory())
        }
    if isinstance(noun, Mapping):
        return {key: _without_defaults(value) for key, value in noun.items()}
    return noun
