"""Measure the pages of `stepmark view` on a dataset of a million traces."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]

from benchmarks.common.console import print_progress
from benchmarks.common.targets import compare_with_target

__all__ = ["measure_pages"]

MIB = 1 << 20
MAX_MIB = 1024
# The targets hold for a million traces on two idle cores.
COLD_SECONDS = 2.0
WARM_SECONDS = 0.3
PAGE_SECONDS = 0.5
ROUNDS = 5
# Lists that read all traces, and one far behind the first page.
LISTS = (
    "/traces",
    "/traces?queue=disagree",
    "/traces?queue=audit",
    "/traces?verdict=formal:error&sort=long",
    "/traces?text=boxes",
    "/traces?page=15000",
)
TRACES_PER_LIST = 3
ADDRESS = re.compile(r"(http://\S+)  \(Ctrl-C")
TRACE_LINK = re.compile(r'href="(/traces/[0-9a-f]+\?[^"]*)"')
READING = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server and what its first overview took."""

    client: httpx.Client
    process: psutil.Process
    overview_seconds: float
    """From the first request to the overview, while the traces are read."""


@contextmanager
def running_server(dataset: str, home: Path) -> Iterator[Server]:
    """Start the command, and request the overview until it is there."""
    command = ["view", "--dataset", dataset, "--port", "0", "--no-browser"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", *command],
        env=os.environ | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        match = ADDRESS.match(process.stdout.readline())
        if match is None:
            raise SystemExit("the server did not start")
        with httpx.Client(base_url=match[1], timeout=600) as client:
            # The server answers when its modules are imported.
            client.get("/static/icon.svg").raise_for_status()
            started = time.perf_counter()
            while client.get("/").status_code == READING:
                pass
            yield Server(
                client=client,
                process=psutil.Process(process.pid),
                overview_seconds=time.perf_counter() - started,
            )
    finally:
        process.terminate()
        process.wait()


def measure_pages(dataset: str, home: Path) -> Mapping[str, Any]:
    """Measure the overview, lists and traces, each as the fastest of several requests.

    Args:
        dataset: The dataset.
        home: A folder for the cache of the server, empty at first.
    """
    results = dict[str, Any]()
    with running_server(dataset, home) as server:
        # No target: all parts are read and their checksums verified, once for each dataset.
        results["first overview of a new dataset"] = {"seconds": round(server.overview_seconds, 2)}
    with running_server(dataset, home) as server:
        results["overview, cold"] = _against(server.overview_seconds, COLD_SECONDS)
        results["overview, warm"] = _against(_seconds(server.client, "/"), WARM_SECONDS)
        pages = list[str]()
        for address in LISTS:
            results[f"list {address}"] = _against(_seconds(server.client, address), PAGE_SECONDS)
            pages.extend(_traces(server.client.get(address).text))
        # Each page once: a second request finds the parts of its shard verified.
        seconds = [_request(server.client, page) for page in pages]
        results["slowest of the pages of traces"] = {
            "pages": len(pages),
            **_against(max(seconds), PAGE_SECONDS),
        }
        memory = server.process.memory_info().rss / MIB
        results["mib"] = compare_with_target(round(memory), most=MAX_MIB)
    for name, result in results.items():
        print_progress(f"{name}: {result}")
    return results


def _traces(list_page: str) -> Sequence[str]:
    links = TRACE_LINK.findall(list_page)[:TRACES_PER_LIST]
    return [link.replace("&amp;", "&") for link in links]


def _against(seconds: float, most: float) -> Mapping[str, Any]:
    return {"seconds": compare_with_target(round(seconds, 3), most=most)}


def _seconds(client: httpx.Client, address: str) -> float:
    return min(_request(client, address) for _ in range(ROUNDS))


def _request(client: httpx.Client, address: str) -> float:
    started = time.perf_counter()
    client.get(address).raise_for_status()
    return time.perf_counter() - started
