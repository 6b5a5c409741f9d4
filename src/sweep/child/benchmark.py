"""What is done with a cell's model, step by step: in its processes, and in the script that makes a cell again.

    Baseline(…)     builds; then take_reference → warm_up → time_reading → keep, in a control;
                    recall, in the process of a conversion; take_reference → measure → time_reading, where one does both
    Conversion(…)   casts; then convert → first_call → warm_up → sample → time_beyond_the_call → verify → attest

The steps are taken in this order. Each raises what the model or its conversion raises. Two things come before them:
`threads.pin`, before torch is imported, and so before this module is; and `convert.prepare`.
"""

from pathlib import Path

import torch

from sweep.cell import Cell
from sweep.child import attest, convert, engines
from sweep.child.measure import Subject, Timer
from sweep.evidence import Engine, OutputCheck


class Baseline:
    """A cell's model as it was built: what a conversion must agree with, and should be faster than.

    `example` is the input to convert with and to time, `others` are those to compare outputs for; each is
    [batch_size, *shape]. `reference` and `eager`, by which the latency is measured, are there after `take_reference` or
    `recall`.
    """

    reference: attest.Reference
    eager: Subject

    def __init__(self, cell: Cell, device: torch.device, timer: Timer) -> None:
        """Build the model and its inputs from the cell's seed."""
        self.cell, self.device, self.timer = cell, device, timer
        convert.seed(cell.seed, device)
        self.model = convert.build_model(cell.model.config, device)
        self.example, *self.others = convert.make_inputs(cell, device)

    def take_reference(self) -> None:
        """Have the model's outputs for `others`."""
        with torch.no_grad():
            self.reference = attest.Reference(self.model, self.others)
        self.eager = self._subject()

    def _subject(self) -> Subject:
        # by forward, as alma calls every conversion: EAGER against this baseline compares like with like
        return Subject(self.model.forward, self.example, self.timer, self.cell.measure)

    def keep(self, file: Path) -> None:
        """Write what `recall` reads."""
        torch.save({"reference": self.reference.kept(), "reading_delay": self.eager.reading_delay}, file)

    def recall(self, file: Path) -> None:
        """Take reference and reading delay from what another process kept for an equal cell."""
        kept = torch.load(file, weights_only=True, mmap=True)
        self.reference = attest.Reference.recalled(kept["reference"], self.others)
        self.eager = self._subject()
        self.eager.reading_delay = kept["reading_delay"]

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

    def time_reading(self) -> None:
        """Find how long it takes to read an output: a conversion may take as long."""
        with torch.no_grad():
            self.eager.read_whole(attest.tensors, enough=self.eager.excusable / 10, times=3)


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
        self.data = convert.cast(baseline.example, mode.dtype)

    def convert(self) -> None:
        """Convert the model, which many modes do in place."""
        baseline = self.baseline
        self.forward = convert.convert(baseline.model, self._mode, self.data, baseline.device)
        baseline.timer.wait()
        self.converted = Subject(self.forward, self.data, baseline.timer, baseline.cell.measure)

    def first_call(self) -> object:
        """Call it once, in which many engines compile, and return the output."""
        with torch.no_grad():
            output = self.converted.call()
            self.baseline.timer.wait()
        return output

    def warm_up(self) -> None:
        """Call until the latency has settled."""
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

    def time_beyond_the_call(self) -> None:
        """Time what may have been left out of the timed call."""
        with torch.no_grad():
            baseline, dtype = self.baseline, self._mode.dtype
            inputs = (convert.cast(x, dtype) for x in baseline.others)
            attest.time_beyond_the_call(self.converted, baseline.eager, inputs)

    def verify(self) -> OutputCheck:
        """Compare outputs with the reference, and see that nothing was left out of the timed call."""
        with torch.no_grad():
            baseline = self.baseline
            return attest.verified(baseline.reference, self.converted, baseline.eager, self._mode.dtype)

    def attest(self) -> Engine:
        """Find which engine ran, by one more call."""
        with torch.no_grad():
            return self._witness.engine(self.forward, self.data, self.baseline.device)
