"""The report page in a real browser. The `visit` fixture fails a test whose page said anything on the console, opened a
dialog of the browser's or asked for any other file.
"""

import shlex
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect

from sweep.evidence import Found
from sweep.result import Crash, Decision, MetricFigures, OutputFigures, Quality, Quotient, Result, ShapeFigures, Speedup
from sweep.status import Reason, Status
from tests.page.conftest import Open, Write
from tests.page.synthetic import synthetic


def found(tab: Tab) -> str:
    return tab.locator("#found").inner_text()


def column(tab: Tab, number: int) -> list[str]:
    return tab.locator(f"table.cells tbody tr > :nth-child({number})").all_inner_texts()


def test_a_sweep_is_all_there(rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows))
    assert found(tab) == "432 of 432 cells"
    expect(tab.locator("table.cells tbody tr")).to_have_count(100)
    expect(tab.locator("table.matrix tbody tr")).to_have_count(72)
    assert tab.locator("table.matrix tbody td[data-row]").count() == 432
    expect(tab.locator("figure svg")).to_have_count(3)
    tab.get_by_role("button", name="Show more").first.click()
    expect(tab.locator("table.cells tbody tr")).to_have_count(200)
    for heading in ("Where the time went", "What is not ok, by cause", "How much is noise", "Nodes"):
        expect(tab.get_by_role("heading", name=heading)).to_be_visible()


def test_one_cell_is_a_page_too(rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows[:1]))
    assert found(tab) == "1 of 1 cells"
    assert tab.locator("table.matrix tbody td").count() == 1


@pytest.mark.parametrize("count", [0, 1])
def test_without_an_ok_row_it_is_a_page_too(count: int, rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write([row for row in rows if row.status is Status.SKIPPED][:count]))
    assert found(tab) == f"{count} of {count} cells"


def test_filters_find_what_they_say(rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows))
    tab.locator("#filter-text").fill("OpenVINO resnet")
    openvino = [row for row in rows if "OPENVINO" in row.conversion and row.model == "resnet"]
    assert found(tab) == f"{len(openvino)} of 432 cells"
    tab.locator("#clear").click()
    tab.locator("#filter-model").select_option("vit")
    tab.locator("#filter-device").select_option("cuda")
    tab.locator("#status-crashed").click()
    tab.locator("#status-mismatch").click()
    bad = [
        row
        for row in rows
        if (row.model, row.device) == ("vit", "cuda") and row.status in {Status.CRASHED, Status.MISMATCH}
    ]
    assert found(tab) == f"{len(bad)} of 432 cells"
    assert sorted(column(tab, 1)) == sorted(row.conversion for row in bad)
    expect(tab.locator("table.matrix tbody td[data-row]")).to_have_count(len(bad))
    tab.locator("#clear").click()
    tab.locator("#filter-family").select_option("onnxruntime")
    assert found(tab) == f"{sum(row.conversion.startswith('ONNX') for row in rows)} of 432 cells"


def test_a_cause_shows_its_cells(rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows))
    item = tab.locator(".causes li", has_text="ended by SIGSEGV")
    item.get_by_role("button").click()
    segfaults = [row for row in rows if row.reason is Reason.SIGNAL]
    assert found(tab) == f"{len(segfaults)} of 432 cells"
    tab.get_by_role("button", name="No longer only this cause").click()
    assert found(tab) == "432 of 432 cells"


def test_columns_sort_both_ways_with_what_is_missing_last(rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows))
    heading = tab.locator("th", has=tab.locator("#sort-p50-ms"))
    expect(heading).to_have_attribute("aria-sort", "none")
    times = sorted(row.latency_ms.p50 for row in rows if row.latency_ms)
    tab.locator("#sort-p50-ms").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    assert column(tab, 6)[:5] == [f"{time:.3f}" for time in times[:5]]
    tab.locator("#sort-p50-ms").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    assert column(tab, 6)[:5] == [f"{time:.3f}" for time in times[:-6:-1]]
    tab.locator("#sort-p50-ms").click()
    expect(heading).to_have_attribute("aria-sort", "none")


