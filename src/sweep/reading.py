"""Plain data, read as objects of a checked type, as one line of text, or as a flat mapping."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter

_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
"""Sequences by which a terminal is told colours and titles (ECMA-48)."""


@cache
def of(noun: Any) -> TypeAdapter[Any]:
    """The adapter that turns plain data or JSON into that class, checked. It takes 10 ms to make, so it is kept."""
    return TypeAdapter(noun)


def one_line(text: str, most: int = 300) -> str:
    """The first line of `text` that is not empty, without control and direction codes; at most `most` characters."""
    lines = ("".join(filter(str.isprintable, line)).strip() for line in _CODES.sub("", text).splitlines())
    return next(filter(None, lines), "")[:most]


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All values in a mapping and in the mappings inside it, each with its dotted name."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
