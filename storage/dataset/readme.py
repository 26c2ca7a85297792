"""The README.md of a dataset: its YAML makes every table a config of the library `datasets`.

    datasets.load_dataset("data/pocket", "traces", split="train")
    datasets.load_dataset("data/pocket", "annotations-judge", split="train")

The viewer of the Hugging Face Hub reads the same lines. The types of the columns are those of the
current schemas, so that parts of versions that lack a column can be read together with later ones.
`datasets` caches the tables of a folder by its name and this file alone: each config therefore has
a version that other rows do not have.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from storage.dataset.dataset import Dataset
from storage.dataset.tables import Table

__all__ = ["README", "write_readme"]

README = "README.md"
# A README without this line was written by someone else, and is never replaced.
MARKER = "<!-- Written by Stepmark. Delete this line to keep your own text. -->"
TEXT = f"""{MARKER}

# Tables of a Stepmark dataset

Each config is one table; a table of a method is named `TABLE-METHOD`.

```python
from datasets import load_dataset

traces = load_dataset("FOLDER", "traces", split="train")
```

`datasets` caches the rows of each run. After people have added labels, load them with
`download_mode="force_redownload"`.

All tables together, with SQL: `stepmark sql --dataset FOLDER`. One trace:
`stepmark show TRACE_ID --dataset FOLDER`.
"""
# Names of Arrow types that `datasets` calls otherwise.
DTYPES = {"double": "float64"}


def write_readme(dataset: Dataset) -> None:
    """Write the README, unless another one is there.

    The caller must hold the writer lock.

    Raises:
        DatasetError: It cannot be written, or the footer of a part cannot be read.
    """
    folder = dataset.folder
    # `datasets` cannot load a config without rows.
    tables = [table for table in dataset.tables() if _has_rows(dataset, table)]
    text = _render({table: _version(dataset, table) for table in tables})
    if README in folder.folders():
        return
    if folder.has(README):
        with folder.reading(README) as file:
            existing = file.read().decode("utf-8", "replace")
        # An equal file stays as it is: in a bucket, each write would be a new version of it.
        if MARKER not in existing.splitlines() or existing == text:
            return
    with folder.writing(README) as file:
        file.write(text.encode("utf-8"))


def _has_rows(dataset: Dataset, table: Table[Any]) -> bool:
    for shard in dataset.shards(table):
        footer = dataset.footer(table, shard)
        if footer is not None and footer.rows:
            return True
    return False


def _version(dataset: Dataset, table: Table[Any]) -> str:
    """Return a version of the rows of a table, as `datasets` needs it: 0.0.NUMBER.

    The number has 32 bits of a digest of the contents of the parts, without timing columns. In a
    bucket, where each footer is a request, it is of the listing of the files.
    """
    digest = hashlib.sha256()
    for shard, file_version in sorted(dataset.part_versions(table).items()):
        state = file_version
        if dataset.folder.is_local:
            footer = dataset.footer(table, shard)
            state = footer.content if footer is not None else ""
        digest.update(f"{shard} {state}\n".encode())
    return f"0.0.{int.from_bytes(digest.digest()[:4])}"


def _render(versions: Mapping[Table[Any], str]) -> str:
    """Return the README of tables, each with a version of its rows."""
    lines = ["---", "tags:", "- stepmark", "- process-supervision"]
    if versions:
        lines.append("configs:")
    for table, version in versions.items():
        lines.append(f"- config_name: {_config(table)}")
        lines.append(f"  version: {version}")
        lines.append("  data_files:")
        lines.append("  - split: train")
        lines.append(f"    path: {table.folder}/part-*.parquet")
    if versions:
        lines.append("dataset_info:")
    for table in versions:
        lines.append(f"- config_name: {_config(table)}")
        lines.append("  features:")
        lines.extend(_features(table.schema, "  "))
    return "\n".join([*lines, "---", "", TEXT])


def _config(table: Table[Any]) -> str:
    return table.folder.replace("/", "-")


def _features(fields: Sequence[pa.Field], indent: str) -> Iterator[str]:
    """Yield the lines of YAML that describe columns, or the fields of a struct."""
    for field in fields:
        yield f"{indent}- name: {field.name}"
        yield from _type(field.type, f"{indent}  ")


def _type(kind: pa.DataType, indent: str) -> Iterator[str]:
    if pa.types.is_struct(kind):
        yield f"{indent}struct:"
        yield from _features(list(kind), indent)
    elif pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        yield f"{indent}list:"
        yield from _features(list(kind.value_type), indent)
    elif pa.types.is_list(kind):
        yield f"{indent}list: {_dtype(kind.value_type)}"
    else:
        yield f"{indent}dtype: {_dtype(kind)}"


def _dtype(kind: pa.DataType) -> str:
    return DTYPES.get(str(kind), str(kind))
