"""Which known names are similar to an unknown one."""

import difflib
import re
from collections.abc import Sequence


def tokens(name: str) -> list[str]:
    return [token for token in re.split(r"[^A-Z0-9]+", name.upper()) if token]


def near(name: str, known: Sequence[str], most: int = 3) -> tuple[str, ...]:
    """The known names that were probably meant, the most probable first; empty if none is similar.

    Names with the same words; if there are none, those with all its words and the fewest more; else those with almost
    the same letters (Ratcliff and Obershelp's ratio, from difflib).
    """
    words = tokens(name)
    if same := [candidate for candidate in known if tokens(candidate) == words]:
        return tuple(same[:most])
    extra = {
        candidate: len(tokens(candidate)) - len(words)
        for candidate in known
        if words and set(words) <= set(tokens(candidate))
    }
    if extra:
        return tuple(candidate for candidate in known if extra.get(candidate) == min(extra.values()))[:most]
    by_text = {"_".join(tokens(candidate)): candidate for candidate in known}
    close = difflib.get_close_matches("_".join(words), list(by_text), n=most, cutoff=0.7)
    return tuple(by_text[text] for text in close)


def did_you_mean(names: Sequence[str]) -> str:
    """`: did you mean A or B?`, or nothing."""
    return f": did you mean {' or '.join(names)}?" if names else ""
