"""Work outside the timed call: put off until an output is read, or saved up from earlier calls.

Each kind shows as a difference between two calls in a row, and is compared with eager's own by a sign test, so a busy
machine, which makes either of the two longer, does not make an honest conversion look late.

    reading    a call whose whole output is then had, less one whose output is not, and less having one that is there
    memory     a call with an input never seen before, less one with the same input again
    example    a call with an input seen just before, less one with the input that is timed
"""

import statistics
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

from sweep.child import outputs
from sweep.child.data import clone
from sweep.child.measure import Inputs, Subject

KINDS = ("reading", "memory", "example")

EXCUSED, EXCUSED_SECONDS = 0.25, 2e-6
"""The share of the latency, and the seconds, up to which a difference is excused, beyond eager's own."""

PAIRS, UNLIKE = 16, 1
"""Of so many differences so many may be no larger than what is excused.

Where the median difference is no larger, that comes about in 17 of 2^16 (sign test): 0.03 %, of each kind. It must
come about twice, so that a machine that is busy for a moment accuses nobody."""

FEWEST_OF_EAGER, MOST_OF_EAGER, SECONDS_FOR_EAGER = 2, 9, 2.0
"""Differences of which the median is eager's own: so many at least, then as many as there is time for, at most."""


class Delays:
    """Takes differences of each kind of one subject, as long as they are asked for."""

    def __init__(self, subject: Subject, new: Inputs) -> None:
        """`new` gives inputs that nobody has seen."""
        self._subject, self._new = subject, new
        self._ready: list[Any] | None = None
        self._places: list[Any] = []

    def take(self, kinds: Mapping[str, Any]) -> dict[str, float]:
        """One difference of each of these kinds, in seconds; none of `reading` where the output cannot be read."""
        subject, found = self._subject, {}
        if "memory" in kinds or "example" in kinds:
            data = self._new()
            self._wake(data)
            first = subject.seconds_with(data)
            second = subject.seconds_with(data)
            found["memory"] = first - second
        if "example" in kinds or "reading" in kinds:
            alone = subject.seconds_with(subject.inputs())
        if "example" in kinds:
            found["example"] = second - alone
        if "reading" in kinds:
            with suppress(outputs.UnreadableOutput):
                found["reading"] = self._seconds_to_read() - alone
        return {kind: found[kind] for kind in kinds if kind in found}

    def _seconds_to_read(self) -> float:
        """Of a call and having its output, without what it takes to have one like it that is there already."""
        subject, data = self._subject, self._subject.inputs()
        if self._ready is None:
            self._ready = outputs.ready(subject.call())
            self._places = outputs.places_for(self._ready)
        ready, places = self._ready, self._places
        having = subject.seconds_of(lambda: outputs.touch(ready, places))
        return subject.seconds_of(lambda: outputs.touch(subject.forward(data), places)) - having

    def _wake(self, data: Any) -> None:
        """Have the next call find caches, clocks and threads as the one after it: its input read, a call before it."""
        clone(data)
        if statistics.median(self._subject.samples) < WAKES_WITHIN:
            self._subject.call()


WAKES_WITHIN = 0.2
"""Seconds of a call from which nothing that was done before it shows: ONNX Runtime's threads, which had gone to sleep
while an input was made, made a call of 17 ms up to 7 ms longer."""


def of_eager(delays: Delays) -> dict[str, float]:
    """Eager's own of each kind, the median of some, in seconds; 0 where it is less."""
    ends = perf_counter() + SECONDS_FOR_EAGER
    found: list[dict[str, float]] = []
    while len(found) < FEWEST_OF_EAGER or (len(found) < MOST_OF_EAGER and perf_counter() < ends):
        found.append(delays.take(dict.fromkeys(KINDS)))
    return {kind: max(0.0, statistics.median(one.get(kind, 0.0) for one in found)) for kind in KINDS}


def surely_late(delays: Delays, excused: Mapping[str, float]) -> dict[str, float]:
    """The median of those kinds that are surely more than what is excused of each, in seconds.

    A kind is given up as soon as that cannot come out any more, which of an honest conversion is after two or three.
    """
    found: dict[str, list[float]] = {kind: [] for kind in excused}
    for _ in range(PAIRS):
        if not found:
            break
        taken = delays.take(found)
        for kind in list(found):
            if kind not in taken:
                del found[kind]
                continue
            found[kind].append(taken[kind])
            if sum(delay <= excused[kind] for delay in found[kind]) > UNLIKE:
                del found[kind]
    return {kind: statistics.median(delays) for kind, delays in found.items()}


def problem(converted: Subject, new: Inputs, of_eager: Mapping[str, float]) -> str | None:
    """What is wrong if work was left out of the timed call; `of_eager` has the kinds to look at, with its own."""
    latency = statistics.median(converted.samples)
    excused = {kind: seconds + EXCUSED * latency + EXCUSED_SECONDS for kind, seconds in of_eager.items()}
    late = surely_late(Delays(converted, new), excused)
    late = surely_late(Delays(converted, new), {kind: excused[kind] for kind in late})  # it must be so twice
    if not late:
        return None
    worst = max(late, key=lambda kind: late[kind] - excused[kind])
    return _WORDS[worst].format(ms=f"{late[worst] * 1e3:.3g}")


_WORDS = {
    "memory": "remembers its answers: a new input takes {ms} ms longer than the same one again",
    "example": "is faster for the input that is timed: other inputs take {ms} ms longer",
    "reading": "returns before its work is done: having its whole output takes {ms} ms beyond the timed call",
}


def remembers(subject: Subject, new: Inputs) -> bool:
    """Whether the unconverted model itself is surely quicker with an input that it has seen."""
    excused = {"memory": EXCUSED * statistics.median(subject.samples) + EXCUSED_SECONDS}
    return all(surely_late(Delays(subject, new), excused) for _ in range(2))


def seconds_by_input(call: Callable[[Any], Any], subject: Subject, inputs: list[Any]) -> list[float]:
    """How long a call with each input takes, in seconds, of those that there was time to call with twice: the least of
    up to three, for a single one may have been disturbed.
    """
    ends = perf_counter() + SECONDS_FOR_EAGER
    found: list[list[float]] = [[] for _ in inputs]
    for number in range(3 * len(inputs)):
        place = number % len(inputs)
        found[place].append(subject.seconds_of(partial(call, clone(inputs[place]))))
        if perf_counter() >= ends:
            break
    return [min(seconds) for seconds in found if len(seconds) > 1]
