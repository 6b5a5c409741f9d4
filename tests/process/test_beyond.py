"""Work that is left out of the timed call: with real clocks, and real work."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from sweep.cell import Measure
from sweep.child import beyond, examine
from sweep.child.measure import Subject, Timer

CPU = torch.device("cpu")
LAYERS = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(4))).eval().requires_grad_(False)


def subject_of(forward: Callable[[torch.Tensor], Any]) -> Subject:
    example = torch.ones(1, 256)
    subject = Subject(forward, lambda: example, Timer(CPU), Measure(seconds=0.05, block_seconds=0.01))
    subject.measure()
    return subject


def new() -> torch.Tensor:
    return torch.randn(1, 256)


def puts_off(x: torch.Tensor) -> Any:
    class Late(torch.Tensor):
        def detach(self) -> torch.Tensor:
            return LAYERS(x)  # type: ignore[no-any-return]

    return x.as_subclass(Late)


def remembering(identity: bool) -> Callable[[torch.Tensor], Any]:
    answers: dict[Any, Any] = {}

    def forward(x: torch.Tensor) -> Any:
        key = id(x) if identity else x.numpy().tobytes()
        if key not in answers:
            answers[key] = (x, LAYERS(x))  # kept, so that no other has its id
        return answers[key][1]

    return forward


def knows_the_example(x: torch.Tensor) -> Any:
    return x if bool((x == 1).all()) else LAYERS(x)


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (puts_off, "returns before its work is done"),
        (remembering(identity=True), "remembers its answers"),
        (remembering(identity=False), "remembers its answers"),
        (knows_the_example, "is faster for the input that is timed"),
    ],
)
def test_a_model_of_a_few_microseconds_cannot_leave_its_work_out(forward: Any, said: str) -> None:
    own = beyond.of_eager(beyond.Delays(subject_of(LAYERS), new))
    assert said in str(beyond.problem(subject_of(forward), new, own))


@pytest.mark.parametrize("forward", [LAYERS, lambda x: torch.nn.functional.interpolate(x[None], scale_factor=500)])
def test_an_honest_one_is_left_alone(forward: Any) -> None:
    subject = subject_of(forward)
    own = beyond.of_eager(beyond.Delays(subject, new))
    assert beyond.problem(subject_of(forward), new, own) is None


def test_what_eager_does_too_is_excused() -> None:
    forward = remembering(identity=False)
    own = beyond.of_eager(beyond.Delays(subject_of(forward), new))
    assert own["memory"] > 0
    late = beyond.problem(subject_of(remembering(identity=False)), new, {"memory": 10 * own["memory"]})
    assert late is None


def test_a_model_that_remembers_is_known_by_itself() -> None:
    assert beyond.remembers(subject_of(remembering(identity=True)), new)
    assert not beyond.remembers(subject_of(LAYERS), new)


class Given(beyond.Delays):
    def __init__(self, delays: Iterator[float]) -> None:
        self.delays, self.taken = delays, 0

    def take(self, kinds: Any) -> dict[str, float]:
        self.taken += 1
        return {"memory": next(self.delays)}


def test_the_sign_test_stops_as_soon_as_it_can() -> None:
    honest = Given(iter([2.0, 0.5, 0.5]))
    assert beyond.surely_late(honest, {"memory": 1.0}) == {}
    assert honest.taken == 3
    late = Given(iter([0.5, *[2.0] * 15]))
    assert beyond.surely_late(late, {"memory": 1.0}) == {"memory": 2.0}
    assert late.taken == beyond.PAIRS


def test_it_must_come_about_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    once: Iterator[dict[str, float]] = iter([{"memory": 1.0}, {}, {"memory": 1.0}, {}])
    monkeypatch.setattr(beyond, "surely_late", lambda delays, excused: next(once))
    subject = subject_of(LAYERS)
    assert not beyond.remembers(subject, new)
    assert beyond.problem(subject, new, {"memory": 0.0}) is None


def test_the_kind_that_is_latest_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    late = {"memory": 0.001, "reading": 0.005}
    monkeypatch.setattr(beyond, "surely_late", lambda delays, excused: late)
    said = beyond.problem(subject_of(LAYERS), new, {"memory": 0.0, "reading": 0.0})
    assert said == "returns before its work is done: having its whole output takes 5 ms beyond the timed call"


def test_eagers_own_is_the_median_of_as_many_as_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, expected in ((1000.0, beyond.MOST_OF_EAGER), (0.0, beyond.FEWEST_OF_EAGER)):
        monkeypatch.setattr(beyond, "SECONDS_FOR_EAGER", seconds)
        given = Given(iter([-1.0, 0.5] * 9))
        own = beyond.of_eager(given)
        assert given.taken == expected
        assert own == {"reading": 0.0, "memory": 0.0, "example": 0.0}


def test_having_an_output_is_compared_with_having_one_that_is_there() -> None:
    delays = beyond.Delays(subject_of(LAYERS), new)
    assert set(delays.take({"reading": None})) == {"reading"}
    (ready,) = delays._ready or [None]
    assert ready is not None
    assert ready.shape == (1, 256)


def test_how_long_each_input_takes_is_said() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.01 if bool(x.sum() > 0) else 0.001)
        return x

    subject = subject_of(forward)
    seconds = beyond.seconds_by_input(forward, subject, [torch.ones(1), -torch.ones(1)])
    (found,) = examine.of_its_latency(seconds)
    assert found.kind == "latency"
    assert not list(examine.of_its_latency([1.0, 1.2]))
