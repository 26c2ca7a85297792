"""A newcomer who labels traces on the pages of `stepmark view`, with the requests of a browser."""

import json
import re
from html import unescape
from typing import Any

from starlette.testclient import TestClient

__all__ = ["label_traces"]

TRACES = 10


def label_traces(server: Any, sockets: Any) -> None:
    """Label ten traces, or all if there are fewer, in place of serving until Ctrl-C.

    Args:
        server: A uvicorn server with the application.
        sockets: Its sockets.
    """
    site = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    headers = {"Origin": site, "X-Stepmark": "1"}
    browser = TestClient(server.config.app, base_url=site)
    for number in range(TRACES):
        page = browser.get("/label/next")
        states = re.findall(r"data-state='([^']*)'", page.text)
        if not states:
            assert number, page.text
            assert "This queue is finished" in page.text
            return
        state = json.loads(unescape(states[0]))
        entries: list[dict[str, object]] = [{"kind": "no_error"}, {"kind": "finish"}]
        if number % 2 and state["marks"]:
            entries.insert(0, {"kind": "first_error", "step": len(state["marks"]) - 1})
        for entry in entries:
            entry["steps_id"] = state["steps_id"]
            answer = browser.post(page.url.raw_path.decode(), json=entry, headers=headers)
            assert answer.status_code == 200, answer.text
