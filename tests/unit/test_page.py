import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.page.synthetic import about, synthetic
from tests.rows import speedup

import sweep.report.page
from sweep.evidence import Engine
from sweep.report import matrix, page
from sweep.report.page import answers, totals
from sweep.result import Fidelity, Quality, Result
from sweep.status import Reason, Status

PACKAGE = Path(sweep.report.page.__file__).parent


@pytest.fixture(scope="module")
def rows() -> list[Result]:
    return list(synthetic(432))


def written(rows: list[Result], said: dict[str, Any] | None = None, *, running: bool = False) -> str:
    made = page.Page(said or {})
    for row in rows:
        made.add(row)
    return "".join(made.html(running=running))


def data(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded


def shown(text: str) -> list[dict[str, Any]]:
    """The rows as a reader of the page's JSON takes them apart."""
    said = data(text)
    rows = [dict(zip(said["fields"], row, strict=True)) for row in said["rows"]]
    for row in rows:
        row |= {name: said["shared"][row[name]] for name in said["shares"]}
        row |= {name: dict(zip(parts, row[name], strict=True)) for name, parts in said["parts"].items() if row[name]}
    return rows


def faster(id_: str, value: float, low: float, high: float, **changes: Any) -> Result:
    """A row of one group with a speed-up of `value` in [low, high], which decides."""
    (row,) = [row for row in synthetic(3) if row.conversion == "EAGER"]
    changes = {"conversion": id_.upper(), "message": "", "quality": Quality.FIRM, **changes}
    return replace(row, id=id_, **{"speedup": speedup(value, low, high)} | changes)


def wrong(id_: str, value: float) -> Result:
    return faster(id_, value, value, value, status=Status.MISMATCH, reason=Reason.OUTPUT, message="it is off")


def answered(*rows: Result) -> answers.Answer:
    (answer,) = answers.answers(matrix.groups(rows))
    return answer


def test_vendored_files_are_those_that_were_vendored() -> None:
    table = (PACKAGE / "vendor" / "VENDORED.md").read_text()
    files = sorted((PACKAGE / "vendor").glob("*.js"))
    assert [file.name for file in files] == sorted(page.LIBRARIES)
    for file in files:
        assert f"`{hashlib.sha256(file.read_bytes()).hexdigest()}`" in table
        assert "</script" not in file.read_text()
        assert "<!--" not in file.read_text()


def test_every_row_is_on_the_page_with_its_figures(rows: list[Result]) -> None:
    found = {row["id"]: row for row in shown(written(rows))}
    assert list(found) == [row.id for row in rows]
    for row in rows:
        said = found[row.id]
        assert (said["status"], said["reason"], said["message"]) == (row.status, row.reason, row.message)
        assert (said["model"], said["conversion"], said["device"]) == (row.model, row.conversion, row.device)
        assert said["versions"] == row.versions
        assert said["attempts"] == list(row.attempts)
        if row.latency_ms and row.speedup and row.engine:
            assert said["latency_ms"]["p99"] == pytest.approx(row.latency_ms.p99, rel=1e-7)
            assert said["latency_ms"]["n"] == row.latency_ms.n
            assert said["speedup"]["low"] == pytest.approx(row.speedup.low, rel=1e-7)
            assert (said["quality"], said["decision"]) == (row.quality, row.speedup.decision)
            assert [trial[0] for trial in said["quotients"]] == [
                pytest.approx(quotient.value, rel=1e-7) for quotient in row.speedup.quotients
            ]
            assert [trial[2:6] for trial in said["quotients"]] == [
                [quotient.round, quotient.confirms, quotient.control, quotient.disturbed]
                for quotient in row.speedup.quotients
            ]
            assert said["seconds"]["waited"] == pytest.approx(row.seconds["waited"], rel=1e-7)
            assert said["engine"]["requested"] == row.engine.requested
        else:
            assert said["latency_ms"] is None


def test_groups_are_those_of_the_matrix(rows: list[Result]) -> None:
    said = data(written(rows))
    ids = [row[0] for row in said["rows"]]
    assert [(title, [ids[number] for number in members]) for title, _, members in said["groups"]] == [
        (title, [row.id for row in group]) for title, group in matrix.groups(rows)
    ]
    assert ["mlp · cuda · batch 1", "batch 1"] in [group[:2] for group in said["groups"]]


HOSTILE = "</script><script>alert(1)</script><!-- &amp; \u2028'\"{{ 7*7 }}"


def test_hostile_text_stays_text() -> None:
    row = faster("ok", 2, 1.9, 2.1, model=HOSTILE, conversion=HOSTILE, message=HOSTILE, node="\ud800")
    text = written([row], {"command": [HOSTILE], "nodes": [{"name": HOSTILE, "problem": "\ud800"}]}, running=True)
    text.encode()
    assert len(re.findall("<script", text)) == 2
    assert len(re.findall("</script", text)) == 2
    assert "<!--" not in text
    assert "\u2028" not in text.partition('<script id="data"')[2]
    assert shown(text)[0]["message"] == HOSTILE


def test_a_figure_that_is_no_number_does_not_break_the_page() -> None:
    fidelity = Fidelity(
        rel_l2=float("nan"), cosine=float("inf"), max_abs=1.0, top1_agreement=None, inputs=8, tolerance_class="int2"
    )
    engine = Engine(requested="eager", actual="eager", precision=None, evidence={"share": float("nan")})
    (row,) = shown(written([faster("odd", 2, 1.9, 2.1, fidelity=fidelity, engine=engine)]))
    assert row["fidelity"]["rel_l2"] is None
    assert row["engine"]["evidence"] == {"share": None}


def test_a_page_of_nothing_is_one() -> None:
    text = written([], {"plan": ["a", "b"]}, running=True)
    assert "running, 0 of 2 cells done" in text
    assert "content=\"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:;" in text
    assert "No cell is done yet" in text
    assert data(text)["rows"] == []


def test_a_page_grows_with_its_sweep(rows: list[Result]) -> None:
    made = page.Page(about(rows))
    for number, row in enumerate(rows[:40], 1):
        made.add(row)
        if number in {1, 39}:
            assert f"running, {number} of 432 cells done" in "".join(made.html(running=True))
    assert "stopped, 40 of 432 cells done" in "".join(made.html(running=False))
    assert "finished, 432 cells" in "".join(page.from_rows(rows, about(rows)))


def test_the_best_is_the_fastest_that_is_decided_and_firm() -> None:
    sure, unsure = faster("sure", 1.3, 1.2, 1.4), faster("unsure", 1.5, 0.9, 2.1)
    loaded = faster("loaded", 1.9, 1.8, 2.0, quality=Quality.DISTURBED)
    eager = faster("eager", 1.6, 1.5, 1.7)  # against itself: it may be anything, and is never the answer
    answer = answered(unsure, sure, loaded, faster("slow", 0.5, 0.4, 0.6), eager)
    assert answer.best is not None
    assert answer.best.id == "sure"
    # a single trial of EAGER at 1.6: the logarithm of it
    assert answer.doubts == ("A trial of EAGER against itself differs by 47.0 % here: this is no more than that",)
    assert answer.passed_over == (
        "UNSURE (1.50x): undecided: it may be no faster than eager",
        "LOADED (1.90x): disturbed: others used the machine in every trial, or it was throttled",
    )


def test_of_many_that_are_passed_over_a_few_are_told() -> None:
    unsure = [faster(f"unsure-{number}", 2 - number / 10, 0.5, 3) for number in range(5)]
    answer = answered(faster("sure", 1.3, 1.2, 1.4), *unsure)
    assert [said.partition(" ")[0] for said in answer.passed_over] == ["UNSURE-0", "UNSURE-1", "UNSURE-2"]
    assert answer.more_passed_over == 2
    assert "<li>and 2 more</li>" in written([faster("sure", 1.3, 1.2, 1.4), *unsure])


def test_where_nothing_is_faster_for_certain_it_says_so_and_why() -> None:
    answer = answered(faster("eager", 1.0, 0.9, 1.1), faster("b", 1.2, 0.9, 1.5), faster("c", 0.8, 0.7, 0.9))
    assert answer.best is None
    assert answer.verdict == (
        "Nothing is faster than eager for certain, of 2 conversions that are proved: 1 undecided, 1 slower."
    )
    only = "Nothing is faster than eager for certain, of the only conversion that is proved: slower."
    assert only in written([faster("c", 0.8, 0.7, 0.9)])


def test_an_answer_says_how_many_trials_it_is_of_and_whether_they_confirm_it() -> None:
    first, confirmed = (
        faster("a", 2.0, 1.9, 2.1),
        faster("b", 1.9, 1.8, 2.0, speedup=speedup(1.9, 1.8, 2, confirming=3)),
    )
    assert "95 % interval 1.90x to 2.10x, of 1 trial, not confirmed ·" in written([first])
    assert "95 % interval 1.80x to 2.00x, of 3 confirming trials ·" in written([first, confirmed])


def test_a_page_of_which_nothing_is_confirmed_is_provisional() -> None:
    first, confirmed = (
        faster("a", 2.0, 1.9, 2.1),
        faster("b", 1.9, 1.8, 2.0, speedup=speedup(1.9, 1.8, 2, confirming=3)),
    )
    assert "Provisional: one trial of each cell so far, and nothing is confirmed yet." in written([first], running=True)
    assert "Provisional: one trial of each cell, and nothing is confirmed; a larger" in written([first])
    assert "Provisional" not in written([first, confirmed])


def test_a_newer_row_takes_the_place_of_the_one_before(rows: list[Result]) -> None:
    before = [row for row in rows if row.status is Status.OK][:3]
    after = replace(before[1], status=Status.MISMATCH, reason=Reason.OUTPUT, message="off, the second time")
    anew = replace(before[1], speedup=speedup(3.0))
    made = page.Page(about(before))
    for row in before:
        made.add(row)
    made.replace(after)
    text = "".join(made.html(running=True))
    assert [(row["id"], row["status"]) for row in shown(text)] == [
        *((before[0].id, "ok"), (before[1].id, "mismatch"), (before[2].id, "ok")),
    ]
    assert (re.findall(r"<b>(\d)</b> (?:ok|mismatch)", text), "finished" in text) == (["2", "1"], False)
    made.replace(anew)
    text = "".join(made.html(running=True))
    assert shown(text)[1]["speedup"]["value"] == 3.0
    assert re.findall(r"<b>(\d)</b> (?:ok|mismatch)", text) == ["3", "0"]
    assert [cause[3:] for cause in data(text)["causes"]] == [[0, []]]
    place = data(text)["phases"].index("total")
    total = sum(row.seconds["total"] or 0 for row in before)
    assert sum(sums[place] for sums in data(text)["seconds"].values()) == pytest.approx(total)


def test_what_was_faster_and_is_not_proved_is_named() -> None:
    answer = answered(faster("a", 1.5, 1.4, 1.6), wrong("b", 1.4), wrong("c", 3.0), wrong("d", 2.0))
    assert answer.unproved is not None
    assert (answer.unproved.id, answer.more_unproved) == ("c", 1)
    nothing = answered(wrong("b", 2.0))
    assert nothing.verdict == "No conversion is proved here: 1 mismatch."


def test_notes_on_the_best_are_told() -> None:
    answer = answered(faster("a", 2.0, 1.9, 2.1, message="computes in bf16; 3 graph breaks"))
    assert answer.doubts == ("computes in bf16", "3 graph breaks")


def test_failures_alike_are_one_cause(rows: list[Result]) -> None:
    counted = totals.Totals()
    for number, said in enumerate(
        [
            "MODE_A in phase convert: cannot fuse node 12 at 0x7f00 in /tmp/a/x.py",
            "MODE_B in phase convert: cannot fuse node 7 at 0x7fab in /tmp/b/y.py; ran eager, not inductor",
            "MODE_B in phase convert: int8 is not fp16",
        ]
    ):
        row = replace(wrong(f"row-{number}", 2), message=said, conversion=said[:6])
        assert counted.add(row, "eager") == [0, 0, 1][number]
    assert [(cause.count, cause.text) for cause in counted.causes] == [
        (2, "… in phase convert: cannot fuse node … at … in …"),
        (1, "… in phase convert: int8 is not fp16"),
    ]


def test_seconds_are_added_up_by_family() -> None:
    asked = {"a": "onnxruntime", "b": "onnxruntime", "c": "inductor or eager"}
    engines = {id_: Engine(requested=engine, actual=None, precision=None) for id_, engine in asked.items()}
    seconds = {"convert": 1.5, "total": 2.0}
    rows = [faster(id_, 2, 1, 3, engine=engine, seconds=seconds) for id_, engine in engines.items()]
    said = data(written(rows))
    place = said["phases"].index("convert")
    assert {name: sums[place] for name, sums in said["seconds"].items()} == {"onnxruntime": 3.0, "inductor": 1.5}


def test_a_row_that_never_ran_has_the_family_its_name_tells(rows: list[Result]) -> None:
    families = {row["conversion"]: row["family"] for row in shown(written(rows)) if row["status"] == "skipped"}
    assert families["COMPILE_TVM"] == "tvm"
    assert families["EXPORT+COMPILE_TENSORRT"] == "tensorrt"


def test_of_too_many_rows_the_fastest_and_the_failed_are_kept(
    rows: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST_ROWS", 60)
    text = written(rows, about(rows))
    kept = {row["id"] for row in shown(text)}
    assert len(kept) == 60
    for _, group in matrix.groups(rows):
        ok = [row.id for row in group if row.status is Status.OK]
        assert kept.issuperset(ok[:3])
        assert kept.intersection(row.id for row in group if row.status is not Status.OK)
    assert "keeps 60 of 432 rows" in text
    assert "finished, 432 cells" in text
    counts = Counter(row.status for row in rows)
    assert all(re.search(rf"<b>{number}</b> {status}", text) for status, number in counts.items())
    assert sum(cause[3] for cause in data(text)["causes"]) == 432 - counts[Status.OK]


def test_stacks_of_very_many_crashes_do_not_make_the_page_too_large(
    rows: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed = [row for row in rows if row.crash and row.crash.stack]
    monkeypatch.setattr(page.compact, "CRASH_ROOM", 200)
    said = [row["crash"] for row in shown(written(crashed))]
    assert said[0]["stack"]
    assert not said[-1]["stack"]
    assert said[-1]["exception"] == (crashed[-1].crash and crashed[-1].crash.exception)


@pytest.mark.parametrize("most", [60, 1000])
def test_rows_that_are_added_together_make_the_same_page_as_one_by_one(
    most: int, rows: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST_ROWS", most)
    some, others = rows[:100], rows[100:]
    made = page.Page(about(rows))
    for row in some:
        made.add(row)
    made.add_all(others)
    text, expected = "".join(made.html(running=True)), written(rows, about(rows), running=True)
    assert shown(text) == shown(expected)
    assert len(shown(text)) == min(most, 432)
    assert {**data(text), "rows": 0, "shared": 0} == {**data(expected), "rows": 0, "shared": 0}
