"""The columns that a row has in tables: their names, types, units, meanings, and how a value is read from a row."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sweep.result import Result

Type = Literal["string", "int64", "double", "bool"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column; its name is the path to its value in a row. Where the unit is `JSON`, the value is JSON as text.

    Rows of an earlier schema than `since` do not know it.
    """

    name: str
    type: Type
    unit: str
    meaning: str
    since: int = 1

    def value(self, row: Result) -> Any:
        """The value of a row in this column, of the column's type; None where it has none."""
        parent, _, field = self.name.partition(".")
        value = getattr(row, parent) if row.schema >= self.since else None
        if field:
            value = value.get(field) if isinstance(value, Mapping) else getattr(value, field, None)
        if value is None:
            return None
        match self.type:
            case "string" if self.unit == "JSON":
                return json.dumps(value, default=asdict)
            case "string":
                return str(value)
            case "double":
                return float(value)
            case "int64":
                # break_even_calls may be more than a 64-bit number can hold
                return value if -(2**63) <= value < 2**63 else None
            case "bool":
                return bool(value)


def _table(*lines: tuple[str, Type, str, str], since: int = 1) -> Iterator[Column]:
    for name, type_, unit, meaning in lines:
        yield Column(name=name, type=type_, unit=unit, meaning=meaning, since=since)