def test_what_was_disturbed_is_in_brackets_everywhere_and_ranks_nowhere(
    rows: list[Result], write: Write, visit: Open
) -> None:
    (loaded, *_) = [row for row in rows if row.quality is Quality.DISTURBED and row.status is Status.OK]
    assert loaded.speedup
    best = replace(loaded, speedup=replace(loaded.speedup, value=99.0, low=98.0, high=100.0, decision=Decision.FASTER))
    tab = visit(write([best if row is loaded else row for row in rows]))
    cell = tab.locator(f"#m-{rows.index(loaded)}")
    assert cell.inner_text() == "!(99.00x)"
    assert "ok disturbed, (99.00x)" in (cell.get_attribute("aria-label") or "")
    assert "faster" not in (cell.get_attribute("class") or "")
    tab.locator("#sort-speed-up").click()
    assert "99.00x" not in column(tab, 7)[0]
    tab.locator("#filter-text").fill("disturbed")
    disturbed = [row for row in rows if row.quality is Quality.DISTURBED]
    assert found(tab) == f"{len(disturbed)} of 432 cells"
    assert "(99.00x)" in column(tab, 7)
    assert sum(said.endswith("ok disturbed") for said in column(tab, 5)) == sum(
        row.status is Status.OK for row in disturbed
    )
    assert "99.00x" not in "".join(tab.locator(".answer .lead").all_inner_texts())
    answers = " ".join(tab.locator(".answer").all_text_contents())
    assert f"{loaded.conversion} (99.00x): disturbed" in answers


def test_what_is_not_decided_has_the_same_words_as_elsewhere(rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows))
    for decision, mark in ((Decision.SAME, "≈"), (Decision.UNDECIDED, "?")):
        (row, *_) = [
            row
            for row in rows
            if (row.status, row.speedup and row.speedup.decision) == (Status.OK, decision)
            and row.quality is not Quality.DISTURBED
        ]
        assert row.speedup
        figure = f"({row.speedup.value:.2f}x)"
        cell = tab.locator(f"#m-{rows.index(row)}")
        assert cell.inner_text() == mark + figure
        assert f"{decision} {figure}" in (cell.get_attribute("aria-label") or "")
        tab.goto(f"{tab.url.partition('#')[0]}#cell={quote(row.id)}")
        expect(tab.get_by_role("dialog")).to_contain_text(f"{decision} {figure}")


def test_every_trial_is_told_with_what_it_is_for(rows: list[Result], write: Write, visit: Open) -> None:
    trials = (
        *(Quotient(value=1.512, spread=0.011), Quotient(value=0.9, spread=0.2, round=2, disturbed=True)),
        Quotient(value=1.456, spread=0.004, round=3, confirms=True),
    )
    speedup = Speedup(value=1.456, low=1.4, high=1.5, trials=1, decision=Decision.FASTER, quotients=trials)
    (row, *_) = [row for row in rows if row.status is Status.OK and row.conversion != "EAGER"]
    tab = visit(write([replace(row, quality=Quality.FIRM, speedup=speedup)]), f"#cell={quote(row.id)}")
    dialog = tab.get_by_role("dialog")
    lines = dialog.locator(".trials tbody tr").all_inner_texts()
    assert [line.split() for line in lines] == [
        ["1", "1.512x", "1.1", "%", "1", "first"],
        ["2", "(0.900x)", "20.0", "%", "2", "more,", "disturbed"],
        ["3", "1.456x", "0.4", "%", "3", "confirms"],
    ]
    expect(dialog.get_by_role("img", name="Quotients of 3 trials, 1 of which confirm")).to_be_visible()
    expect(dialog).to_contain_text("of the confirming trials alone")
    assert "95 % interval 1.40x to 1.50x, of 1 confirming trial" in tab.locator(".answer").inner_text()
    assert tab.locator("#provisional").count() == 0


def test_what_is_unproved_says_so_and_shows_each_part_of_its_output(
    rows: list[Result], write: Write, visit: Open
) -> None:
    (row, *_) = [row for row in rows if row.status is Status.OK and row.conversion != "EAGER"]
    assert row.fidelity is not None
    figures: dict[str, Any] = {"cosine": None, "max_abs": None, "rel_l2": None, "differing_share": None}
    scores = OutputFigures(
        name="[0].scores", kind="float", allowed=2e-5, worst_view="row", **figures | {"rel_l2": 0.25}
    )
    labels = OutputFigures(name="[0].labels", kind="integer", allowed=0.0, **figures | {"differing_share": 0.5})
    noise = Found(kind="random", text="gives another answer at every call")
    unproved = replace(
        row,
        status=Status.UNPROVED,
        reason=Reason.OUTPUT,
        message="nothing can be compared: the model gives another answer at every call",
        fidelity=replace(row.fidelity, outputs=(scores, labels)),
        found=(noise,),
    )
    tab = visit(write([unproved, rows[0]]), f"#cell={quote(row.id)}")
    dialog = tab.get_by_role("dialog")
    expect(dialog).to_contain_text("unproved/output")
    expect(dialog).to_contain_text("on 1.4 CPUs")
    lines = dialog.locator(".parts tbody tr").all_inner_texts()
    assert [line.split()[:4] for line in lines] == [
        ["[0].scores", "float", "0.25", "2.0e-5"],
        ["[0].labels", "integer", "0.5", "0"],
    ]
    expect(tab.get_by_text(f"The model {row.model} {noise.text}.", exact=True)).to_have_count(1)


