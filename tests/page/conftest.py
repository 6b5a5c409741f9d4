"""A browser, the page of a synthetic sweep in it, and a check that nothing went wrong there."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ViewportSize, expect, sync_playwright
from playwright.sync_api import Page as Tab

from sweep.report.page import Page
from sweep.result import Result
from tests.conftest import MARK
from tests.page.synthetic import about, synthetic

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
]

expect.set_options(timeout=20_000)  # the page reads itself again every 5 s, and machines are slow

Write = Callable[..., Path]
Open = Callable[..., Tab]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One for all of these tests; it is no process that a test leaves behind, and so goes without their mark."""
    if CHROMIUM is None:
        pytest.fail("these tests need chromium in the PATH; scripts/test installs Debian's")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(MARK)
        driver = sync_playwright().start()
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()
    driver.stop()


@pytest.fixture(scope="session")
def rows() -> list[Result]:
    """Three models on two devices, each in all 72 modes."""
    return list(synthetic(432))


@pytest.fixture
def write(weird_path: Path) -> Write:
    """Writes the page of rows into a folder with a name that links stumble over."""

    def write_(rows: Iterable[Result], *, running: bool = False, folder: str = "multirun/a run") -> Path:
        page = Page(about(list(rows)), folder)
        for row in rows:
            page.add(row)
        path = weird_path / "report.html"
        path.write_text("".join(page.html(running=running)), encoding="utf-8")
        return path

    return write_


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens a page; fails a test in which it said or did something wrong, or asked for anything but itself."""
    wrong: list[str] = []
    contexts = []

    def visit_(path: Path, address: str = "", *, width: int = 1280, scheme: str = "light") -> Tab:
        size: ViewportSize = {"width": width, "height": 800}
        context = browser.new_context(viewport=size, color_scheme="dark" if scheme == "dark" else "light")
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(10_000)
        tab.on("console", lambda said: wrong.append(said.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("dialog", lambda dialog: wrong.append(dialog.message))
        own = path.as_uri()
        tab.on("request", lambda request: wrong.extend({request.url.partition("#")[0]} - {own}))
        tab.goto(own + address)
        tab.wait_for_selector("#noise-title")
        return tab

    yield visit_
    for context in contexts:
        context.close()
    assert not wrong
