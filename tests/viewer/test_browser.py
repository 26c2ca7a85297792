"""The pages in a real browser: they render, are accessible, and hostile texts stay inert."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from stepmark.records import Trace
from stepmark.visible_text import visible
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS
from tests.viewer.browsers import chromium, open_page, serious_violations, served
from tests.viewer.listing import disable_listing_cache
from tests.viewer.samples import STRANGE_IDS, write_mixed

pytestmark = pytest.mark.browser

TRACE_PATH = "/traces/t0-0?place=0"
PATHS = ("/", "/traces", TRACE_PATH)
WIDTHS = (1440, 820, 390)
IS_FOCUSED = "document.activeElement.id"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def site_url(mixed: Dataset) -> Iterator[str]:
    with served(mixed) as address:
        yield address


def unfold(page: Page) -> None:
    """Show everything that a trace's page has folded."""
    if page.locator(".evidence-button").count():
        page.locator(".evidence-button").first.click()
        expect(page.locator("#evidence-1")).to_contain_text("rollouts after this step")
        page.locator(".tree-box > summary").click()
        expect(page.locator("#tree li").first).to_be_visible()
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PATHS)
def test_pages_fit_and_are_accessible(
    browser: Browser, site_url: str, path: str, theme: str
) -> None:
    with open_page(browser, site_url + path, theme=theme) as page:
        unfold(page)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        # The pages of a phone have another layout: they are checked in the dark theme.
        if theme == "light":
            page.set_viewport_size({"width": WIDTHS[0], "height": 800})
        assert serious_violations(page) == []


def test_error_page_is_accessible(browser: Browser, site_url: str) -> None:
    with open_page(browser, f"{site_url}/traces/nope", status=404) as page:
        assert serious_violations(page) == []
        expect(page.locator("h1")).to_have_text("Not found")


def test_mathematics_is_rendered(browser: Browser, site_url: str) -> None:
    with open_page(browser, site_url + TRACE_PATH) as page:
        expect(page.locator(".question .katex").first).to_be_visible()
        expect(page.locator("#step-1 .katex")).to_have_count(1)
        assert page.locator("#step-1 math").count() == 1


def test_keys_move_through_a_trace(browser: Browser, site_url: str) -> None:
    with open_page(browser, site_url + TRACE_PATH) as page:
        page.keyboard.press("j")
        assert page.evaluate(IS_FOCUSED) == "step-1"
        page.keyboard.press("Enter")
        expect(page.locator("#evidence-1")).to_contain_text("rollouts after this step")
        page.keyboard.press("Enter")
        expect(page.locator("#evidence-1")).to_be_hidden()
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#help")).to_be_hidden()
        page.keyboard.press("n")
        page.wait_for_url("**/traces/t0-1?place=1")
        page.keyboard.press("p")
        page.wait_for_url("**/traces/t0-0?place=0")
        page.keyboard.press("l")
        page.wait_for_url("**/traces")


def test_keys_are_text_in_fields(browser: Browser, site_url: str) -> None:
    with open_page(browser, f"{site_url}/traces") as page:
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.className") == "row-link"
        page.locator("#text").click()
        page.keyboard.type("jk?n")
        expect(page.locator("#text")).to_have_value("jk?n")
        expect(page.locator("#help")).to_be_hidden()


def test_link_to_a_step_shows_it(browser: Browser, site_url: str, mixed: Dataset) -> None:
    with open_page(browser, f"{site_url}/traces/t1-found#step-3", width=390) as page:
        expect(page.locator("#step-3")).to_be_in_viewport()


def test_narrow_list_links_to_filters(browser: Browser, site_url: str) -> None:
    with open_page(browser, f"{site_url}/traces", width=390) as page:
        queue = page.get_by_role("link", name="Methods disagree")
        expect(queue).not_to_be_in_viewport()
        page.get_by_role("link", name="Filters and queues").click()
        expect(queue).to_be_in_viewport()
        page.set_viewport_size({"width": WIDTHS[0], "height": 800})
        expect(page.get_by_role("link", name="Filters and queues")).to_be_hidden()


def test_more_rollouts_are_loaded(browser: Browser, site_url: str) -> None:
    with open_page(browser, site_url + TRACE_PATH) as page:
        page.locator(".evidence-button").first.click()
        page.get_by_role("button", name="Show rollouts 21 to 25 of 25").click()
        expect(page.locator("#evidence-1")).to_contain_text("Show the first rollouts")
        unfolded = page.locator("#evidence-1 details").last
        unfolded.evaluate("element => { element.open = true; }")
        assert "rollout number 24" in str(page.locator("#evidence-1").text_content())


def test_chosen_theme_is_remembered(browser: Browser, site_url: str) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    with open_page(browser, f"{site_url}/") as page:
        light = page.evaluate(background)
        page.locator("#theme-button").click()
        dark = page.evaluate(background)
        assert dark != light
        page.reload()
        assert page.evaluate(background) == dark


def test_overview_follows_a_run(
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disable_listing_cache(monkeypatch)
    dataset = Dataset(str(tmp_path_factory.mktemp("live") / "data"))
    write_mixed(dataset)
    with (
        served(dataset) as address,
        open_page(browser, f"{address}/", has_test_clock=True) as page,
    ):
        expect(page.locator(".counts")).to_contain_text("of 40")
        dataset.remove_part(LABELS, 0)
        page.clock.run_for(6000)
        expect(page.locator(".counts")).to_contain_text("of 20")


def test_hostile_texts_are_inert(browser: Browser, hostile: tuple[Dataset, Trace]) -> None:
    dataset, trace = hostile
    path = f"/traces/{quote(trace.trace_id, safe='')}"
    with served(dataset) as site_url:
        for address in ("/", "/traces", path):
            with open_page(browser, site_url + address) as page:
                if address == path:
                    unfold(page)
                assert page.title() != "owned"
                assert page.evaluate("document.documentElement.scrollWidth") <= 1280
                assert page.locator("main script, main img").count() == 0
                for link in page.locator("a[href]").all():
                    assert str(link.get_attribute("href")).startswith(("/", "#"))


def test_every_id_can_be_opened(browser: Browser, strange_ids: Dataset) -> None:
    with served(strange_ids) as site_url, open_page(browser, f"{site_url}/traces") as page:
        links = [link.get_attribute("href") for link in page.locator("a.row-link").all()]
        for trace_id, link in zip(STRANGE_IDS, links, strict=True):
            page.goto(f"{site_url}{link}")
            assert page.locator(".pager .id").text_content() == visible(trace_id)
            page.locator(".evidence-button").nth(1).click()
            expect(page.locator("#evidence-2")).to_contain_text("5 * 4 = 20, not 21")
            page.locator(".tree-box > summary").click()
            expect(page.locator("#tree li").first).to_contain_text("this trace")


def test_broken_mathematics_stays_text(browser: Browser, hostile: tuple[Dataset, Trace]) -> None:
    dataset, trace = hostile
    with (
        served(dataset) as site_url,
        open_page(browser, f"{site_url}/traces/{quote(trace.trace_id, safe='')}") as page,
    ):
        page.locator("#step-4").scroll_into_view_if_needed()
        expect(page.locator("#step-4")).to_contain_text("$\\frac{1}{$ and \\(\\undefined\\)")
        page.locator("#step-5").scroll_into_view_if_needed()
        expect(page.locator("#step-5 .katex").first).to_be_visible()
        # A command that KaTeX does not trust creates no link.
        assert page.locator(".katex a").count() == 0
