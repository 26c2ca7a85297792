"""Labels by hand in a real browser: keys, mouse, several raters, reloads and killed servers."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from stepmark.records import Annotation
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES
from storage.dataset.verify import verify
from storage.labelling.label_store import LabelStore
from storage.labelling.side_labels import open_side_labels
from tests.columns import column
from tests.storage.labelling.samples import labels_of, write_traces
from tests.viewer.browsers import (
    chromium,
    open_page,
    serious_violations,
    served,
    wait_until_read,
)
from tests.viewer.listing import disable_listing_cache
from tests.viewer.samples import write_mixed
from viewer.labelling import Labelling

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
WIDTHS = (1440, 820, 390)
QUEUE = "/label/next?domain=arithmetic"
STATUS = "[data-status]"
WAIT_SECONDS = 120


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    sample = Dataset(str(tmp_path / "data"))
    write_mixed(sample)
    return sample


@contextlib.contextmanager
def labelled(dataset: Dataset, rater: str = "eve") -> Iterator[str]:
    """Serve the pages of a dataset for one rater; "" if each browser names its own."""
    store = LabelStore.open(dataset)
    with served(dataset, Labelling(store=store, rater=rater)) as address:
        yield address


@contextlib.contextmanager
def server_process(
    dataset: Dataset, port: int = 0
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Start `stepmark view` as a user does, and yield its address and its process."""
    command = [sys.executable, "-m", "pipelines", "view", "--dataset", dataset.uri]
    command += ["--port", str(port), "--no-browser", "--rater", "eve"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        (address,) = re.findall(r"http://\S+", line)
        wait_until_read(address.rstrip("/"))
        yield address.rstrip("/"), process
    finally:
        process.kill()
        process.stdout.close()
        process.wait(WAIT_SECONDS)


def by_trace(dataset: Dataset, method: str = "human_eve") -> dict[str, Annotation]:
    return {label.trace_id: label for label in labels_of(dataset, method)}


def trace_id_of(page: Page) -> str:
    return str(page.locator(".pager .id").text_content())


def marks_of(page: Page) -> list[str]:
    """Return the marks that the page shows."""
    marks = []
    for row in page.locator("tr.step").all():
        pressed = row.locator('[data-mark][aria-pressed="true"]')
        marks.append(str(pressed.get_attribute("data-mark")) if pressed.count() else "")
    return marks


def finish(page: Page, key: str = "Enter") -> None:
    """Finish a trace, and wait for the next page."""
    address = page.url
    page.keyboard.press(key)
    page.wait_for_url(lambda url: url != address)
    page.wait_for_load_state("networkidle")


def test_keyboard_labels_twenty_traces(browser: Browser, dataset: Dataset) -> None:
    expected = dict[str, int | None]()
    with labelled(dataset) as site_url, open_page(browser, site_url + QUEUE) as page:
        for number in range(20):
            expect(page.locator(".queue-progress")).to_have_text(f"{number} of 20 of this queue")
            steps = page.locator("tr.step").count()
            trace_id = trace_id_of(page)
            if number % 4 == 0:
                page.keyboard.press("r")
                expected[trace_id] = -1
            elif number % 4 == 1:
                # The keys are faster than the server.
                page.keyboard.type("1" * (steps - 1) + "-")
                expected[trace_id] = steps - 1
            elif number % 4 == 2:
                page.keyboard.type("j" * steps + "e")
                expected[trace_id] = steps - 1
            else:
                page.keyboard.press("u")
                expected[trace_id] = None
            expect(page.locator(STATUS)).not_to_contain_text("a label")
            finish(page, "Enter" if number % 2 else "s")
        expect(page.locator("h1")).to_have_text("Label traces by hand")
        expect(page.locator(".banner")).to_contain_text("This queue is finished")
    labels = by_trace(dataset)
    assert {trace_id: label.first_error for trace_id, label in labels.items()} == expected
    assert len(labels) == 20
    faults = [finding for finding in verify(dataset) if "human_eve" in finding.path]
    assert faults == []


def test_keys_mark_move_and_undo(browser: Browser, tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "three"))
    write_traces(dataset)
    with (
        labelled(dataset) as site_url,
        open_page(browser, f"{site_url}/label/traces/t0-0?place=0") as page,
    ):
        page.keyboard.press("1")
        page.keyboard.press("0")
        expect(page.locator(STATUS)).to_have_text("1 step needs a label, not finished")
        assert marks_of(page) == ["right", "neutral", ""]
        page.keyboard.press("k")
        page.keyboard.press("-")
        expect(page.locator("#step-2")).to_have_class(re.compile("first-error"))
        page.keyboard.press("z")
        expect(page.locator("#step-2")).not_to_have_class(re.compile("first-error"))
        page.keyboard.press("z")
        expect(page.locator(STATUS)).to_contain_text("2 steps need a label")
        page.keyboard.press("Enter")
        expect(page.locator("[data-message]")).to_have_text("not finished: no mark on steps 2, 3")
        expect(page.locator("tr.missing")).to_have_count(2)
        assert page.evaluate("document.activeElement.id") == "step-2"
        page.keyboard.press("b")
        expect(page.locator(STATUS)).to_contain_text("bad problem")
        page.keyboard.press("b")
        expect(page.locator(STATUS)).to_contain_text("2 steps need")
        page.keyboard.press("?")
        expect(page.locator("#help")).to_contain_text("first error")
        # Keys of the dialog are no labels.
        page.keyboard.press("1")
        page.keyboard.press("Escape")
        page.keyboard.press("n")
        page.wait_for_url("**/t0-1?**")
        page.keyboard.press("p")
        page.wait_for_url("**/t0-0?**")
        assert marks_of(page) == ["right", "", ""]


