"""A row and a matrix in words, the same for the terminal and for Markdown."""

import re
from collections.abc import Sequence

from sweep.cell import BASELINE
from sweep.reading import one_line
from sweep.report import matrix
from sweep.result import Decision, Quality, Result
from sweep.status import Status

HEADINGS = ("conversion", "status", "p50 ms", "speed-up", "trials", "rel. error", "convert s", "pays off", "note")
WORDS = frozenset({"conversion", "status", "note"})
"""The headings of columns that hold words, and no figures."""


def columns(row: Result) -> tuple[str, ...]:
    """The texts that the matrix shows of a row, under HEADINGS; a figure that does not exist is a dash."""
    latency, error = row.latency_ms, row.fidelity.rel_l2 if row.fidelity else None
    convert = row.seconds.get("convert")
    return (
        one_line(row.conversion),
        status(row),
        f"{latency.p50:.3f}" if latency else "–",
        speedup(row),
        trials(row),
        f"{error:.1e}" if error is not None else "–",
        f"{convert:.1f}" if convert is not None else "–",
        pays_off(row),
        note(row),
    )


def note(row: Result) -> str:
    """A row's message without what is said of its model, which `of_models` says once."""
    of_model = {f"the model {one.text}" for one in row.found}
    return "; ".join(said for said in row.message.split("; ") if said not in of_model)


def remarks(rows: Sequence[Result]) -> list[str]:
    """What is said below a matrix, a sentence each: of models, of hardware, of noise."""
    return [*of_models(rows), *unlike_hardware(rows), noise_floor(rows)]


def of_models(rows: Sequence[Result]) -> list[str]:
    """A sentence for each thing that is odd about an unconverted model, whichever of its rows say it."""
    said: dict[tuple[str, str], str] = {}
    for row in rows:
        for one in row.found:  # figures in it may differ between nodes and batch sizes: one will do
            key = (row.model, re.sub(r"\d[\d.e+-]*", "", one.text))
            said.setdefault(key, f"The model {one_line(row.model)} {one.text}.")
    return list(said.values())


def verdict(row: Result) -> str:
    """`ok`, or the status with its reason: `mismatch/output`."""
    return f"{row.status}/{row.reason}" if row.reason else str(row.status)


def status(row: Result) -> str:
    """The verdict, and of an ok row the quality of its figures: `ok firm`; rows of schema 1 have none."""
    return f"{verdict(row)} {row.quality}" if row.status is Status.OK and row.quality else verdict(row)


def decision(row: Result) -> Decision | None:
    """What a row's speed-up says against eager; None where it has none.

    Rows of schema 1 hold no decision: there it is whether the whole interval lies above or below 1.
    """
    if row.speedup is None or row.speedup.decision is not None:
        return row.speedup.decision if row.speedup else None
    if not row.speedup.is_a_difference:
        return Decision.UNDECIDED
    return Decision.FASTER if row.speedup.low > 1 else Decision.SLOWER


def is_disturbed(row: Result) -> bool:
    """Whether a row's figures are good for nothing but to be shown in brackets."""
    return row.quality is Quality.DISTURBED


def speedup(row: Result) -> str:
    """`1.42x` where it is decided that it is faster or slower, else `same (1.01x)` or `undecided (1.04x)`.

    It is in brackets where the row is not ok, or disturbed.
    """
    if row.speedup is None:
        return "–"
    figure = f"{row.speedup.value:.2f}x"
    if row.status is not Status.OK or is_disturbed(row):
        return f"({figure})"
    decided = decision(row)
    return figure if decided in {Decision.FASTER, Decision.SLOWER} else f"{decided} ({figure})"


def trials(row: Result) -> str:
    """How many trials the speed-up is of: `3`, or `3 confirming`; a dash in rows of schema 1, which do not say."""
    if row.speedup is None or row.speedup.decision is None:
        return "–"
    return f"{row.speedup.trials} confirming" if row.speedup.confirmed else str(row.speedup.trials)


