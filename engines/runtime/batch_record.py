"""The record of a batch: what finds it and its requests again after a kill.

A record contains no text of a request. It is written before the batch is made, and again when the
id of the batch and its end are known.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from stepmark.errors import ConfigError

__all__ = ["BatchRecord", "decode", "encode"]


@dataclass(frozen=True, kw_only=True)
class BatchRecord:
    """A batch in a record."""

    identity: str
    """The identity of the engine."""
    model: str
    server: str
    """The address of the server, without secrets."""
    input_file_id: str
    batch_id: str = ""
    """Empty until the server has named the batch."""
    status: str = ""
    """The final status; empty while the server may still work on the batch."""
    requests: Sequence[str]
    """The `custom_id` of each request, in the order of the file."""


def encode(record: BatchRecord) -> bytes:
    """Return the record as JSON."""
    return json.dumps(asdict(record), indent=1).encode()


def decode(content: bytes, location: str) -> BatchRecord:
    """Return the record in a file.

    Raises:
        ConfigError: The file contains no record. Its batch may have cost money.
    """
    names = {field.name for field in fields(BatchRecord)}
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not _is_valid(values) or values.keys() != names:
        raise ConfigError(
            f"{location} is damaged: it names a batch at a provider, whose answers cannot be"
            " collected without it; remove it to send its requests again"
        )
    return BatchRecord(**values)


def _is_valid(values: dict[str, object]) -> bool:
    for name, value in values.items():
        entries = value if name == "requests" else [value]
        if not isinstance(entries, list):
            return False
        if not all(isinstance(entry, str) for entry in entries):
            return False
    return True
