"""A dataset in a bucket of the Hub: the real client and its Xet storage, on a local folder."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from huggingface_hub import HfApi

from stepmark.errors import DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES
from storage.publishing.files import ExportFiles
from storage.queries.sql import query
from tests.storage.hub_buckets import BucketHandler
from tests.storage.hub_client import Connection, connected
from tests.storage.samples import LABEL, TRACE, fill

NAME = "org/live"
URI = f"hf://buckets/{NAME}/first"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Connection]:
    (tmp_path / "xet").mkdir()
    monkeypatch.setattr(BucketHandler, "store", tmp_path / "xet", raising=False)
    monkeypatch.setattr(BucketHandler, "buckets", {NAME: {}})
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "cache"))
    yield from connected(monkeypatch, tmp_path / "cache", BucketHandler)


def test_bucket_is_a_home(client: Connection) -> None:
    dataset = Dataset(URI)
    dataset.check_writable()
    fill(dataset)
    assert dataset.has_part(TRACES, 0, "f")
    assert next(dataset.read(TRACES)) == TRACE
    assert dataset.methods("annotations") == ("formal", "judge")
    assert query(dataset, "SELECT count(*) AS steps FROM steps").to_pylist() == [{"steps": 8}]


def test_part_in_bucket_is_replaced(client: Connection) -> None:
    dataset = Dataset(URI)
    for key in ("f", "g"):
        dataset.write_part(LABELS, 0, [LABEL], key)
    assert dataset.has_part(LABELS, 0, "g")
    dataset.remove_part(LABELS, 0)
    assert dataset.shards(LABELS) == ()


def test_missing_bucket_is_one_line(client: Connection) -> None:
    with pytest.raises(
        DatasetError,
        match=r"^cannot write hf://buckets/org/none/first/\.writable: there is no such bucket or "
        "repository, or HF_TOKEN may not see it$",
    ):
        Dataset("hf://buckets/org/none/first").check_writable()


def test_home_on_hub_shows_no_bars(client: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    Dataset(URI).write_part(LABELS, 0, [LABEL], "f")
    assert capsys.readouterr().err == ""


def stored_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("xorbs/default.*") if file.is_file())


def test_next_export_stores_new_rows_only(client: Connection, tmp_path: Path) -> None:
    # Texts that do not compress, so that the chunks of the storage are as large as the rows.
    texts = [hashlib.sha512(str(number).encode()).hexdigest() * 8 for number in range(20_000)]
    sizes = []
    for name, rows in (("first", texts), ("second", ["a new row", *texts])):
        files = ExportFiles(tmp_path / name, pa.schema({"text": pa.string()}))
        files.write("train", pa.table({"text": rows}).to_batches())
        files.finish()
        (path,) = (tmp_path / name).iterdir()
        HfApi().batch_bucket_files(NAME, add=[(str(path), "train.parquet")])
        sizes.append(stored_bytes(tmp_path / "xet"))
    # Without content-defined chunks, the second export would store everything again.
    assert sizes[1] < 1.5 * sizes[0]