def test_other_sizes_and_the_users_own_metric_are_in_a_cell(rows: list[Result], write: Write, visit: Open) -> None:
    (row, *_) = [row for row in rows if row.status is Status.OK and row.conversion != "EAGER"]
    shapes = (
        ShapeFigures(sizes={"seq": 64}, status="ok", first_call_ms=30.0, p50_ms=2.0, eager_p50_ms=3.0, recompiled=1),
        ShapeFigures(sizes={"batch": 4, "seq": 32}, status="raised", message="ValueError: <b>too short</b>"),
    )
    metric = MetricFigures(name="f1", value=0.91, eager=0.93, drop=0.02, allowed_drop=0.05, samples=1500)
    tab = visit(write([replace(row, shapes=shapes, metric=metric), rows[0]]), f"#cell={quote(row.id)}")
    dialog = tab.get_by_role("dialog")
    lines = dialog.get_by_role("region", name="Other sizes").locator("tbody tr")
    texts = lines.nth(0).locator("th, td").all_inner_texts()
    assert texts == ["seq=64", "ok", "2 ms", "3 ms", "30 ms", "1", ""]
    assert lines.nth(1).locator("th, td").all_inner_texts()[-1] == "ValueError: <b>too short</b>"
    for said in ("Your metric", "0.91", "0.02", "of 0.05 allowed", "1,500"):
        expect(dialog).to_contain_text(said)


def test_rows_of_the_first_schema_are_a_page_too(rows: list[Result], write: Write, visit: Open) -> None:
    def early(row: Result) -> Result:
        speedup = row.speedup and Speedup(value=row.speedup.value, low=row.speedup.low, high=row.speedup.high)
        return replace(row, schema=1, quality=None, speedup=speedup)

    tab = visit(write([early(row) for row in rows]))
    assert found(tab) == "432 of 432 cells"
    (eager, *_) = [row for row in rows if row.conversion == "EAGER"]
    tab.locator(f"#t-{rows.index(eager)}").first.click()
    dialog = tab.get_by_role("dialog")
    expect(dialog).to_contain_text("undecided (")
    assert dialog.locator(".trials").count() == 0
    assert tab.locator("#provisional").count() == 0


def test_a_cell_opens_by_click_and_closes_by_escape(rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows))
    line = tab.locator("table.cells tbody tr").nth(3)
    line.locator("td").nth(3).click()
    dialog = tab.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("heading").first).to_have_text(line.locator("button").inner_text())
    assert tab.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    tab.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(line.locator("button")).to_be_focused()


def test_the_matrix_is_walked_with_arrow_keys(rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows))
    cells = tab.locator("table.matrix tbody td")
    assert tab.locator("table.matrix td[tabindex='0']").count() == 1
    cells.first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp"):
        tab.keyboard.press(key)
    target = tab.locator("table.matrix tbody tr").nth(1).locator("td").nth(1)
    expect(target).to_be_focused()
    assert tab.locator("table.matrix td[tabindex='0']").count() == 1
    tab.keyboard.press("Enter")
    dialog = tab.get_by_role("dialog")
    expect(dialog.get_by_role("heading").first).to_have_text(tab.locator("table.matrix tbody th").nth(1).inner_text())
    tab.keyboard.press("Escape")
    expect(target).to_be_focused()


def test_an_answer_opens_its_cell(rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows))
    link = tab.locator(".answer a").first
    link.click()
    expect(tab.get_by_role("dialog").get_by_role("heading").first).to_have_text(link.inner_text())


def test_what_was_chosen_survives_a_reload(rows: list[Result], write: Write, visit: Open) -> None:
    path = write(rows)
    tab = visit(path)
    tab.locator("#filter-text").fill("inductor")
    tab.locator("#status-ok").click()
    tab.locator("#sort-speed-up").click()
    tab.locator("#chart-group").select_option("vit · cuda · batch 1")
    tab.locator("table.cells tbody button").nth(2).click()
    opened, count, first = tab.locator("#detail-title").inner_text(), found(tab), column(tab, 1)[:5]
    tab.reload()
    tab.wait_for_selector("#noise-title")
    assert (tab.locator("#detail-title").inner_text(), found(tab), column(tab, 1)[:5]) == (opened, count, first)
    assert tab.locator("#filter-text").input_value() == "inductor"
    assert tab.locator("#chart-group").input_value() == "vit · cuda · batch 1"
    expect(tab.locator("#status-ok")).to_have_attribute("aria-pressed", "true")
    tab.keyboard.press("Escape")
    expect(tab.get_by_role("dialog")).to_be_hidden()


