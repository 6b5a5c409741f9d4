"""What is done with a cell's model, step by step: in its processes, and in the script that makes a cell again.

    Baseline(…)     builds; then, in a control: take_reference → warm_up → examine_memory → examine_latency →
                    find_losses → take_shapes → take_metric → keep; in the process of a conversion: recall; in
                    one that does both: take_reference → measure → examine_latency → find_losses
    Conversion(…)   casts; then convert → first_call → warm_up → sample → look_beyond_the_call → verify →
                    check_metric → attest

The steps are taken in this order. Each raises what the model or its conversion raises. Two things come before them:
`threads.pin`, before torch is imported, and so before this module is; and `convert.prepare`.
"""

import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

from sweep import inputs
from sweep.cell import Cell
from sweep.child import beyond, convert, dynamic, engines, examine, libraries, metric, shapes
from sweep.child.batches import BadData, Batch
from sweep.child.data import Data, cast, clone
from sweep.child.feed import Feed
from sweep.child.measure import Inputs, Subject, Timer
from sweep.child.reference import Reference
from sweep.evidence import Engine, Found, MetricCheck, OutputCheck, ShapeCheck, loss_class
from sweep.reaper import resident

QUICK_SECONDS = 2.0
"""What verifying may take for a conversion to be verified in its turn, alone."""


