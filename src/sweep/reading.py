"""Plain data, read as objects of a checked type, as one line of text, or as a flat mapping."""

import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter

_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
"""Sequences by which a terminal is told colours and titles (ECMA-48)."""


MOST_CHARACTERS, MOST_DEPTH, MOST_INTEGER = 20_000, 40, 2**63 - 1
"""Of what comes from a cell: a text's length, how deep it is nested, and an integer's size."""

LARGEST = 1e300
"""What stands for infinity, which JSON has not."""


@cache
def of(noun: Any) -> TypeAdapter[Any]:
    """The adapter that turns plain data or JSON into that class, checked. It takes 10 ms to make, so it is kept."""
    return TypeAdapter(noun)


def one_line(text: str, most: int = 300) -> str:
    """The first line of `text` that is not empty, without control and direction codes; at most `most` characters."""
    lines = ("".join(filter(str.isprintable, line)).strip() for line in _CODES.sub("", text).splitlines())
    return next(filter(None, lines), "")[:most]


def clean(value: Any, depth: int = 0) -> Any:  # noqa: PLR0911 - one for each kind
    """What JSON gave, without what could not be written and read again, or would tell a terminal something.

    Texts lose control codes and halves of surrogate pairs, and end after MOST_CHARACTERS. An infinity becomes
    LARGEST; None stands for what is no number, for an integer of more than 64 bits, and for what is nested deeper than
    MOST_DEPTH.
    """
    match value:
        case str():
            return _cleaned(value)
        case float() if not math.isfinite(value):
            return None if math.isnan(value) else math.copysign(LARGEST, value)
        case int() if abs(value) > MOST_INTEGER:
            return None
        case dict() | list() if depth >= MOST_DEPTH:
            return None
        case dict():
            return {_cleaned(key): clean(child, depth + 1) for key, child in value.items()}
        case list():
            return [clean(child, depth + 1) for child in value]
    return value


def _cleaned(text: str) -> str:
    if text.isascii() and text.isprintable() and len(text) <= MOST_CHARACTERS:  # nearly all of them
        return text
    shown = "".join(one for one in _CODES.sub("", text) if one.isprintable() or one in "\n\t")
    return shown[:MOST_CHARACTERS]


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All values in a mapping and in the mappings inside it, each with its dotted name."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