def interval(row: Result) -> str:
    """`95 % interval 1.38x to 1.46x, of 3 confirming trials`; the row has a speed-up."""
    assert row.speedup is not None
    text = f"95 % interval {row.speedup.low:.2f}x to {row.speedup.high:.2f}x"
    return f"{text}, {of_trials(row)}" if of_trials(row) else text


def of_trials(row: Result) -> str:
    """`of 3 confirming trials` or `of 1 trial, not confirmed`; nothing in rows of schema 1."""
    if row.speedup is None or not (counted := trials_in_words(row)):
        return ""
    return f"of {counted}" if row.speedup.confirmed else f"of {counted}, not confirmed"


def trials_in_words(row: Result) -> str:
    """`3 confirming trials`, `1 trial`; nothing in rows of schema 1."""
    if row.speedup is None or trials(row) == "–":
        return ""
    return f"{trials(row)} {'trial' if row.speedup.trials == 1 else 'trials'}"


def pays_off(row: Result) -> str:
    """After how many calls converting has saved more time than it took; `never` where it is not faster than eager.

    A dash where that is not decided, or was disturbed, or is not known.
    """
    if row.speedup is None or row.status is not Status.OK or row.conversion == BASELINE or is_disturbed(row):
        return "–"
    calls = row.speedup.break_even_calls
    match decision(row):
        case Decision.FASTER:
            return "–" if calls is None else f"{calls:,}"
        case Decision.UNDECIDED:
            return "–"
        case _:
            return "never"


def provisional(rows: Sequence[Result], *, running: bool = False) -> str | None:
    """A sentence where nothing is confirmed; None where something is, or no row has a figure that could be.

    `running` is whether there may be more trials still.
    """
    measured = [row for row in rows if row.speedup and row.speedup.decision is not None]
    speedups = [row.speedup for row in measured if row.speedup]
    if not speedups or any(speedup.confirmed for speedup in speedups):
        return None
    if all(map(is_disturbed, measured)):
        return "Provisional: all figures were disturbed, and nothing is confirmed; it takes a quieter machine."
    most = max(speedup.trials or 1 for speedup in speedups)
    each = "one trial of each cell" if most == 1 else f"at most {most} trials of a cell"
    if running:
        return f"Provisional: {each} so far, and nothing is confirmed yet."
    return f"Provisional: {each}, and nothing is confirmed; a larger measure.budget (minutes) confirms the fastest."


def begun_round(number: int, cells: int, *, confirms: bool) -> str:
    """What is done in a round of trials that begins; nothing to say of the first, in which every cell gets its row."""
    counted = "1 cell" if cells == 1 else f"{cells:,} cells"
    if confirms:
        return f"Confirming the fastest: fresh trials of {counted}"
    if number == 1:
        return ""
    more = f"ore trials of {counted}, where they decide something"
    return f"Every cell has its row; m{more}" if number == 2 else f"M{more}"


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


FEWEST_FOR_A_SPREAD = 2
"""Trials of EAGER; the bound that one gives is sixteen times what it shows."""


def noise_floor(rows: Sequence[Result]) -> str:
    """The noise floor in words."""
    floor = matrix.noise_floor(rows)
    of_eager = {row.status for row in rows if row.conversion == BASELINE}
    if floor is None and Status.OK in of_eager:
        return "Noise floor: unknown, for every trial of EAGER was disturbed."
    if floor is None and of_eager:
        return "Noise floor: unknown, for no EAGER cell is ok."
    if floor is None:
        return "Noise floor: unknown, for there is no EAGER cell; add EAGER to compare eager with itself."
    if floor.bound is None:
        return f"Noise floor: {floor.share:.1%}; EAGER against itself came out that far from 1.00x."
    if floor.trials < FEWEST_FOR_A_SPREAD:
        return (
            f"Noise floor: unknown, for there is one trial of EAGER only, {percent(floor.share)} from 1.00x; more "
            "trials tell how far they differ."
        )
    return (
        f"Noise floor: a trial of EAGER against itself differs by {percent(floor.share)} (standard deviation; at most "
        f"{percent(floor.bound)} with 95 % confidence), over {floor.trials} trials."
    )


def percent(share: float) -> str:
    """`1.4 %`."""
    return f"{share * 100:.1f} %"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