def test_comments_are_saved(browser: Browser, dataset: Dataset) -> None:
    with labelled(dataset) as site_url, open_page(browser, f"{site_url}/label/traces/t0-0") as page:
        page.keyboard.press("c")
        page.keyboard.type("1-eruz <i>?")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#step-1 [data-comment]")).to_have_text("1-eruz <i>?")
        page.keyboard.press("C")
        page.keyboard.type("about all")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("[data-trace-comment]")).to_have_text("about all")
        page.keyboard.press("C")
        page.keyboard.type(" dropped")
        page.keyboard.press("Escape")
        page.reload()
        expect(page.locator("#step-1 [data-comment]")).to_have_text("1-eruz <i>?")
        expect(page.locator("[data-trace-comment]")).to_have_text("about all")
        assert set(marks_of(page)) == {""}


def test_mouse_labels_a_trace(browser: Browser, tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "three"))
    write_traces(dataset)
    with labelled(dataset) as site_url, open_page(browser, f"{site_url}/label", width=390) as page:
        page.locator("#label-next").click()
        page.locator("#step-1").get_by_role("button", name="right").click()
        page.locator("#step-2").get_by_role("button", name="wrong").click()
        page.locator("#step-3").get_by_role("button", name="first error").click()
        expect(page.locator("#step-3")).to_have_class(re.compile("first-error"))
        assert marks_of(page) == ["right", "right", "wrong"]
        # A second click removes the mark.
        page.locator("#step-3").get_by_role("button", name="wrong").click()
        expect(page.locator(STATUS)).to_contain_text("1 step needs")
        page.get_by_role("button", name="rest is right").click()
        page.get_by_role("button", name="undo").click()
        expect(page.locator(STATUS)).to_contain_text("1 step needs")
        page.locator("#step-3").get_by_role("button", name="neutral").click()
        expect(page.locator(STATUS)).to_contain_text("no error")
        page.get_by_role("button", name="finish").click()
        page.wait_for_url("**/t0-1?**")
    label = by_trace(dataset)["t0-0"]
    assert (label.first_error, label.neutral_steps) == (-1, (2,))


