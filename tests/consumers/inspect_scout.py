"""Inspect Scout's reader on `inspect_scout`: all transcripts, messages and metadata."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.consumers.workspace import Attempt, Workspace, check_equal

__all__ = ["attempts"]

COLUMNS = (
    "transcript_id",
    "source_type",
    "source_id",
    "task_set",
    "task_id",
    "model",
    "score",
    "score_explanation",
    "success",
    "message_count",
    "total_tokens",
    "trust_content",
)
METADATA = ("reference_answer", "final_answer", "confidence", "first_errors")
MESSAGE_FIELDS = ("id", "role", "content", "metadata")


def attempts(python: Path, workspace: Workspace) -> Iterator[Attempt]:
    """Yield what the reader made of the transcripts."""
    made = list[Any]()
    for transcript in workspace.run(python, "load_inspect_scout"):
        messages = [_fields(message, MESSAGE_FIELDS) for message in transcript["messages"]]
        metadata = [transcript["metadata"].get(name) for name in METADATA]
        made.append([_fields(transcript, COLUMNS), metadata, messages])
    expected = list[Any]()
    for row in workspace.rows("inspect_scout"):
        messages = [_fields(message, MESSAGE_FIELDS) for message in json.loads(row["messages"])]
        expected.append([_fields(row, COLUMNS), _fields(row, METADATA), messages])
    # The order of the reader is its own.
    rows = check_equal("transcripts", sorted(made, key=_id), sorted(expected, key=_id))
    yield Attempt("inspect_scout", rows, "transcripts_from: read")


def _fields(row: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    return [row.get(name) for name in names]


def _id(transcript: list[Any]) -> str:
    identity: str = transcript[0][0]
    return identity