class Baseline:
    """A cell's model as it was built: what a conversion must agree with, and should be faster than.

    `example` is the input to convert with and to time, `others` are those to compare outputs for; each is one value,
    and `model` takes it so. `found` is what is odd about the model. `reference` and `eager`, by which the latency is
    measured, are there after `take_reference` or `recall`.
    """

    reference: Reference
    eager: Subject

    def __init__(self, cell: Cell, device: torch.device, timer: Timer, read: Sequence[Batch] = ()) -> None:
        """Build the model and its inputs from the cell's seed, or these from what was `read` of its data."""
        self.cell, self.device, self.timer = cell, device, timer
        self._surroundings = examine.Surroundings()
        timer.device.seed(cell.seed)
        model, prefix = convert.build_model(cell.model.config, device, cell.limits.memory)
        self.feed = Feed(cell, model, device, read)
        self.model = convert.taking_one_value(model, cell.model.config, self.feed.called_with)
        self.example, *self.others = self.feed.first()
        self.found: list[Found] = [*self._surroundings.restored(), *examine.of_the_model(self.model)]
        if given := self.feed.given:
            self.found += examine.of_its_data(len(given.inputs), self.feed.samples, given.left_out)
        self.found += [Found(kind="library", text=note) for note in getattr(model, libraries.NOTES, ())]
        if prefix:
            self.found.append(
                Found(kind="checkpoint", text=f"has a checkpoint whose keys begin with {prefix}: taken off")
            )
        # by forward, as alma calls every conversion: EAGER against this baseline compares like with like
        self.forward: Callable[[Any], Any] = self.model if examine.has_hooks(self.model) else self.model.forward
        self._delays: dict[str, float] = dict.fromkeys(beyond.KINDS, 0.0)
        self.shapes: list[dict[str, Any]] = []
        self.metric: dict[str, Any] = {}

    def take_reference(self) -> None:
        """Have the model's outputs for `others`, and see what is odd about them."""
        with torch.no_grad():
            self.reference = Reference(self.forward, self.others, self.feed.samples)
            self.found += examine.of_its_answers(self.reference, self.forward)
            self.found += self._surroundings.restored()
        self.eager = self._subject()

    def _subject(self) -> Subject:
        return Subject(self.forward, self.inputs(), self.timer, self.cell.measure)

    def inputs(self, changed: Callable[[Data], Data] = clone) -> Inputs:
        """What gives each timed call its input, changed: `example`, or those of its data in turn, unless the model
        changes or remembers it."""
        kinds = {one.kind for one in self.found}
        if "memory" in kinds:
            return self.new_inputs(changed)
        timed = [self.example, *self.others] if self.feed.given else [self.example]
        in_turn = cycle([changed(data) for data in timed])
        return (lambda: clone(next(in_turn))) if "input" in kinds else lambda: next(in_turn)

    def new_inputs(self, changed: Callable[[Data], Data] = clone) -> Inputs:
        """Gives inputs that are like `example`, changed, but that nobody has seen."""
        new = self.feed.new()
        return lambda: changed(next(new))

    def find_losses(self, earlier: Path | None = None) -> None:
        """Find what honest conversions lose on this model; or take it from what an `earlier` process kept, if there is
        such a file and that process had the same answers.
        """
        with torch.no_grad():
            before = self.reference.largest_noise
            self.reference.answer_again(self.forward)  # after many calls
            steady = not {"random", "state"} & {one.kind for one in self.found}
            if steady:
                self.found += examine.of_many_calls(self.reference, before)
            if earlier is not None and earlier.exists():
                off = self.reference.adopt(torch.load(earlier, weights_only=True, mmap=True)["reference"])
                self.found += examine.of_another_process(off) if steady else ()
            if not self.reference.losses:
                most = self.cell.limits.memory
                self.reference.find_losses(self.model, self.example, most * 1e6 if most else None)
            self.found += examine.of_its_rounding(self.reference, self.model)
            self.found += self._surroundings.restored()

    def keep(self, file: Path) -> None:
        """Write what `recall` reads."""
        kept = {"reference": self.reference.kept(), "found": [asdict(one) for one in self.found]}
        kept |= {"delays": self._delays, "shapes": self.shapes, "metric": self.metric, "data": self.feed.digest}
        torch.save(kept, file)

    def recall(self, file: Path) -> None:
        """Take from what another process kept for an equal cell. Raises BadData where that had other data."""
        kept = torch.load(file, weights_only=True, mmap=True)
        if self.feed.digest != kept["data"]:
            raise BadData("it yields other batches each time it is read: have it seed what it shuffles by")
        self.reference = Reference.recalled(kept["reference"], self.others)
        self.found = [Found(**one) for one in kept["found"]]
        self._delays, self.shapes, self.metric = kept["delays"], kept["shapes"], kept["metric"]
        list(self._surroundings.restored())
        self.eager = self._subject()

    def take_shapes(self) -> None:
        """Have the model's outputs for the further sizes that are asked for, too."""
        with torch.no_grad():
            self.shapes = [shapes.of_eager(self, sizes) for sizes in inputs.shapes(self.cell.model.config)]

    def take_metric(self) -> None:
        """Measure the model by the user's own metric, if there is one. Raises BadData."""
        with torch.no_grad():
            self.metric = metric.of_eager(self.feed, self.forward)

    def warm_up(self) -> None:
        """Call the model until its latency has settled."""
        with torch.no_grad():
            self.eager.warm_up()

    def measure(self) -> None:
        """Warm up, and take samples of the model's latency."""
        with torch.no_grad():
            self.eager.measure()

    def take_block(self) -> list[float]:
        """A block of calls of the model, in seconds."""
        with torch.no_grad():
            return self.eager.take_block()

    def examine_memory(self) -> None:
        """See whether calls leave something behind, once its latency has settled, in each of two blocks of them."""
        self.take_block()
        grown, calls = [], self.eager.calls
        for _ in range(2):
            before = resident()
            self.take_block()
            grown.append(resident() - before)
        self.found += examine.of_its_memory(min(grown), (self.eager.calls - calls) / 2)

    def examine_latency(self) -> None:
        """See whether the model remembers inputs or takes longer for some, and how long it takes to read its output."""
        with torch.no_grad():
            new = self.new_inputs()
            if beyond.remembers(self.eager, new):
                self.found.append(
                    Found(
                        kind="memory", text="is quicker with an input that it has seen: every timed call gets a new one"
                    )
                )
                self.eager.inputs = new
            seconds = beyond.seconds_by_input(self.forward, self.eager, [self.example, *self.others])
            self.found += examine.of_its_latency(seconds)
            self._delays = beyond.of_eager(beyond.Delays(self.eager, new))

    @property
    def delays(self) -> dict[str, float]:
        """Eager's own seconds beyond the timed call, of those kinds that a conversion is to be looked at for."""
        kinds = {one.kind for one in self.found}
        meaningless = {"memory": {"memory", "example"}, "latency": {"example"}}
        left_out = set().union(*(meaningless.get(kind, set()) for kind in kinds))
        return {kind: seconds for kind, seconds in self._delays.items() if kind not in left_out}