def test_machine_label_is_accepted_by_key(browser: Browser, dataset: Dataset) -> None:
    with (
        labelled(dataset) as site_url,
        open_page(browser, f"{site_url}/label/next?mode=verify&decided_by=Label") as page,
    ):
        page.locator(".evidence-button").first.click()
        expect(page.locator("#evidence-1")).to_contain_text("rollouts after this step")
        expected = page.locator('tfoot td[data-name="label"] .verdict').first.text_content()
        trace_id = trace_id_of(page)
        finish(page, "a")
    label = by_trace(dataset)[trace_id]
    assert label.first_error is not None
    shown = re.search(r"step (\d+)", str(expected))
    assert label.first_error == (int(shown[1]) - 1 if shown else -1)


def test_two_raters_label_at_once(browser: Browser, dataset: Dataset) -> None:
    with labelled(dataset, "") as site_url, contextlib.ExitStack() as pages:
        raters = dict[str, Page]()
        for rater in ("ann-lee", "bob"):
            page = pages.enter_context(open_page(browser, f"{site_url}/label?sort=short"))
            page.locator("#rater").fill(rater)
            page.keyboard.press("Enter")
            page.locator("#label-next").click()
            raters[rater] = page
        for number in range(4):
            for rater, page in raters.items():
                expect(page.locator(".queue-progress")).to_contain_text(f"{number} of 61")
                if rater == "bob" and number == 3:
                    page.keyboard.press("e")
                else:
                    page.keyboard.press("r")
                finish(page)
        page.goto(f"{site_url}/raters")
        assert serious_violations(page) == []
        expect(page.locator("#content")).to_contain_text("75.0 %")
    ann = by_trace(dataset, "human_ann_lee")
    bob = by_trace(dataset, "human_bob")
    assert len(ann) == len(bob) == 4
    assert column(ann.values(), "first_error") == [-1] * 4
    assert sorted(str(label.first_error) for label in bob.values()) == ["-1", "-1", "-1", "0"]


def test_disagreement_is_adjudicated(browser: Browser, dataset: Dataset) -> None:
    store = LabelStore.open(dataset)
    with served(dataset, Labelling(store=store, rater="zoe")) as site_url:
        for first_key, rater in (("r", "bob"), ("e", "cid")):
            with (
                labelled(dataset, rater) as other,
                open_page(browser, f"{other}/label/traces/t0-1") as page,
            ):
                page.keyboard.press(first_key)
                finish(page)
        with open_page(browser, f"{site_url}/raters") as page:
            page.locator("a.row-link[href*='t0-1']").click()
            assert serious_violations(page) == []
            page.keyboard.press("e")
            expect(page.locator(STATUS)).to_contain_text("first error in step 1")
            finish(page)
    assert by_trace(dataset, "human_adjudicated")["t0-1"].first_error == 0


def test_other_steps_are_labelled_again(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable_listing_cache(monkeypatch)
    dataset = Dataset(str(tmp_path / "three"))
    write_traces(dataset, shards=1)
    store = LabelStore.open(dataset, str(tmp_path / "labels"))
    with (
        served(dataset, Labelling(store=store, rater="eve")) as site_url,
        open_page(browser, f"{site_url}/label/next") as page,
    ):
        for _ in range(3):
            page.keyboard.type("je")
            expect(page.locator(STATUS)).to_contain_text("first error in step 2")
            finish(page)
        first, second, third = dataset.read_part(TRACES, 0)
        carried = replace(first, steps=("a b ", "c"))
        divided = replace(second, steps=("a b", " c"))
        dataset.write_part(TRACES, 0, [carried, divided, third], "g")
        page.goto(f"{site_url}/label")
        expect(page.locator(".banner")).to_contain_text("1 of your labels is not used")
        assert serious_violations(page) == []
        page.goto(f"{site_url}/label/next")
        assert trace_id_of(page) == "t0-1"
        assert marks_of(page) == ["", ""]
        page.keyboard.type("je")
        expect(page.locator(STATUS)).to_contain_text("first error in step 2")
        finish(page)
        expect(page.locator(".banner")).to_contain_text("This queue is finished")
    usable = open_side_labels(store.location, dataset).fitted("human_eve").usable
    assert {key: label.first_error for key, label in usable.items()} == {
        "t0-0": 0,
        "t0-1": 1,
        "t0-2": 1,
    }


def test_reload_keeps_what_was_saved(browser: Browser, tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "three"))
    write_traces(dataset)
    with labelled(dataset) as site_url, open_page(browser, f"{site_url}/label/next") as page:
        page.keyboard.press("1")
        page.keyboard.press("0")
        expect(page.locator(STATUS)).to_contain_text("1 step needs")
        page.reload()
        assert marks_of(page) == ["right", "neutral", ""]
        # The first step without a mark is the current one.
        assert page.evaluate("document.activeElement.id") == "step-3"
        page.keyboard.press("z")
        expect(page.locator(STATUS)).to_contain_text("2 steps need")
        page.reload()
        assert marks_of(page) == ["right", "", ""]