COLUMNS = (
    *_table(
        ("schema", "int64", "", "version of the row's format"),
        ("id", "string", "", "the cell's id: the same question has the same in every run"),
        ("model", "string", "", "name of the model"),
        ("conversion", "string", "", "name of the conversion"),
        ("device", "string", "", "name of the device asked for"),
        ("batch_size", "int64", "samples", "samples a call"),
        (
            "threads",
            "int64",
            "threads",
            "CPU threads of the engine; empty where it never ran and none were set",
        ),
        ("overrides", "string", "JSON", "options that were set and have no column, by name"),
        ("status", "string", "", "ok, mismatch, unproved, invalid, skipped or crashed"),
        ("reason", "string", "", "why it is not ok"),
        ("message", "string", "", "what to do about it; of an ok row, what to know besides"),
        ("phase", "string", "", "the phase it ended in"),
    ),
    *_table(
        (
            "seconds.build",
            "double",
            "s",
            "imports, the model, its inputs; in the first trial, as are those below",
        ),
        (
            "seconds.eager",
            "double",
            "s",
            "its control getting ready; 0 where it was there already, for another cell",
        ),
        ("seconds.convert", "double", "s", "converting"),
        ("seconds.first_call", "double", "s", "the first call"),
        ("seconds.warmup", "double", "s", "warming up"),
        ("seconds.measure", "double", "s", "blocks by turns with its control"),
        ("seconds.verify", "double", "s", "comparing outputs and finding out what ran"),
        ("seconds.total", "double", "s", "all its trials from start to end, without waiting and without their control"),
        ("seconds.waited", "double", "s", "waiting for its turn to measure, or stopped while others measured"),
    ),
    *_table(
        ("latency_ms.p50", "double", "ms", "median of a call: the median of the trials' own, as are those below"),
        ("latency_ms.p90", "double", "ms", "90th percentile of a call"),
        ("latency_ms.p99", "double", "ms", "99th percentile of a call"),
        ("latency_ms.mean", "double", "ms", "mean of a call"),
        ("latency_ms.std", "double", "ms", "sample standard deviation of a call"),
        ("latency_ms.min", "double", "ms", "the fastest call of all trials"),
        ("latency_ms.max", "double", "ms", "the slowest call of all trials"),
        ("latency_ms.n", "int64", "calls", "samples of all trials"),
        ("latency_ms.p50_low", "double", "ms", "lower end of p50's 95 % interval, measure.drift included"),
        ("latency_ms.p50_high", "double", "ms", "upper end of p50's 95 % interval, measure.drift included"),
        ("latency_ms.processes", "int64", "processes", "trials, each a fresh process, that samples come from"),
        (
            "throughput_per_s",
            "double",
            "samples/s",
            "batch_size, or what a batch of your own data holds, over the mean latency",
        ),
        ("eager.p50_ms", "double", "ms", "median of a call of the unconverted model, by turns with it"),
        ("eager.n", "int64", "calls", "samples of the unconverted model"),
        (
            "speedup.value",
            "double",
            "ratio",
            "eager over conversion: geometric mean of the trials' quotients, of confirming ones once there are any; a "
            "trial's is of lower quartiles of calls, by turns",
        ),
        ("speedup.low", "double", "ratio", "lower end of its 95 % interval"),
        ("speedup.high", "double", "ratio", "upper end of its 95 % interval"),
        ("speedup.break_even_calls", "int64", "calls", "calls after which converting pays off; empty where never"),
    ),
    *_table(
        (
            "fidelity.rel_l2",
            "double",
            "ratio",
            "relative L2 error against eager's output: the worst part and input",
        ),
        ("fidelity.cosine", "double", "ratio", "cosine with eager's output: the worst part and input"),
        ("fidelity.max_abs", "double", "output", "largest absolute error, in what the model's output is in"),
        ("fidelity.top1_agreement", "double", "share", "rows whose largest element is where eager's is"),
        ("fidelity.inputs", "int64", "inputs", "distinct inputs that were compared"),
        ("fidelity.tolerance_class", "string", "", "the class of tolerance it was judged by"),
        ("engine.requested", "string", "", "what the conversion's label says runs it"),
        ("engine.actual", "string", "", "what was seen to run it; empty where that cannot be told"),
        ("engine.precision", "string", "", "what it computed in, where that is known"),
        ("memory_mb.rss_peak", "double", "MB", "peak of resident memory, above that before the model was built"),
        (
            "memory_mb.cuda_peak",
            "double",
            "MB",
            "what its device, if it is no CPU, had less than before the model was built, by other cells there too",
        ),
    ),
    *_table(
        ("load.cpu_by_others", "double", "share", "of all CPUs, used by other processes meanwhile; the worst of all"),
        ("load.cpu_pressure", "double", "share", "of the time, that some process waited for a CPU"),
        ("load.quota_throttled", "double", "share", "of the time, that the CPU quota of the control group was used up"),
        ("load.heat_throttled", "bool", "", "whether heat slowed a core down"),
        ("load.gpu_processes", "int64", "processes", "other processes that computed on the GPU"),
        ("load.gpu_throttled", "bool", "", "whether the GPU ran slower, for heat or want of power"),
        ("crash", "string", "JSON", "of a crash: signal, exception, Python stack, the last lines printed"),
        ("node", "string", "", "the machine it ran on"),
        ("hardware", "string", "", "that machine's hardware, in words"),
        ("fingerprint", "string", "", "that hardware and its driver, as a hash: times of unlike ones do not compare"),
        ("versions", "string", "JSON", "versions of Python and packages, by name"),
        ("compat", "string", "JSON", "fixes for alma or torch that it went through"),
        ("attempts", "string", "JSON", "how each attempt ended, and where"),
        ("log", "string", "", "its log, within the run folder"),
        ("samples", "string", "", "its samples, within the run folder"),
        ("engine.evidence", "string", "JSON", "what was seen of the engine that ran it"),
    ),
    *_table(
        ("quality", "string", "", "firm, rough or disturbed: what the figures are good for; only firm ones can win"),
        ("speedup.decision", "string", "", "against eager: faster, slower, same (within measure.margin) or undecided"),
        ("speedup.trials", "int64", "trials", "fresh processes that speedup.value is of"),
        (
            "speedup.quotients",
            "string",
            "JSON",
            "of every trial: value (eager over conversion), spread (its standard error as a share), round, confirms, "
            "disturbed, page_faults and eager_page_faults (in a call)",
        ),
        since=2,
    ),
    *_table(
        ("fidelity.allowed", "double", "ratio", "relative L2 error that was allowed of the part with the largest"),
        ("fidelity.differing_share", "double", "share", "of integers, booleans and texts that are not eager's"),
        (
            "fidelity.outputs",
            "string",
            "JSON",
            "each part of the output by its path: figures, allowed, worst view",
        ),
        (
            "engine.share",
            "double",
            "share",
            "of the model's work, or weights, that the engine did, where known",
        ),
        ("engine.outside", "string", "JSON", "operators that ran outside the engine, those that took most time first"),
        ("found", "string", "JSON", "what is odd about the unconverted model"),
        ("convert_cpus", "double", "CPUs", "how many CPUs converting had on average, with the compilers that it ran"),
        (
            "shapes",
            "string",
            "JSON",
            "how it takes each of the further sizes: sizes, status, message, times, recompiled",
        ),
        ("metric.name", "string", "", "the measure of your own, data.metric"),
        ("metric.value", "double", "metric", "that measure of the conversion, on your data"),
        ("metric.eager", "double", "metric", "that measure of the unconverted model"),
        ("metric.drop", "double", "metric", "by how much the conversion is worse; less than 0 where it is better"),
        ("metric.allowed_drop", "double", "metric", "how much worse it may be; empty where nothing was said"),
        ("metric.samples", "int64", "samples", "of your data that it was taken of"),
        ("environment", "string", "", "the environment it ran in, by its name; empty for its node's own"),
        since=2,
    ),
)
"""The columns in the order that they have in files. Names and order stay; a new column comes at the end."""


def as_markdown() -> str:
    """docs/columns.md."""
    lines = [f"| `{c.name}` | {c.type} | {c.unit or '–'} | {c.meaning} |" for c in COLUMNS]
    return "\n".join([_LEAD, "| column | type | unit | what it is |", "| --- | --- | --- | --- |", *lines, ""])


_LEAD = """\
# The columns of a row

`matrix.csv`, `results.parquet` and the frame of `sweep.load(FOLDER).frame()` have these columns, in this order. Names,
types and units stay as they are; new columns come at the end. What a row does not have is empty (null), never 0. MB are
10^6 bytes, a share is from 0 to 1, and `JSON` is text that holds something deeper. Figures of an `ok` row are proved;
those of a `mismatch` are what was measured, and are not its label's. `disturbed` ones (`quality`) rank nowhere. Rows of
schema 1 lack the columns from `quality` on, and their speed-up is eager's median over the conversion's.

`results.jsonl` has the same, nested: `latency_ms.p50` is `row["latency_ms"]["p50"]` there.

<!-- Made by scripts/columns from src/sweep/report/columns.py. -->
"""
