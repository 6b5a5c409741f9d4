"""A row and a matrix in words, the same for the terminal and for Markdown."""

from collections.abc import Sequence

from sweep.cell import BASELINE
from sweep.reading import one_line
from sweep.report import matrix
from sweep.result import Result, Status

HEADINGS = ("conversion", "status", "p50 ms", "speed-up", "rel. error", "convert s", "pays off", "note")


def columns(row: Result) -> tuple[str, ...]:
    """The texts that the matrix shows of a row, under HEADINGS; a figure that does not exist is a dash."""
    latency, error = row.latency_ms, row.fidelity.rel_l2 if row.fidelity else None
    convert = row.seconds.get("convert")
    return (
        one_line(row.conversion),
        verdict(row),
        f"{latency.p50:.3f}" if latency else "–",
        speedup(row),
        f"{error:.1e}" if error is not None else "–",
        f"{convert:.1f}" if convert is not None else "–",
        pays_off(row),
        row.message,
    )


def verdict(row: Result) -> str:
    """`ok`, or the status with its reason: `mismatch/output`."""
    return f"{row.status}/{row.reason}" if row.reason else str(row.status)


def speedup(row: Result) -> str:
    """`1.42x`, or `no diff. (1.01x)` where its interval holds 1; in brackets where the row is not ok."""
    if row.speedup is None:
        return "–"
    text = f"{row.speedup.value:.2f}x"
    if row.status is not Status.OK:
        return f"({text})"
    return text if row.speedup.is_a_difference else f"no diff. ({text})"


def pays_off(row: Result) -> str:
    """After how many calls converting has saved more time than it took; `never` where it is not faster than eager."""
    if row.speedup is None or row.status is not Status.OK or row.conversion == BASELINE:
        return "–"
    calls = row.speedup.break_even_calls
    return f"{calls:,}" if calls is not None and row.speedup.is_a_difference else "never"


def summary(rows: Sequence[Result]) -> str:
    """`53 cells: 45 ok, 8 skipped`."""
    counts = ", ".join(f"{n} {status}" for status, n in matrix.counts(rows).items())
    return f"{len(rows)} {'cell' if len(rows) == 1 else 'cells'}: {counts}"


def unlike_hardware(rows: Sequence[Result]) -> list[str]:
    """A sentence for each setting whose rows are in several tables because they ran on unlike hardware."""
    return [
        f"{title} ran on {number} kinds of hardware: each has a table of its own, for their times do not compare."
        for title, number in matrix.unlike_hardware(rows).items()
    ]


def noise_floor(rows: Sequence[Result]) -> str:
    """The noise floor in words."""
    distance = matrix.noise_floor(rows)
    if distance is None:
        return "Noise floor: unknown, for no EAGER cell was measured; add EAGER to compare eager with itself."
    return f"Noise floor: {distance:.1%}; EAGER against itself came out that far from 1.00x, so less is no difference."


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