class Conversion:
    """One conversion of a cell's model. `data` is the input it is made with, and timed with, in the mode's dtype.

    `forward` and `converted`, by which its latency is measured, are there after `convert`.
    """

    forward: convert.Forward
    converted: Subject

    def __init__(self, baseline: Baseline) -> None:
        """Cast the input, and watch from now on for the engine that is used."""
        mode = baseline.cell.mode
        assert mode is not None, "only cells with a mode are dispatched"
        self.baseline, self._mode = baseline, mode
        self._witness = engines.Witness(mode, baseline.model)
        self.loss_class = loss_class(mode)
        self.data = self.cast(baseline.example)
        self._late: str | None = None

    def cast(self, x: Data) -> Data:
        """The input as the mode wants it."""
        return cast(x, getattr(torch, self._mode.dtype))

    def convert(self) -> None:
        """Convert the model, which many modes do in place, with an input of its own, which some change."""
        baseline = self.baseline
        if baseline.cell.dynamic:
            dynamic.on(baseline.model, self.cast(baseline.feed.without_ones()), baseline.feed.varying())
        calibration = baseline.feed.calibration(self.cast)
        self.forward = convert.convert(baseline.model, self._mode, clone(self.data), baseline.device, calibration)
        baseline.timer.wait()
        self.converted = Subject(self.forward, partial(clone, self.data), baseline.timer, baseline.cell.measure)

    def first_call(self) -> object:
        """Call it once, in which many engines compile, and return the output."""
        with torch.no_grad():
            output = self.converted.call()
            self.baseline.timer.wait()
        return output

    def warm_up(self) -> None:
        """Call until the latency has settled."""
        self.converted.inputs = self.baseline.inputs(self.cast)
        with torch.no_grad():
            self.converted.warm_up()

    def sample(self) -> None:
        """Take the blocks of a trial, one after the other."""
        with torch.no_grad():
            self.converted.sample()

    def take_block(self) -> None:
        """Take one block of a trial."""
        with torch.no_grad():
            self.converted.take_block()

    def look_beyond_the_call(self) -> None:
        """See whether work was left out of the timed call."""
        with torch.no_grad():
            new = self.baseline.new_inputs(self.cast)
            self._late = beyond.problem(self.converted, new, self.baseline.delays)

    @property
    def is_quick(self) -> bool:
        """Whether the calls that are left to verify it are over within QUICK_SECONDS, alone."""
        calls = len(self.baseline.others) + 2 + self.baseline.feed.calls_of_metric
        return calls * statistics.median(self.converted.samples) < QUICK_SECONDS

    def verify(self) -> OutputCheck:
        """Compare outputs of the callable that was timed, after many calls; work outside the timed call counts, too."""
        with torch.no_grad():
            self.converted.call_many_times()
            check = self.baseline.reference.check(self.forward, self.cast, self.loss_class)
            return check if check.problem else replace(check, problem=self._late)

    def check_metric(self) -> MetricCheck | None:
        """What the user's metric says of the callable that was timed; None where there is none."""
        with torch.no_grad():
            return metric.check(self.baseline.feed, self.baseline.metric, self.forward, self.cast)

    def check_shape(self, number: int, alone: Callable[[], AbstractContextManager[None]]) -> ShapeCheck:
        """How it takes the inputs of one of the further sizes; `alone` is entered for what is timed."""
        with torch.no_grad():
            return shapes.check(self.baseline, self, number, alone)

    def attest(self) -> Engine:
        """Find which engine ran, by one more call."""
        with torch.no_grad():
            return self._witness.engine(self.forward, clone(self.data), self.baseline.device)