def test_next_trace_waits_for_entries(browser: Browser, tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "three"))
    write_traces(dataset)

    def answer_slowly(route: Route) -> None:
        if route.request.method == "POST":
            time.sleep(0.2)
        route.continue_()

    with (
        labelled(dataset) as site_url,
        open_page(browser, f"{site_url}/label/traces/t0-0?place=0") as page,
    ):
        page.route("**/label/traces/**", answer_slowly)
        page.keyboard.type("111n")
        page.wait_for_url("**/t0-1?**")
        page.keyboard.press("p")
        page.wait_for_url("**/t0-0?**")
        assert marks_of(page) == ["right"] * 3


def test_double_click_is_one_click(browser: Browser, tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "three"))
    write_traces(dataset)
    with labelled(dataset) as site_url, open_page(browser, f"{site_url}/label/traces/t0-0") as page:
        wrong = page.locator("#step-1").get_by_role("button", name="wrong")
        wrong.click()
        expect(wrong).to_have_attribute("aria-pressed", "true")
        wrong.dispatch_event("click", {"detail": 2})
        page.locator("#step-2").get_by_role("button", name="neutral").click()
        expect(page.locator("#step-2 .neutral")).to_have_attribute("aria-pressed", "true")
        assert marks_of(page) == ["wrong", "neutral", ""]


def test_comment_that_was_not_saved_stays(browser: Browser, dataset: Dataset) -> None:
    context = browser.new_context()
    page = context.new_page()
    with labelled(dataset) as site_url:
        page.goto(f"{site_url}/label/traces/t0-0", wait_until="networkidle")
        page.route("**/label/traces/**", lambda route: route.abort())
        page.keyboard.press("c")
        page.keyboard.type("a long thought")
        page.keyboard.press("Control+Enter")
        expect(page.locator("[data-message]")).to_contain_text("Not saved")
        page.unroute("**/label/traces/**")
        page.keyboard.press("c")
        expect(page.locator("#comment-text")).to_have_value("a long thought")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#step-1 [data-comment]")).to_have_text("a long thought")
    context.close()


def test_lost_mark_must_be_repeated(browser: Browser, tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "three"))
    write_traces(dataset)
    context = browser.new_context()
    page = context.new_page()
    with labelled(dataset) as site_url:
        page.goto(f"{site_url}/label/traces/t0-0", wait_until="networkidle")
        page.route("**/label/traces/**", lambda route: route.abort())
        page.keyboard.press("-")
        expect(page.locator("[data-message]")).to_contain_text("does not answer")
        page.unroute("**/label/traces/**")
        # The rater has not seen the message.
        page.keyboard.type("1r")
        expect(page.locator(STATUS)).to_contain_text("no error")
        page.keyboard.press("Enter")
        message = page.locator("[data-message]")
        expect(message).to_contain_text("Not saved: the mark of step 1. Repeat it")
        assert "human_eve" not in dataset.methods("annotations")
        page.keyboard.type("kk-")
        expect(message).to_have_text("")
        finish(page)
    context.close()
    assert by_trace(dataset)["t0-0"].first_error == 0


