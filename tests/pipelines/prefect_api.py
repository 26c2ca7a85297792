"""Requests to the Prefect server of the tests."""

import time
from typing import Any

import httpx

__all__ = ["MAX_POLLS", "POLL_SECONDS", "get", "post"]

# Often enough for a short test, seldom enough for a busy server.
POLL_SECONDS = 0.2
# Polls until a test gives up on the server, about a minute.
MAX_POLLS = 300
# For a busy machine.
TIMEOUT_SECONDS = 60.0


def post(url: str, path: str, **body: object) -> Any:
    """Return the server's answer to a POST request with a JSON object."""
    return _answer("POST", f"{url}/{path}", body)


def get(url: str, path: str) -> Any:
    """Return the server's answer to a GET request."""
    return _answer("GET", f"{url}/{path}", None)


def _answer(method: str, url: str, body: object) -> Any:
    """Return the server's answer.

    While its database is busy the server reports that it is unavailable, or does not answer. The
    request is then repeated, as Prefect's own clients do.
    """
    for _ in range(MAX_POLLS):
        # Loading the certificates takes longer than the request, and plain http needs none.
        try:
            response = httpx.request(method, url, json=body, timeout=TIMEOUT_SECONDS, verify=False)
        except httpx.ReadTimeout:
            if method == "GET":
                continue
            raise
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(POLL_SECONDS)
    assert response.is_success, response.text
    return response.json()
