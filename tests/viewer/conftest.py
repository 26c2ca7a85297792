"""Pages of small datasets, requested in this process, and a browser."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from stepmark.records import Trace
from storage.dataset.dataset import Dataset
from tests.viewer.samples import write_hostile, write_mixed, write_strange_ids
from viewer import app
from viewer.access import Access
from viewer.app import create_app


@pytest.fixture(autouse=True, scope="session")
def _settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the summaries out of the user's cache folder, and wait until they are read."""
    with pytest.MonkeyPatch.context() as patch:
        # On a busy machine a small dataset is read in seconds too.
        patch.setattr(app, "PATIENCE_SECONDS", 60.0)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    dataset = Dataset(str(tmp_path_factory.mktemp("mixed") / "data"))
    write_mixed(dataset)
    return dataset


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Trace]:
    dataset = Dataset(str(tmp_path_factory.mktemp("hostile") / "data"))
    return dataset, write_hostile(dataset)


@pytest.fixture(scope="session")
def strange_ids(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    dataset = Dataset(str(tmp_path_factory.mktemp("strange") / "data"))
    write_strange_ids(dataset)
    return dataset


@pytest.fixture(scope="session")
def client(mixed: Dataset) -> TestClient:
    return TestClient(create_app(mixed, Access()))
