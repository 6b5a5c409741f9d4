"""A short program that makes one conversion again as its cell did, and checks what the row says of it."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from importlib import resources
from string import Template
from typing import Any

from sweep.cell import Cell, Limits, Tolerance
from sweep.reading import one_line
from sweep.result import Result

WIDTH = 115


def emitted(cell: Cell, row: Result, run: str) -> str:
    """The program, for an ok row; `run` is what to call the sweep it is of.

    It takes the steps of `sweep.child.benchmark` in one process, and exits with 1 where a figure is not what the row
    says. No path of this machine is in it but `python_path`, and what the model's config has.
    """
    assert row.speedup and row.fidelity and row.engine, "an ok row has them"
    name = row.fidelity.tolerance_class
    tolerance = {name: Tolerance(rel_l2=cell.tolerance[name].rel_l2)} if name in cell.tolerance else {}
    cell = replace(cell, limits=Limits(), env=(), overrides={}, tolerance=tolerance)
    reported = {
        "speedup": (row.speedup.low, row.speedup.value, row.speedup.high),
        "rel_l2": row.fidelity.rel_l2,
        "allowed": tolerance[name].rel_l2 if tolerance else None,
        "engine": row.engine.actual,
        "threads": row.threads,
    }
    environment = {"CUDA_VISIBLE_DEVICES": ""} if cell.device.kind == "cpu" else {}
    if cell.threads is not None:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cell.threads))
    template = resources.files("sweep.pick").joinpath("convert.py.txt").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=_comment(f"{row.conversion} of {row.model} on {row.device}"),
        run=_comment(run),
        id=_comment(row.id),
        hardware=_comment(row.hardware or "unknown"),
        versions=_comment(", ".join(f"{package} {version}" for package, version in row.versions.items())),
        cell=_literal(_plain(cell)),
        reported=_literal(reported),
        environment=_literal(environment),
    )


def _comment(text: str) -> str:
    """Text that cannot end the string it stands in."""
    return one_line(text, 1000).replace("\\", "/").replace('"', "'")


def _literal(value: object, indent: int = 0) -> str:
    """A value as Python has it; what is longer than a line has as many of its items on each as there is room for."""
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


def _plain(noun: Any) -> Any:
    """A noun as Python has it without its class, less what is as it is by default."""
    if is_dataclass(noun):
        return {
            field.name: _plain(value)
            for field in fields(noun)
            if (value := getattr(noun, field.name)) != field.default
            and (field.default_factory is MISSING or value != field.default_factory())
        }
    if isinstance(noun, Mapping):
        return {key: _plain(value) for key, value in noun.items()}
    return noun