def test_other_window_is_noticed(browser: Browser, tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "three"))
    write_traces(dataset)
    with (
        labelled(dataset) as site_url,
        open_page(browser, f"{site_url}/label/traces/t0-0", status=409) as page,
        open_page(browser, f"{site_url}/label/traces/t0-0") as other,
    ):
        page.keyboard.press("r")
        expect(page.locator(STATUS)).to_contain_text("no error")
        other.reload()
        other.keyboard.press("k")
        other.keyboard.press("e")
        expect(other.locator(STATUS)).to_contain_text("first error in step 1")
        page.keyboard.press("Enter")
        expect(page.locator("[data-message]")).to_contain_text("in another window")
        assert marks_of(page) == ["wrong", "right", "right"]
        assert "human_eve" not in dataset.methods("annotations")
        finish(page)
    assert by_trace(dataset)["t0-0"].first_error == 0


def test_old_page_is_loaded_again(browser: Browser, dataset: Dataset) -> None:
    with labelled(dataset) as site_url, open_page(browser, f"{site_url}/label/traces/t0-0") as page:
        page.evaluate("window.isOld = true")
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
        page.wait_for_function("window.isOld === undefined")


def test_killed_server_loses_nothing(browser: Browser, tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "three"))
    write_traces(dataset)
    context = browser.new_context()
    page = context.new_page()
    with server_process(dataset) as (site_url, process):
        page.goto(f"{site_url}/label/next", wait_until="networkidle", timeout=WAIT_SECONDS * 1000)
        page.keyboard.press("r")
        expect(page.locator(STATUS)).to_contain_text("no error")
        finish(page)
        page.keyboard.press("1")
        page.keyboard.press("0")
        expect(page.locator(STATUS)).to_contain_text("1 step needs")
        process.kill()
        process.wait(WAIT_SECONDS)
        page.keyboard.press("-")
        expect(page.locator("[data-message]")).to_contain_text("Not saved")
        # The page does not show what is not saved.
        assert marks_of(page) == ["right", "neutral", ""]
    assert list(verify(dataset)) == []
    with server_process(dataset, int(site_url.rpartition(":")[2])) as (_, process):
        page.keyboard.press("k")
        page.keyboard.press("j")
        page.keyboard.press("-")
        expect(page.locator(STATUS)).to_contain_text("first error in step 3")
        page.reload()
        assert marks_of(page) == ["right", "neutral", "wrong"]
        finish(page)
    context.close()
    labels = by_trace(dataset)
    assert column(labels.values(), "first_error") == [-1, 2]
    assert dataset.count(TRACES) == 6


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("mode", ["blind", "verify"])
def test_label_page_fits_and_is_accessible(
    browser: Browser, dataset: Dataset, mode: str, theme: str
) -> None:
    with (
        labelled(dataset) as site_url,
        open_page(browser, f"{site_url}/label/traces/t0-0?mode={mode}", theme=theme) as page,
    ):
        page.keyboard.press("r")
        page.keyboard.press("u")
        expect(page.locator(STATUS)).to_contain_text("unsure")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert serious_violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_start_page_is_accessible(browser: Browser, dataset: Dataset, theme: str) -> None:
    with (
        labelled(dataset, "") as site_url,
        open_page(browser, f"{site_url}/label", theme=theme, status=400) as page,
    ):
        # The browser itself refuses other characters.
        page.locator("#rater").fill("adjudicated")
        page.keyboard.press("Enter")
        expect(page.locator("[data-message]")).to_contain_text("choose another name")
        assert serious_violations(page) == []
        page.locator("#rater").fill("ann")
        page.keyboard.press("Enter")
        expect(page.locator(".modes a")).to_have_count(3)
        assert serious_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
