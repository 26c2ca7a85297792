"""The README.md of a dataset, which the library `datasets` reads."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from storage.dataset.dataset import Dataset
from storage.dataset.readme import MARKER, README, write_readme
from storage.dataset.schemas import SCHEMAS
from storage.dataset.tables import (
    LABELS,
    REJECTED,
    STALE_LABELS,
    TRACES,
    annotations,
    discovered,
)
from tests.storage.samples import ANNOTATION, DISCOVERED, LABEL, STALE_LABEL, TRACE


def load(dataset: Dataset, config: str) -> Any:
    cache = Path(dataset.uri).parent / "cache"
    return datasets.load_dataset(dataset.uri, config, split="train", cache_dir=str(cache))


def readme_of(dataset: Dataset) -> str:
    with dataset.folder.reading(README) as file:
        return file.read().decode()


def test_every_table_is_a_config(on_disk: Dataset) -> None:
    on_disk.write_part(discovered("tree_search"), 0, [DISCOVERED], "f")
    on_disk.write_part(STALE_LABELS, 0, [STALE_LABEL], "f")
    write_readme(on_disk)
    tables = list(on_disk.tables())
    names = [table.folder.replace("/", "-") for table in tables]
    assert datasets.get_dataset_config_names(on_disk.uri) == names
    assert {"traces", "annotations-judge", "discovered-tree_search"} <= set(names)
    for table, name in zip(tables, names, strict=True):
        loaded = load(on_disk, name)
        assert loaded.num_rows == on_disk.count(table)
        assert loaded.features == datasets.Features.from_arrow_schema(SCHEMAS[table.kind])
    assert load(on_disk, "traces")[0]["steps"] == list(TRACE.steps)


@pytest.mark.parametrize("older_shard", [0, 1])
def test_parts_of_other_versions_are_read(older_shard: int, on_disk: Dataset) -> None:
    table = annotations("judge")
    on_disk.write_part(table, 1, [replace(ANNOTATION, trace_id="t9")], "f")
    path = Path(on_disk.uri, on_disk.path(table, older_shard))
    old = pq.read_table(path).drop_columns(["waited_seconds"])
    pq.write_table(old.replace_schema_metadata(pq.read_schema(path).metadata), path)
    write_readme(on_disk)
    expected: list[float | None] = [0.25, 0.25]
    expected[older_shard] = None
    assert load(on_disk, "annotations-judge")["waited_seconds"] == expected


def test_tables_without_rows_have_no_config(on_disk: Dataset) -> None:
    on_disk.write_part(REJECTED, 0, [], "f")
    on_disk.write_part(LABELS, 0, [], "f")
    on_disk.write_part(LABELS, 1, [LABEL], "f")
    write_readme(on_disk)
    assert "rejected" not in datasets.get_dataset_config_names(on_disk.uri)
    assert load(on_disk, "labels").num_rows == 1


def test_new_tables_are_added(filled: Dataset) -> None:
    write_readme(filled)
    filled.write_part(annotations("human"), 0, [replace(ANNOTATION, method="human")], "f")
    write_readme(filled)
    assert "- config_name: annotations-human\n" in readme_of(filled)


def test_changed_rows_are_loaded_again(on_disk: Dataset) -> None:
    write_readme(on_disk)
    before = readme_of(on_disk)
    assert load(on_disk, "labels").num_rows == on_disk.count(LABELS) > 1
    on_disk.write_part(LABELS, 0, [LABEL], "f")
    write_readme(on_disk)
    assert load(on_disk, "labels").to_list()[0]["trace_id"] == LABEL.trace_id
    assert load(on_disk, "labels").num_rows == 1
    # The versions of the other tables stay.
    after = readme_of(on_disk)
    changed = set(after.splitlines()) - set(before.splitlines())
    assert len(changed) == 1


def test_other_readme_is_kept(filled: Dataset) -> None:
    text = f"# Mine\n\nIt quotes {MARKER} in a line.\n"
    with filled.folder.writing(README) as file:
        file.write(text.encode())
    write_readme(filled)
    assert readme_of(filled) == text


def test_folder_of_that_name_is_kept(on_disk: Dataset) -> None:
    Path(on_disk.uri, README).mkdir()
    write_readme(on_disk)
    assert Path(on_disk.uri, README).is_dir()


def test_empty_dataset_has_a_readme(dataset: Dataset) -> None:
    dataset.write_run_file("")
    write_readme(dataset)
    assert "config_name" not in readme_of(dataset)
    assert dataset.count(TRACES) == 0
