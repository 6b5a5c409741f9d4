"""Values in nested configurations, by dotted paths."""

from collections.abc import Iterator
from typing import Any


def unlike(a: Any, b: Any, path: str = "") -> Iterator[str]:
    """The paths at which two configurations differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            yield from unlike(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
    elif a != b:
        yield path


def at(config: Any, path: str) -> Any:
    """The value at a path; None where there is none."""
    for key in path.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config
