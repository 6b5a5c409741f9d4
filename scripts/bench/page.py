"""How long does a page of very many cells take? Makes one of synthetic rows, opens it in Chromium, and filters it.

Prints the seconds that Python takes to make it and its MB; then, each the median after a warm-up, the seconds from
asking for the page to the first rows of its table, the same with its charts, and the milliseconds from a key in the
text filter, or from the button of a status, until the table is painted as filtered, and the matrix too. Targets: rows
within 3 s, the table within 200 ms.

    .venv/bin/python scripts/bench/page.py [CELLS: 10000] [TIMES: 5]
"""

import shutil
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.page.conftest import ARGUMENTS
from tests.page.synthetic import about, synthetic

from sweep.report.page import Page
from sweep.result import Result

T = TypeVar("T")
PAINTED = """async change => {
    const began = performance.now();
    change === 'clear' ? document.getElementById('clear').click() : change.startsWith('#')
        ? document.querySelector(change).click()
        : (field => { field.value = change; field.dispatchEvent(new Event('input', {bubbles: true})); })(
            document.getElementById('filter-text'));
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    const table = performance.now() - began;
    await new Promise(done => requestIdleCallback(done));
    return [table, performance.now() - began];
}"""


def main(cells: int, times: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        make(cells, path)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            opened = [open_page(browser, path) for _ in range(times + 1)][1:]
            print(f"open   {median([rows for rows, _ in opened]):6.2f} s to rows, with charts", end=" ")
            print(f"{median([charts for _, charts in opened]):.2f} s")
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(path.as_uri())
            tab.wait_for_selector("#noise-title")
            for change in ("openvino", "resnet batch", "crashed", "#status-crashed"):
                table, matrix = filtered(tab, change, times)
                print(f"filter {table:6.0f} ms the table, {matrix:.0f} ms the matrix too: {change}")
            browser.close()


def make(cells: int, path: Path) -> None:
    rows = list(synthetic(cells))
    tracemalloc.start()
    page = added(rows)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    page, adding = timed(lambda: added(rows))
    text, making = timed(lambda: "".join(page.html(running=True)))
    path.write_text("".join(page.html(running=False)))
    print(
        f"make   {adding:6.2f} s to add {cells} rows ({held / cells / 1e3:.1f} KB each held), {making:.2f} s", end=" "
    )
    print(f"for {len(text) / 1e6:.1f} MB")


def added(rows: list[Result]) -> Page:
    page = Page(about(rows))
    for row in rows:
        page.add(row)
    return page


def timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def open_page(browser: Browser, path: Path) -> tuple[float, float]:
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    began = time.perf_counter()
    tab.goto(path.as_uri(), wait_until="commit")
    tab.wait_for_selector("tr[data-row]")
    rows = time.perf_counter() - began
    tab.wait_for_selector("#noise-title")
    charts = time.perf_counter() - began
    tab.close()
    return rows, charts


def filtered(tab: Tab, change: str, times: int) -> tuple[float, float]:
    took = []
    for _ in range(times + 1):
        took.append(tab.evaluate(PAINTED, change))
        tab.evaluate(PAINTED, "clear")
    table, matrix = zip(*took[1:], strict=True)
    return median(table), median(matrix)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    cells, times = [int(word) for word in sys.argv[1:]] + [10_000, 5][len(sys.argv) - 1 :]
    main(cells, times)
