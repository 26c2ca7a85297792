"""Empty and filled datasets, on the disk and in fsspec's memory file system."""

import uuid
from pathlib import Path

import pytest

from storage.dataset.dataset import Dataset
from tests.storage.samples import fill


@pytest.fixture(params=["disk", "memory"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    if request.param == "memory":
        return Dataset(f"memory://{uuid.uuid4().hex}/data set")
    # DuckDB and shells read this name as a pattern.
    return Dataset(str(tmp_path / "it's a [da]ta*set?"))


@pytest.fixture
def filled(dataset: Dataset) -> Dataset:
    fill(dataset)
    return dataset


@pytest.fixture
def on_disk(tmp_path: Path) -> Dataset:
    """Write the sample to a local folder, for tests that read its files."""
    sample = Dataset(str(tmp_path / "sample"))
    fill(sample)
    return sample
