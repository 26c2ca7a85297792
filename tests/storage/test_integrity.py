"""Damage is found: no flipped bit becomes another row, and every error names the part."""

import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.scoring.dataset_scores import scores
from pipelines.scoring.gold import first_errors
from stepmark.errors import DatasetError
from stepmark.records import Annotation, Cost
from storage.dataset import parts
from storage.dataset.dataset import DamagedPartError, Dataset
from storage.dataset.tables import PROBLEMS, TRACES, annotations, discovered, rollouts
from storage.formats.trl import Trl
from storage.publishing.export import export
from storage.queries.sql import connect, query, query_session
from tests.storage.samples import ANNOTATION, DISCOVERED, PROBLEM, ROLLOUT, TRACE, fill

FLIPS = 400
# The seed of the flipped positions, so that a failure can be repeated.
SEED = 15
OLD_DATASET = Path(__file__).parents[1] / "pipelines/data/dataset_26a14a6/dataset"


def flip(path: Path, position: int, bit: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def part_files(dataset: Dataset) -> list[Path]:
    return sorted(Path(dataset.uri).rglob("part-*.parquet"))


def read_part(uri: str, path: Path) -> None:
    """Read all records of the part in a file."""
    dataset = Dataset(uri)
    for table in dataset.tables():
        for shard in dataset.shards(table):
            if path == Path(uri, dataset.path(table, shard)):
                for _ in dataset.read_part(table, shard):
                    pass


def score(dataset: Dataset) -> None:
    gold, _ = first_errors(dataset, "oracle")
    scores(dataset, gold, excluded_method="oracle", by="model")


def flipped_parts(dataset: Dataset, flips: int) -> Iterator[Path]:
    """Flip one bit of one part at a time, and restore it afterwards."""
    chance = random.Random(SEED)
    files = part_files(dataset)
    for number in range(flips):
        path = files[number % len(files)]
        content = path.read_bytes()
        flip(path, chance.randrange(len(content)), chance.randrange(8))
        yield path
        path.write_bytes(content)


def assert_names_part(message: str, path: Path) -> None:
    assert str(path) in message
    assert "is damaged: delete it and run again" in message
    assert "\n" not in message


def test_every_flipped_bit_is_found(on_disk: Dataset) -> None:
    on_disk.write_part(discovered("judge"), 0, [DISCOVERED], "f")
    for path in part_files(on_disk):
        read_part(on_disk.uri, path)
    for path in flipped_parts(on_disk, FLIPS):
        with pytest.raises(DamagedPartError) as error:
            read_part(on_disk.uri, path)
        assert_names_part(str(error.value), path)


def test_every_bit_of_footer_is_sealed(on_disk: Dataset) -> None:
    path = Path(on_disk.uri, "labels/part-00000.parquet")
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little") + 8
    labels = next(table for table in on_disk.tables() if table.kind == "labels")
    chance = random.Random(SEED)
    for position in range(len(content) - length, len(content), 7):
        flip(path, position, chance.randrange(8))
        assert on_disk.footer(labels, 0) is None
        path.write_bytes(content)
    assert on_disk.footer(labels, 0) is not None


def test_queries_name_damaged_part(on_disk: Dataset) -> None:
    for path in flipped_parts(on_disk, 40):
        with pytest.raises(DamagedPartError) as error:
            connect(Dataset(on_disk.uri))
        assert_names_part(str(error.value), path)


def test_exports_and_scores_name_damaged_part(on_disk: Dataset, tmp_path: Path) -> None:
    gold = replace(ANNOTATION, method="oracle", first_error=1)
    on_disk.write_part(annotations("oracle"), 0, [gold], "f")
    for path in flipped_parts(on_disk, 40):
        dataset = Dataset(on_disk.uri)
        kind = path.relative_to(on_disk.uri).parts[0]
        if kind in ("problems", "traces", "labels"):
            with pytest.raises(DamagedPartError) as error:
                export(dataset, Trl(), str(tmp_path / "out"))
            assert_names_part(str(error.value), path)
        if kind in ("traces", "labels", "annotations"):
            with pytest.raises(DamagedPartError) as error:
                score(dataset)
            assert_names_part(str(error.value), path)


def test_query_verifies_only_its_tables(on_disk: Dataset) -> None:
    path = Path(on_disk.uri, "annotations/judge/part-00000.parquet")
    flip(path, 20, 0)
    with query_session(on_disk) as run_query:
        assert run_query("SELECT count(*) FROM traces").to_pylist() == [{"count_star()": 3}]
        serialized = "json_serialize_sql('SELECT * FROM anno' || 'tations')"
        for text in (
            "FROM Annotations",
            "FROM steps",
            "FROM query_table('anno' || 'tations')",
            f"FROM json_execute_serialized_sql({serialized})",
        ):
            with pytest.raises(DamagedPartError, match="annotations/judge"):
                run_query(text)


def test_query_reads_footers_of_tables(on_disk: Dataset) -> None:
    path = Path(on_disk.uri, "annotations/judge/part-00000.parquet")
    flip(path, path.stat().st_size - 20, 0)
    assert query(on_disk, "SELECT count(*) FROM traces").to_pylist() == [{"count_star()": 3}]
    # Views of tables that are not read keep their columns.
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'st' || 'eps'"
    assert "judge_verdict" in query(on_disk, columns).column(0).to_pylist()
    for text in ("FROM annotations", "FROM steps", "FROM estimates"):
        with pytest.raises(DamagedPartError, match="annotations/judge"):
            query(on_disk, text)


def test_old_parts_have_no_traceback(tmp_path: Path) -> None:
    """Parts of format 1 have no checksums: what cannot be decoded is one line."""
    dataset = Dataset(str(tmp_path / "old"))
    shutil.copytree(OLD_DATASET, dataset.uri)
    messages = []
    for path in flipped_parts(dataset, 150):
        try:
            read_part(dataset.uri, path)
        except DatasetError as error:
            messages.append(str(error))
            # It names the part.
            messages[-1].index(str(path))
    assert len(messages) > 50


def test_invalid_text_is_damage(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "old"))
    shutil.copytree(OLD_DATASET, dataset.uri)
    path = Path(dataset.uri, "problems/part-00000.parquet")
    table = pq.read_table(path)
    # Without compression the text can be found in the file.
    pq.write_table(table, path, compression="none", use_dictionary=False)
    question = table["question"][0].as_py().encode()
    content = path.read_bytes()
    path.write_bytes(content.replace(question, b"\xff" + question[1:]))
    with pytest.raises(DamagedPartError, match=r"problems/part-00000\.parquet is damaged: delete"):
        list(dataset.read(PROBLEMS))


