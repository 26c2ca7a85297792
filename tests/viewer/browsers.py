"""A Chromium of the distribution, pages of a server in this process, and what they must not do."""

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from storage.dataset.dataset import Dataset
from viewer.access import Access
from viewer.app import create_app
from viewer.labelling import Labelling
from viewer.server import configuration

__all__ = ["chromium", "open_page", "serious_violations", "served", "wait_until_read"]

EXECUTABLE = "chromium"
AXE = Path(__file__).parent / "vendor" / "axe" / "axe.min.js"
ARGUMENTS = (
    # Tests run as root in containers, where the sandbox of the browser does not work.
    "--no-sandbox",
    # No name outside of this machine is resolved.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
LOUD = frozenset({"error", "warning"})
# For a busy machine. Nothing is measured.
TIMEOUT_MS = 30_000
READING = 503
PAUSE_SECONDS = 0.05


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser of the distribution."""
    executable = shutil.which(EXECUTABLE)
    assert executable, "the tests of pages need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def served(dataset: Dataset, labelling: Labelling | None = None) -> Iterator[str]:
    """Serve the pages of a dataset, and yield their address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        app = create_app(dataset, Access(hosts=[host]), labelling)
        server = uvicorn.Server(configuration(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until_read(f"http://{host}")
            yield f"http://{host}"
        finally:
            server.should_exit = True
            thread.join()


def wait_until_read(address: str) -> None:
    """Wait until a server has read its dataset.

    On a busy machine, its first answer can be a page that says so. It loads itself again later, and
    ignores the keys that a test presses meanwhile.
    """
    while httpx.get(f"{address}/", timeout=TIMEOUT_MS / 1000).status_code == READING:
        time.sleep(PAUSE_SECONDS)


@contextlib.contextmanager
def open_page(
    browser: Browser,
    address: str,
    *,
    width: int = 1280,
    theme: str = "light",
    has_test_clock: bool = False,
    status: int = 200,
) -> Iterator[Page]:
    """Open a page; fail afterwards if it reported an error, or requested another server.

    Args:
        browser: The browser.
        address: The address of the page.
        width: The width of the window.
        theme: The theme of the operating system: light or dark.
        status: The expected status of the page.
        has_test_clock: Whether time passes on the page only when the test says so.
    """
    faults = list[str]()
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if theme == "dark" else "light",
    )
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    origin = "/".join(address.split("/")[:3])

    def add_message(message: ConsoleMessage) -> None:
        if message.type in LOUD and f"status of {status}" not in message.text:
            faults.append(message.text)

    def add_failed_request(request: Request) -> None:
        # Leaving a page aborts what it still requests.
        if request.failure != "net::ERR_ABORTED":
            faults.append(f"{request.url}: {request.failure}")

    def add_foreign_request(request: Request) -> None:
        if not request.url.startswith(origin):
            faults.append(request.url)

    page.on("console", add_message)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    page.on("request", add_foreign_request)
    page.on("requestfailed", add_failed_request)
    if has_test_clock:
        page.clock.install()
    try:
        page.goto(address, wait_until="networkidle")
        yield page
        assert not faults
    finally:
        context.close()


def serious_violations(page: Page) -> list[str]:
    """Return the serious violations of accessibility that axe-core finds on a page."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    # Without loading the style sheets again, which a page from the disk may not.
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    violations = []
    for violation in found["violations"]:
        if violation["impact"] in ("serious", "critical"):
            for node in violation["nodes"]:
                violations.append(f"{violation['id']}: {node['html']} {node['failureSummary']}")
    return violations
