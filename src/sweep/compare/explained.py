"""What a reader of a comparison should know besides its tables: how the sweeps differ, and how it was found."""

from statistics import median

from sweep.compare.comparison import Against, Comparison
from sweep.compare.significance import SIGNIFICANCE
from sweep.reading import one_line

MOST_OPTIONS = 6
"""Of more options that differ only the first are named."""

BY_TURNS = 2
"""The first schema of rows whose cells were measured by turns with eager."""


def about(against: Against) -> list[str]:
    """How the sweeps differ besides their cells."""
    lines = [f"versions: {one_line(', '.join(against.versions), 1000)}"] if against.versions else []
    if against.measured_otherwise:
        lines.append(f"measured or judged otherwise, and compared nevertheless: {_options(against)}")
    if against.eager:
        ratios = sorted(one.ratio for one in against.eager)
        span = f" ({ratios[0]:.3f} to {ratios[-1]:.3f} in {len(ratios)} groups)" if len(ratios) > 1 else ""
        lines.append(f"eager moved by {median(ratios):.3f}{span}: no alarm is raised by that")
    return lines


def _options(against: Against) -> str:
    """The options that differ, those of most cells first."""
    differs = sorted(against.measured_otherwise.items(), key=lambda item: -item[1])
    said = [text if n == against.matched else f"{text} ({n} of {against.matched} cells)" for text, n in differs]
    more = f" and {len(said) - MOST_OPTIONS} more" if len(said) > MOST_OPTIONS else ""
    return one_line(", ".join(said[:MOST_OPTIONS]), 1000) + more


def method(comparison: Comparison) -> list[str]:
    """How speed-ups were tested, and what the verdicts and the columns mean."""
    tests = comparison.tests
    if not tests:
        return ["Nothing was tested: no conversion is ok on both sides, undisturbed, and has what its trials found."]
    lines = [
        f"Tested: the speed-ups of {tests} {'cell' if tests == 1 else 'cells'} (eager's latency over that of the "
        "conversion), on the logarithms of what each trial found, by two-sided moderated t-tests with Holm's "
        f"correction over all of them at {SIGNIFICANCE:.0%}. A difference is told that is significant and more than "
        f"{comparison.threshold * 100:.3g}%. Intervals are each cell's own, not corrected.",
        "base and new are speed-ups; p50 and eager are how these two latencies moved, new over base. Latencies feel "
        "the machine's mood of the day, so nothing is decided by them.",
    ]
    changes = comparison.least_changes
    steadiest, usual, unsteadiest = changes[0], median(changes), changes[-1]
    lines.append(
        f"To be told, a cell had to be slower by {_percent(usual)} (the median; {_percent(steadiest)} where trials "
        f"were steadiest, {_percent(unsteadiest)} where least so): smaller changes may be there, unseen."
    )
    tested = [timed for against in comparison.against for timed in against.timed if timed.tested]
    if borrowed := sum(timed.tested.borrowed for timed in tested if timed.tested):
        lines.append(
            f"{borrowed} of them had one trial a side: how such trials vary was taken from the other cells, and from "
            "what is usual where these are few."
        )
    if earlier := sum(min(timed.base.schema, timed.new.schema) < BY_TURNS for timed in tested):
        lines.append(
            f"{earlier} of them have a side of an earlier version, which measured eager first and then the conversion: "
            "what the machine did in between is in their speed-ups."
        )
    return lines


def _percent(share: float) -> str:
    return f"{share:.0%}" if share < 10 else "ten times and more"
