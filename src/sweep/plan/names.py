"""Which name was meant by one that is not known."""

import difflib
import re
from collections.abc import Sequence


def tokens(name: str) -> list[str]:
    return [token for token in re.split(r"[^A-Z0-9]+", name.upper()) if token]


def near(name: str, known: Sequence[str], most: int = 3) -> tuple[str, ...]:
    """The names that were probably meant, likeliest first; empty if none is like it.

    In order: the same words; all its words and the fewest others; the same letters but for a few
    (Ratcliff and Obershelp's ratio, from difflib).
    """
    asked = tokens(name)
    if same := [other for other in known if tokens(other) == asked]:
        return tuple(same[:most])
    extra = {other: len(tokens(other)) - len(asked) for other in known if asked and set(asked) <= set(tokens(other))}
    if extra:
        return tuple(other for other in known if extra.get(other) == min(extra.values()))[:most]
    by_text = {"_".join(tokens(other)): other for other in known}
    close = difflib.get_close_matches("_".join(asked), list(by_text), n=most, cutoff=0.7)
    return tuple(by_text[text] for text in close)


def did_you_mean(names: Sequence[str]) -> str:
    """`: did you mean A or B?`, or nothing."""
    return f": did you mean {' or '.join(names)}?" if names else ""
