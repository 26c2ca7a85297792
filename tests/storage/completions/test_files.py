"""Damaged files and files of others are skipped and kept; newer ones are refused."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stepmark.errors import DatasetError
from storage.completions import files
from storage.completions.rows import Revised, to_table
from storage.completions.store import CompletionStore
from storage.dataset.dataset import Dataset
from storage.dataset.folder import Folder
from storage.dataset.schemas import SCHEMAS
from storage.queries.sql import connect, query
from tests.storage.completions.samples import (
    PROBLEMS,
    append,
    completion,
    completions,
    expected_rows,
    file_kinds,
    key_of,
    keys_of,
    open_shard,
    stored,
    view_rows,
)

FLIPS = 300


def write_file(dataset: Dataset, name: str, content: bytes) -> None:
    with dataset.folder.writing(f"completions/{name}") as file:
        file.write(content)


def read_file(dataset: Dataset, name: str) -> bytes:
    with dataset.folder.reading(f"completions/{name}") as file:
        return file.read()


def test_long_texts_can_exceed_two_gigabytes() -> None:
    """Arrow cannot sort a table in which a column of the type `string` has more than 2 GiB."""
    for name in ("text", "reasoning"):
        assert files.MEMORY_SCHEMA.field(name).type == pa.large_string()
        assert SCHEMAS["completions"].field(name).type == pa.string()


async def fill_part(dataset: Dataset, start: int = 0, stop: int = 20) -> bytes:
    """Write a part and return its content."""
    dataset.write_run_file("")
    shard = open_shard(dataset)
    await shard.put(completions(start, stop))
    await shard.close(compact=True)
    return read_file(dataset, "part-00000.parquet")


# Empty, within the first mark, within the data, and without the last byte.
@pytest.mark.parametrize("kept_bytes", [0, 3, 300, -1])
async def test_truncated_part_is_skipped(dataset: Dataset, kept_bytes: int) -> None:
    content = (await fill_part(dataset))[:kept_bytes]
    write_file(dataset, "part-00000.parquet", content)
    await append(dataset, completions(30, 33), completions(33, 36))
    messages: list[str] = []
    store = CompletionStore(dataset, report=messages.append)
    store.open()
    shard = store.shard(0, PROBLEMS)
    keys = keys_of(range(40))
    assert list((await shard.get(keys)).values()) == completions(30, 36)
    await shard.put(completions(0, 3))
    await shard.close(compact=True)

    assert list(store.damaged) == ["completions/part-00000.parquet"]
    assert len(messages) == 1
    location = dataset.folder.location("completions/part-00000.parquet")
    assert messages[0].startswith(f"{location} is damaged and is skipped: ")
    assert "\n" not in messages[0]
    # The damaged file is neither replaced nor removed; the other files become one segment.
    assert read_file(dataset, "part-00000.parquet") == content
    assert file_kinds(dataset) == ["part", "segment"]
    expected = [*completions(0, 3), *completions(30, 36)]
    assert await stored(dataset, range(40)) == expected
    if dataset.folder.is_local:
        assert view_rows(dataset) == expected_rows(expected)


async def test_foreign_file_is_skipped(dataset: Dataset) -> None:
    await fill_part(dataset)
    name = "segment-00000-0123456789abcdef.parquet"
    with dataset.folder.writing(f"completions/{name}") as file:
        pq.write_table(pa.table({"key": [1]}), file)
    for other in ("notes.txt", "part-00001-0123456789abcdef.parquet", "segment-00000.parquet"):
        write_file(dataset, other, b"x")
    store = CompletionStore(dataset)
    store.open()
    shard = store.shard(0, PROBLEMS)
    assert len(await shard.get(keys_of(range(20)))) == 20
    await shard.put(completions(20, 21))
    await shard.close(compact=True)
    assert store.damaged == {f"completions/{name}": "it is not a file of completions"}
    assert len(dataset.folder.files("completions")) == 5
    if dataset.folder.is_local:
        assert len(view_rows(dataset)) == 21


async def test_newer_file_is_refused(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(files, "FORMAT", files.FORMAT + 1)
        await fill_part(dataset)
    store = CompletionStore(dataset)
    with pytest.raises(DatasetError, match="was written by a newer Stepmark") as refusal:
        store.open()
    assert "\n" not in str(refusal.value)
    with pytest.raises(DatasetError, match="was written by a newer Stepmark"):
        await store.shard(0, PROBLEMS).get([key_of(0)])
    if dataset.folder.is_local:
        with pytest.raises(DatasetError, match="was written by a newer Stepmark"):
            query(dataset, "FROM completions")


@pytest.mark.parametrize("with_new_file", [False, True])
async def test_format_1_is_read(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, with_new_file: bool
) -> None:
    """Files of format 1 have no column `reasoning`."""
    with monkeypatch.context() as patch:
        patch.setattr(files, "FORMAT", 1)
        rows = to_table([Revised(row, 0) for row in completions(0, 2)]).drop_columns("reasoning")
        with dataset.folder.writing(files.part_file(0).path) as file:
            files.write_table(file, rows, files.Header(0, PROBLEMS), is_part=True)
    expected = completions(0, 2)
    if with_new_file:
        new = completion(2, "text 2")._replace(reasoning="because")
        await append(dataset, [new])
        expected.append(new)
    assert await stored(dataset, range(3)) == expected
    assert view_rows(dataset) == expected_rows(expected)
    assert query(dataset, "FROM completions").column_names == SCHEMAS["completions"].names


async def test_file_system_error_is_not_damage(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_part(dataset)
    store = CompletionStore(dataset)

    def no_network(folder: Folder, path: str) -> None:
        raise DatasetError("cannot read: the network is down")

    with monkeypatch.context() as broken:
        broken.setattr(Folder, "reading", no_network)
        with pytest.raises(DatasetError, match="the network is down"):
            store.open()
        shard = store.shard(0, PROBLEMS)
        with pytest.raises(DatasetError, match="the network is down"):
            await shard.get([key_of(0)])
    assert store.damaged == {}
    # The next call tries again.
    assert len(await shard.get([key_of(0)])) == 1


async def test_flipped_bits_are_found(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    content = await fill_part(dataset)
    keys = keys_of(range(20))
    rng = random.Random(15)
    for _ in range(FLIPS):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (tmp_path / "completions" / "part-00000.parquet").write_bytes(flipped)
        store = CompletionStore(dataset)
        store.open()
        assert await store.shard(0, PROBLEMS).get(keys) == {}
        assert len(store.damaged) == 1


async def test_drafts_are_swept(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    await fill_part(dataset)
    write_file(dataset, ".part-00000.parquet.0123.tmp", b"PAR1 half")
    assert await stored(dataset, range(20)) == completions(0, 20)
    dataset.sweep()
    assert dataset.folder.files("completions") == ["part-00000.parquet"]


async def test_view_shows_all_columns(dataset: Dataset) -> None:
    await fill_part(dataset, 0, 1)
    assert query(dataset, "FROM completions").to_pylist() == [
        {
            "key": key_of(0),
            "model": "some/model",
            "seed": 2**53 - 1,
            "text": "text 0",
            "finish_reason": "stop",
            "prompt_tokens": 7,
            "cached_tokens": 3,
            "generated_tokens": 11,
            "logprobs": None,
            "reasoning": None,
            "revision": 0,
        }
    ]


async def test_connection_reads_only_listed_files(dataset: Dataset) -> None:
    await fill_part(dataset)
    with connect(dataset) as connection:
        await append(dataset, completions(20, 25))
        assert connection.sql("SELECT count(*) FROM completions").fetchall() == [(20,)]
    assert len(view_rows(dataset)) == 25


async def test_files_of_other_shards_are_distinct(dataset: Dataset) -> None:
    # The names of shard 100000 begin with those of shard 10000.
    shards = (10_000, 100_000)
    for index, shard in enumerate(shards):
        await append(dataset, completions(2 * index, 2 * index + 1), shard=shard)
        await open_shard(dataset, shard, ["x"]).close(compact=True)
        await append(dataset, completions(2 * index + 1, 2 * index + 2), shard=shard)
    for index, shard in enumerate(shards):
        found = await stored(dataset, range(4), shard, ["y"])
        assert found == completions(2 * index, 2 * index + 2)
