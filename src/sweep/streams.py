"""Standard streams that whoever started this process has closed."""

import os
import sys


def open_closed_ones() -> None:
    """Open those of the descriptors 0 to 2 that are closed, on nothing, for this process and all that it starts.

    Otherwise the next files to be opened get these numbers: a library that prints would write into the rows.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest that is free
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115 - for good
