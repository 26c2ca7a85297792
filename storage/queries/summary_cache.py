"""A file with the last summary of a dataset, so that a later process does not read all parts again.

The files are in the user's cache folder, never in the dataset: that may be read-only, and is often
uploaded as a whole. A file that is missing or damaged is as good as none.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from stepmark.identity import digest
from storage.queries.shard_summary import MethodTotals, ShardSummary

__all__ = ["load_shards", "store_shards"]

# Increase it when the columns of a summary change.
VERSION = 1
# Reading the parts of fewer traces takes less than a second.
MIN_TRACES = 20_000
DIGEST_BYTES = 32
METADATA_KEY = b"stepmark.shards"


def load_shards(uri: str) -> Mapping[int, ShardSummary]:
    """Return the shards of the last summary of a dataset; none if there is no intact file."""
    try:
        content = _path(uri).read_bytes()
        if _digest(content[DIGEST_BYTES:]) != content[:DIGEST_BYTES]:
            return {}
        table = pa.ipc.open_stream(pa.py_buffer(content)[DIGEST_BYTES:]).read_all()
        entries = json.loads(table.schema.metadata[METADATA_KEY])
    # RuntimeError: the user has no home directory.
    except (OSError, RuntimeError, pa.ArrowException, KeyError, ValueError):
        return {}
    shards = dict[int, ShardSummary]()
    start = 0
    for shard, version, rows, totals in entries:
        shards[shard] = ShardSummary(
            version=version,
            table=table.slice(start, rows).replace_schema_metadata(),
            totals={method: MethodTotals(**sums) for method, sums in totals.items()},
        )
        start += rows
    return shards


def store_shards(uri: str, shards: Mapping[int, ShardSummary], table: pa.Table) -> None:
    """Write the shards of a summary; without effect if the folder cannot be written to.

    Args:
        uri: The dataset.
        shards: The shards, in the order of their rows.
        table: The rows of all shards.
    """
    if table.num_rows < MIN_TRACES:
        return
    entries = []
    for shard, summary in shards.items():
        totals = {method: dataclasses.asdict(sums) for method, sums in summary.totals.items()}
        entries.append((shard, summary.version, summary.table.num_rows, totals))
    sink = pa.BufferOutputStream()
    # A file would need the same dictionaries in all shards; a stream does not.
    schema = table.schema.with_metadata({METADATA_KEY: json.dumps(entries)})
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_table(table.cast(schema))
    content = sink.getvalue()
    # A full disk or a missing home directory only costs time later.
    with contextlib.suppress(OSError, RuntimeError):
        _replace(_path(uri), _digest(content), content)


def _replace(path: Path, *chunks: bytes | pa.Buffer) -> None:
    """Write a file atomically, readable for its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
        Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _path(uri: str) -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    # A relative path is another dataset in another folder.
    location = uri if "://" in uri else str(Path(uri).resolve())
    return Path(folder, "stepmark", "view", f"{digest('view', VERSION, location)}.arrow")


def _digest(content: bytes | pa.Buffer) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
