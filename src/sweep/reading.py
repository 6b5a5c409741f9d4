"""Reads plain data: as nouns, checked; as one line; as a flat mapping."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter


@cache
def of(noun: Any) -> TypeAdapter[Any]:
    """What turns plain data or JSON into that noun. It takes 10 ms to make."""
    return TypeAdapter(noun)


def one_line(text: str, most: int = 300) -> str:
    """The first line of `text` that says something, without what a person cannot see: control and direction codes."""
    lines = ("".join(filter(str.isprintable, line)).strip() for line in text.splitlines())
    return next(filter(None, lines), "")[:most]


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All that is inside a mapping and the mappings in it, by dotted names."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
