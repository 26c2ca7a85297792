"""The screenshots of docs/viewing.md: `python -m tests.viewer.screenshots DATASET FOLDER`."""

import argparse
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from storage.dataset.dataset import Dataset
from tests.viewer.browsers import chromium, open_page, served

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
