"""The screenshots of docs/viewing.md: `python -m tests.viewer.screenshots DATASET FOLDER`."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, expect

from storage.dataset.dataset import Dataset
from storage.labelling.label_store import LabelStore
from tests.viewer.browsers import chromium, open_page, served
from viewer.labelling import Labelling

__all__ = ["main"]

PHONE_WIDTH = 390
WIDTH = 1280
COLOURS = 128


def main() -> None:
    """Write one file for each screenshot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="a dataset with labels and several methods")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with served(Dataset(options.dataset)) as address, chromium() as browser:
        with open_page(browser, f"{address}/", width=WIDTH) as page:
            save(page, options.folder / "overview.png", 1000)
        list_address = f"{address}/traces?queue=disagree"
        with open_page(browser, list_address, width=WIDTH, theme="dark") as page:
            save(page, options.folder / "traces-dark.png", 700)
        list_address = f"{address}/traces?class=negative&kept=yes"
        with open_page(browser, list_address) as page:
            trace = f"{address}{page.locator('a.row-link').first.get_attribute('href')}"
        with open_page(browser, trace, width=WIDTH) as page:
            page.locator(".first-error .evidence-button").click()
            expect(page.locator(".evidence h3").first).to_be_visible()
            save(page, options.folder / "trace.png", 1100)
        with open_page(browser, trace, width=PHONE_WIDTH) as page:
            save(page, options.folder / "phone.png", 844)
    save_label_page(Dataset(options.dataset), options.folder / "label.png")


def save_label_page(dataset: Dataset, path: Path) -> None:
    """Write a screenshot of a trace that is half labelled. The dataset stays as it is."""
    with TemporaryDirectory() as folder:
        labelling = Labelling(store=LabelStore.open(dataset, folder), rater="ann")
        with (
            served(dataset, labelling) as address,
            chromium() as browser,
            open_page(browser, f"{address}/traces?error_at=oracle:3", width=WIDTH) as page,
        ):
            link = str(page.locator("a.row-link").first.get_attribute("href"))
            page.goto(f"{address}/label{link.partition('?')[0]}?place=1", wait_until="networkidle")
            page.keyboard.type("111")
            page.keyboard.press("e")
            expect(page.locator("[data-status]")).to_contain_text("first error in step 4")
            page.keyboard.press("c")
            page.keyboard.type("This does not follow.")
            page.keyboard.press("Control+Enter")
            expect(page.locator("#step-4 [data-comment]")).to_be_visible()
            save(page, path, 900)


def save(page: Page, path: Path, height: int) -> None:
    """Write a screenshot of the top of a page."""
    page.set_viewport_size({"width": page.viewport_size["width"], "height": height})  # type: ignore[index]
    page.screenshot(path=path)
    # A palette takes a third of the space.
    with Image.open(path) as image:
        smaller = image.quantize(COLOURS)
    smaller.save(path, optimize=True)


if __name__ == "__main__":
    main()