def test_pages_have_checksums(on_disk: Dataset) -> None:
    """Other readers of Parquet find damage too."""
    path = Path(on_disk.uri, "traces/part-00000.parquet")
    column = pq.read_metadata(path).row_group(0).column(0)
    first_page = column.dictionary_page_offset or column.data_page_offset
    # The last byte of the column's last page.
    flip(path, first_page + column.total_compressed_size - 1, 0)
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.ParquetFile(path, page_checksum_verification=True).read()


def test_damaged_remote_part_is_found(dataset: Dataset) -> None:
    dataset.write_part(TRACES, 0, [TRACE] * 50, "f")
    location = f"{dataset.folder.root}/traces/part-00000.parquet"
    content = bytearray(dataset.folder.fs.cat_file(location))
    content[150] ^= 1
    dataset.folder.fs.pipe_file(location, bytes(content))
    with pytest.raises(DamagedPartError, match=r"traces/part-00000\.parquet is damaged"):
        list(dataset.read(TRACES))


def test_content_is_digest_of_rows(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    table = annotations("judge")
    rows = [replace(ANNOTATION, trace_id=str(number)) for number in range(600)]
    content = dataset.write_part(table, 0, rows, "f").content
    assert len(content) * 4 >= 96
    # The key, the shard, the row groups and the times are not part of the content.
    slower = [replace(row, cost=replace(row.cost, seconds=9.5)) for row in rows]
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 1000)
    assert dataset.write_part(table, 1, iter(slower), "g").content == content
    others = (
        rows[:-1],
        list(reversed(rows)),
        [replace(rows[0], confidence=None), *rows[1:]],
        [replace(rows[0], cost=Cost()), *rows[1:]],
    )
    for other in others:
        assert dataset.write_part(table, 2, other, "f").content != content


def test_footer_lists_sibling_parts(dataset: Dataset) -> None:
    sampled = dataset.write_part(rollouts("judge"), 0, [ROLLOUT] * 2, "f")
    failed: list[Annotation] = []

    def rows() -> Iterator[Annotation]:
        failed.append(ANNOTATION)
        yield ANNOTATION

    written = dataset.write_part(
        annotations("judge"), 0, rows(), "f", tables={"rollouts": sampled}, failed=failed.__len__
    )
    footer = dataset.footer(annotations("judge"), 0)
    assert footer == written
    assert footer is not None
    assert (footer.tables, footer.failed) == ({"rollouts": (2, sampled.content)}, 1)
    assert dataset.footer(rollouts("judge"), 0) == sampled


def test_parts_are_listed_once(tmp_path: Path) -> None:
    """A query that starts while a writer adds and replaces parts has no error."""
    dataset = Dataset(str(tmp_path / "d"))
    fill(dataset)
    done = threading.Event()

    def write() -> None:
        shard = 0
        while not done.is_set():
            dataset.write_part(PROBLEMS, shard % 20, [PROBLEM], str(shard))
            shard += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(8):
            assert query(dataset, "SELECT count(*) FROM problems").num_rows == 1
    finally:
        done.set()
        writer.join()
