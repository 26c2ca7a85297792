"""An empty place for a dataset: on the disk, in a folder whose name DuckDB and shells read as a pattern, and in fsspec's memory."""

import uuid
from pathlib import Path

import pytest

from storage.dataset.dataset import Dataset
from tests.storage.samples import fill


@pytest.fixture(params=["disk", "memory"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    if request.param == "memory":
        return Dataset(f"memory://{uuid.uuid4().hex}/data set")
    return Dataset(str(tmp_path / "it's a [da]ta*set?"))


@pytest.fixture
def filled(dataset: Dataset) -> Dataset:
    fill(dataset)
    return dataset


@pytest.fixture
def on_disk(tmp_path: Path) -> Dataset:
    """The sample in a local folder, for tests that look at files."""
    sample = Dataset(str(tmp_path / "sample"))
    fill(sample)
    return sample
