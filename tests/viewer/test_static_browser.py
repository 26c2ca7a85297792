"""Copies and reports in a real browser, opened from the disk without a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from stepmark.records import Trace
from storage.dataset.dataset import Dataset
from tests.viewer.browsers import chromium, open_page, serious_violations
from viewer.report import write_report
from viewer.static_copy import write_copy

pytestmark = pytest.mark.browser

PAGES = ("copy/index.html", "copy/traces.html", "copy/trace-t0-0.html", "report.html")
WIDTHS = (1440, 390)
IS_FOCUSED = "document.activeElement.id"
LOADED_FONTS = "[...document.fonts].filter(font => font.status === 'loaded').length"
IS_VISIBLE = "element => element.getBoundingClientRect().height > 0"


def write_both(dataset: Dataset, folder: Path) -> str:
    """Write a copy and a report, and return the address of the folder."""
    write_copy(dataset, str(folder / "copy"), 60)
    write_report(dataset, str(folder / "report.html"), 5)
    return folder.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def site_url(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_both(mixed, tmp_path_factory.mktemp("static"))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_files_fit_and_are_accessible(
    browser: Browser, site_url: str, path: str, theme: str
) -> None:
    with open_page(browser, f"{site_url}/{path}", theme=theme) as page:
        for button in page.locator(".evidence-button").all()[:3]:
            button.click()
        for details in page.locator("details").all():
            details.evaluate("element => { element.open = true; }")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_violations(page) == []


def test_keys_move_through_a_copy(browser: Browser, site_url: str) -> None:
    with open_page(browser, f"{site_url}/copy/index.html") as page:
        page.get_by_role("link", name="Traces", exact=True).click()
        page.wait_for_url("**/copy/traces.html")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("k")
        page.keyboard.press("Enter")
        page.wait_for_url("**/copy/trace-t0-0.html")
        page.keyboard.press("j")
        assert page.evaluate(IS_FOCUSED) == "step-1"
        page.keyboard.press("Enter")
        expect(page.locator("#evidence-1")).to_contain_text("25 rollouts after this step")
        expect(page.locator("#evidence-1")).to_be_visible()
        page.keyboard.press("n")
        page.wait_for_url("**/copy/trace-t0-1.html")
        page.keyboard.press("p")
        page.wait_for_url("**/copy/trace-t0-0.html")
        page.keyboard.press("l")
        page.wait_for_url("**/copy/traces.html")


def test_keys_move_through_a_report(browser: Browser, site_url: str) -> None:
    with open_page(browser, f"{site_url}/report.html") as page:
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**/report.html#trace-1")
        assert page.evaluate(IS_FOCUSED) == "trace-1"
        page.keyboard.press("n")
        page.wait_for_url("**/report.html#trace-2")
        page.keyboard.press("p")
        page.wait_for_url("**/report.html#trace-1")
        page.locator("#trace-1-step-1").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#trace-1-evidence-1")).to_be_visible()
        page.keyboard.press("l")
        page.wait_for_url("**/report.html#traces")
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()


@pytest.mark.parametrize("path", ["copy/trace-t0-0.html", "report.html"])
def test_fonts_and_themes_need_no_server(browser: Browser, site_url: str, path: str) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    with open_page(browser, f"{site_url}/{path}") as page:
        page.locator(".question").first.scroll_into_view_if_needed()
        expect(page.locator(".question .katex").first).to_be_visible()
        page.wait_for_function(f"{LOADED_FONTS} > 0")
        light = page.evaluate(background)
        page.locator("#theme-button").click()
        dark = page.evaluate(background)
        assert dark != light
        page.reload()
        assert page.evaluate(background) == dark


def test_report_is_complete_on_paper(
    browser: Browser, site_url: str, hostile: tuple[Dataset, Trace], tmp_path: Path
) -> None:
    with open_page(browser, f"{site_url}/report.html", theme="dark") as page:
        formulas = page.locator("tr.step [data-math]").count()
        assert page.pdf().startswith(b"%PDF")
        assert page.locator("tr.step [data-math]:has(.katex)").count() == formulas
        page.emulate_media(media="print")
        expect(page.locator(".top")).to_be_hidden()
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    with open_page(browser, f"{write_both(hostile[0], tmp_path)}/report.html") as page:
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        rest = page.locator("tr.step .rest .text").last
        assert rest.evaluate(IS_VISIBLE)
        assert str(rest.text_content()).endswith("end of text")


def test_hostile_files_are_inert(
    browser: Browser, hostile: tuple[Dataset, Trace], tmp_path: Path
) -> None:
    site_url = write_both(hostile[0], tmp_path)
    for path in sorted(tmp_path.rglob("*.html")):
        with open_page(browser, f"{site_url}/{path.relative_to(tmp_path)}") as page:
            for details in page.locator("details").all():
                details.evaluate("element => { element.open = true; }")
            for button in page.locator(".evidence-button").all():
                button.click()
            page.locator("main h1, main h2").last.scroll_into_view_if_needed()
            assert page.title() != "owned"
            assert page.locator("main img, main script").count() == 0
            assert page.locator(".katex a").count() == 0
