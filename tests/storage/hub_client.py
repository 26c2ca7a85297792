"""The real client of the Hub in the test's process, connected to a fake server."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
from huggingface_hub import HfFileSystem

from storage.publishing import hub as upload
from tests.storage.hub_server import GOOD_TOKEN, Handler, Hub, serving

__all__ = ["Connection", "connected"]


@dataclass
class Connection:
    """A fake server, its address, and the times that the client would have waited."""

    hub: Hub
    address: str
    waits: list[float] = field(default_factory=list)


def connected(
    monkeypatch: pytest.MonkeyPatch, cache: Path, handler: type[Handler] = Handler
) -> Iterator[Connection]:
    """Connect the client to an empty server; it records waits and does not wait."""
    # Instances keep the address of the server.
    HfFileSystem.clear_instance_cache()
    with serving(handler) as (address, hub):
        connection = Connection(hub, address)
        clock = SimpleNamespace(sleep=connection.waits.append, monotonic=time.monotonic)
        monkeypatch.setattr("huggingface_hub.utils._http.time", clock)
        monkeypatch.setattr(upload, "time", clock)
        template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
        template = template.replace(huggingface_hub.constants.ENDPOINT, address)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        # Files of repositories are sent as plain HTTP requests.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
        yield connection
