import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest
from tests import rows

from sweep.report import junit
from sweep.result import Result
from sweep.status import Reason, Status

OF_EACH = [
    rows.ok(message="computes in bf16, its label says fp32"),
    rows.ok(
        status=Status.MISMATCH, reason=Reason.OUTPUT, message='off by <much> & "more"\nsecond', conversion="FP16+EAGER"
    ),
    rows.crashed(),
    rows.not_ok(Reason.UNKNOWN_CONVERSION, "did you mean EAGER?", conversion="EGAER"),
    rows.not_ok(Reason.NEEDS_DEVICE, "no GPU here", conversion="TENSORRT", model="vit_b_16.v1"),
]


def parsed(made_from: Sequence[Result]) -> ET.Element:
    return ET.fromstring("".join(junit.as_xml(made_from)))


def cases(root: ET.Element) -> dict[str, ET.Element]:
    return {case.attrib["name"]: case for case in root.iter("testcase")}


def test_a_suite_for_each_table_and_a_case_for_each_row() -> None:
    root = parsed(OF_EACH)
    assert root.tag == "testsuites"
    assert [(suite.tag, suite.attrib["name"], len(suite)) for suite in root] == [
        ("testsuite", "mlp · cpu · batch 4 · cache=warm", 4),
        ("testsuite", "vit_b_16.v1 · cpu · batch 4 · cache=warm", 1),
    ]
    assert {name: case.attrib["classname"] for name, case in cases(root).items()} == {
        **dict.fromkeys(("ONNX_CPU", "FP16+EAGER", "JIT_TRACE", "EGAER"), "mlp.cpu.batch 4.cache=warm"),
        "TENSORRT": "vit_b_16_v1.cpu.batch 4.cache=warm",
    }


@pytest.mark.parametrize(
    ("name", "outcome", "type_"),
    [
        ("ONNX_CPU", None, None),
        ("FP16+EAGER", "failure", "output"),
        ("JIT_TRACE", "error", "signal"),
        ("EGAER", "error", "unknown-conversion"),
        ("TENSORRT", "skipped", "needs-device"),
    ],
)
def test_a_status_in_the_words_of_junit(name: str, outcome: str | None, type_: str | None) -> None:
    case = cases(parsed(OF_EACH))[name]
    found = [child for child in case if child.tag in {"failure", "error", "skipped"}]
    assert [child.tag for child in found] == ([outcome] if outcome else [])
    assert [child.attrib["type"] for child in found] == ([type_] if type_ else [])


def test_counts_and_times_are_those_of_the_cases() -> None:
    root = parsed(OF_EACH)
    counts = ("tests", "failures", "errors", "skipped", "time")
    assert [[element.attrib[name] for name in counts] for element in (root, *root)] == [
        ["5", "1", "2", "1", "22.250"],  # 9.5 + 9.5 + 3.25 s
        ["4", "1", "2", "0", "22.250"],
        ["1", "0", "0", "1", "0.000"],
    ]
    assert [case.attrib["time"] for case in root.iter("testcase")] == ["9.500", "9.500", "0.000", "3.250", "0.000"]


def test_what_a_row_says_is_there_word_for_word() -> None:
    found = cases(parsed(OF_EACH))
    failure = found["FP16+EAGER"].find("failure")
    assert failure is not None
    assert failure.attrib["message"] == 'off by <much> & "more"\nsecond'
    error = found["JIT_TRACE"].find("error")
    assert error is not None
    assert error.text is not None
    for said in ("SIGSEGV", "model.py:3 in forward", "about to <fall>", "\ufffd[1mbye", "Log: cells/x/cell.log"):
        assert said in error.text
    assert found["ONNX_CPU"].findtext("system-out") == "computes in bf16, its label says fp32"


def test_figures_are_properties() -> None:
    case = cases(parsed(OF_EACH))["ONNX_CPU"]
    said = {p.attrib["name"]: p.attrib["value"] for p in case.iterfind("properties/property")}
    assert (said["speedup.value"], said["latency_ms.p50"]) == ("2.0", "2.0")
    assert (said["quality"], said["speedup.decision"], said["speedup.trials"]) == ("firm", "faster", "3")
    skipped = cases(parsed(OF_EACH))["TENSORRT"]
    assert [p.attrib["name"] for p in skipped.iterfind("properties/property")] == ["id"]


@pytest.mark.parametrize(
    "text",
    ["\x00", "\x1b[31m", "\x0b\x0c\x08", "\ud800", "\ufffe\uffff", "]]>", "<!--", "&amp;", "'\"", "\U0001f600 \x85"],
)
def test_nothing_a_model_prints_breaks_it(text: str) -> None:
    hostile = rows.crashed(
        model=text + "m", conversion=text + "c", message=text + "why", node=text, overrides={text: text}
    )
    root = parsed([hostile])
    (case,) = root.iter("testcase")
    assert case.attrib["name"].endswith("c")
    assert "".join(junit.as_xml([hostile])).encode()  # UTF-8, as its first line says


def test_no_rows_are_a_document_too() -> None:
    assert parsed([]).attrib["tests"] == "0"