def test_while_a_sweep_runs_the_page_reads_itself_again_unless_paused(
    rows: list[Result], write: Write, visit: Open
) -> None:
    tab = visit(write(rows[:30], running=True))
    expect(tab.locator("#state")).to_contain_text("running, 30 of 30")
    write(rows[:31], running=True)
    expect(tab.locator("#state")).to_contain_text("running, 31 of 31")
    tab.locator("#pause").click()
    assert "paused=1" in tab.url
    tab.reload()
    expect(tab.locator("#pause")).to_have_text("Go on")
    write(rows[:32])
    tab.locator("#pause").click()
    expect(tab.locator("#state")).to_contain_text("finished, 32 cells")
    expect(tab.locator("#pause")).to_have_count(0)


def test_a_crash_is_told_in_full(rows: list[Result], write: Write, visit: Open) -> None:
    (row, *_) = [row for row in rows if row.reason is Reason.SIGNAL]
    folder = "multirun/it's a run"
    path = write(rows, folder=folder)
    tab = visit(path, f"#cell={row.id.replace('+', '%2B')}")
    dialog = tab.get_by_role("dialog")
    for said in ("SIGSEGV", "/srv/kernel.py:80 in call", "Fatal Python error", row.attempts[-1], "AMD EPYC"):
        expect(dialog).to_contain_text(said)
    command = dialog.get_by_label("The command that runs it again").inner_text()
    assert shlex.split(command) == ["python", "-m", "sweep.rerun", f"{folder}/cells/{row.id}"]
    link = dialog.get_by_role("link", name="cell.log")
    address = link.evaluate("link => link.href")
    assert address == (path.parent / "cells" / row.id / "cell.log").as_uri().replace("+", "%2B")


HOSTILE = "</script><img src=x onerror=alert(1)><script>alert(2)</script>\"'>"


def test_hostile_text_comes_out_as_text(rows: list[Result], write: Write, visit: Open) -> None:
    crash = Crash(signal=None, exception=HOSTILE, stack=(HOSTILE,), last_lines=(HOSTILE,))
    bad = [
        replace(
            row, model=HOSTILE, conversion=HOSTILE + row.conversion, node=HOSTILE, hardware=HOSTILE, message=HOSTILE
        )
        for row in rows[:80]
    ]
    bad = [replace(row, crash=crash, log="javascript:alert(1)") if row.crash else row for row in bad]
    tab = visit(write(bad, folder=HOSTILE))
    expect(tab.locator("h1")).to_contain_text(HOSTILE)
    for row in [*[row for row in bad if row.crash][:1], *[row for row in bad if row.latency_ms][:1]]:
        tab.locator(f"#t-{bad.index(row)}").click()
        expect(tab.get_by_role("dialog")).to_contain_text(HOSTILE)
        assert tab.locator("dialog a[href^='javascript']").count() == 0
        tab.keyboard.press("Escape")
    tab.locator("figure svg circle").first.hover()
    expect(tab.locator("figure svg [aria-label=tip]").first).to_contain_text("alert(2)")
    assert tab.locator("img").count() == 0
    assert tab.locator("script").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows, running=True), "#paused=1", scheme=scheme)
    serious = []
    for opened in (False, True):
        if opened:
            tab.locator("table.cells tbody button").first.click()
            expect(tab.get_by_role("dialog")).to_be_visible()
            tab.wait_for_timeout(300)  # it slides in, and is judged by its colours
        violations = Axe().run(tab).response["violations"]
        serious += [
            (violation["id"], violation["nodes"][0]["html"])
            for violation in violations
            if violation["impact"] in {"serious", "critical"}
        ]
    assert not serious


def test_on_a_phone_nothing_overflows(rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows), width=375)
    assert tab.evaluate("document.documentElement.scrollWidth") == 375
    tab.locator("table.cells tbody button").first.click()
    expect(tab.get_by_role("dialog")).to_be_visible()
    assert tab.evaluate("document.querySelector('dialog').scrollWidth") <= 375


def test_in_print_filters_are_gone_and_tables_are_whole(rows: list[Result], write: Write, visit: Open) -> None:
    tab = visit(write(rows), scheme="dark")
    tab.emulate_media(media="print")
    expect(tab.locator(".filters")).to_be_hidden()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("getComputedStyle(document.getElementById('table-scroll')).overflow") == "visible"


def test_ten_thousand_cells(write: Write, visit: Open) -> None:
    many = list(synthetic(10_000))
    tab = visit(write(many))
    assert found(tab) == "10,000 of 10,000 cells"
    assert tab.locator("table.matrix thead th").count() == 25
    tab.locator("#groups-after").click()
    assert tab.locator("table.matrix thead th").count() == 25
    tab.locator("#status-crashed").click()
    assert found(tab) == f"{sum(row.status is Status.CRASHED for row in many):,} of 10,000 cells"
    expect(tab.locator("table.cells tbody tr")).to_have_count(100)
