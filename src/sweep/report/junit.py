"""junit.xml: a test case for each cell, as Jenkins, GitLab and similar tools read it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

from sweep.report import matrix
from sweep.report.columns import COLUMNS
from sweep.result import Result
from sweep.status import Status

_OUTCOMES: Mapping[Status, str | None] = {
    Status.OK: None,
    Status.MISMATCH: "failure",
    Status.UNPROVED: "failure",
    Status.INVALID: "error",
    Status.CRASHED: "error",
    Status.SKIPPED: "skipped",
}
"""The element of JUnit that says how a test case ended; a test case that passed has none."""

_PROPERTIES = (
    *("id", "latency_ms.p50", "speedup.value", "speedup.low", "speedup.high", "fingerprint"),
    *("quality", "speedup.decision", "speedup.trials"),
)
_SHOWN = [column for column in COLUMNS if column.name in _PROPERTIES]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML document may hold, not even escaped: https://www.w3.org/TR/xml/#charsets."""


def as_xml(rows: Sequence[Result]) -> Iterator[str]:
    """A test suite for each table of the matrix, a test case for each of its rows, piece by piece.

    A test case's time is the seconds of all of the cell's processes, 0 where none ran. The message of an ok row is
    its output.
    """
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield f'<testsuites name="sweep"{_counts(rows)}>\n'
    for title, group in matrix.groups(rows):
        yield f" <testsuite name={_attribute(title)}{_counts(group)}>\n"
        # a dot begins a new package or class, so dots within a part are replaced
        classname = ".".join(part.replace(".", "_") for part in title.split(" · "))
        for row in group:
            yield from _case(row, classname)
        yield " </testsuite>\n"
    yield "</testsuites>\n"


def _case(row: Result, classname: str) -> Iterator[str]:
    # the second of two equal cells is a test case of its own
    suffix = "".join(row.id.rpartition("~")[1:]) if "~" in row.id else ""
    name = f"name={_attribute(f'{row.conversion}{suffix}')} classname={_attribute(classname)}"
    yield f'  <testcase {name} time="{_seconds(row):.3f}">\n   <properties>\n'
    for column in _SHOWN:
        if (value := column.value(row)) is not None:
            yield f"    <property name={_attribute(column.name)} value={_attribute(str(value))}/>\n"
    yield "   </properties>\n"
    if outcome := _OUTCOMES[row.status]:
        attributes = f"type={_attribute(row.reason or row.status)} message={_attribute(row.message)}"
        yield f"   <{outcome} {attributes}>{_escaped(_details(row))}</{outcome}>\n"
    elif row.message:
        yield f"   <system-out>{_escaped(row.message)}</system-out>\n"
    yield "  </testcase>\n"


def _details(row: Result) -> str:
    """All that is known of a row that is not ok, line by line."""
    lines = [row.message]
    if crash := row.crash:
        lines += [known for known in (crash.signal, crash.exception) if known]
        lines += ["", "Stack, outermost first:", *crash.stack] if crash.stack else []
        lines += ["", "The last it printed:", *crash.last_lines] if crash.last_lines else []
    if row.log:
        lines += ["", f"Log: {row.log}"]
    return "\n".join(lines)


def _counts(rows: Sequence[Result]) -> str:
    by_outcome = [_OUTCOMES[row.status] for row in rows]
    failures, errors, skipped = (by_outcome.count(outcome) for outcome in ("failure", "error", "skipped"))
    time = sum(map(_seconds, rows))
    return f' tests="{len(rows)}" failures="{failures}" errors="{errors}" skipped="{skipped}" time="{time:.3f}"'


def _seconds(row: Result) -> float:
    return row.seconds.get("total") or 0.0


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\ufffd", text))


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))
