"""The texts that a trainer makes of a row, and where it expects the labels in their tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import pyarrow as pa

from storage.formats.base import Format, Row
from storage.formats.solutions.conversations import Turn

__all__ = [
    "Chat",
    "HasTrainingTexts",
    "MarkedChat",
    "MarkedText",
    "PlainText",
    "SeparatedSteps",
    "TrainingText",
    "has_training_texts",
    "training_texts",
]

LINE_FEED = "\n"
# Columns of conversations that are one text together, as trainers of TRL read them.
CONVERSATIONS = (
    ("messages",),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "chosen"),
    ("prompt", "rejected"),
)
# Only the request, for reinforcement learning.
REQUEST = ("prompt",)


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A text with a marker after every step. Trainers search the tokens for that of the marker."""

    text: str
    marker: str
    labels: int
    """The number of labels; the first one belongs to the first marker."""


@dataclass(frozen=True, slots=True)
class SeparatedSteps:
    """Texts that are tokenized one by one, with the tokens of a separator after every step.

    The label of a step is that of the last token of its separator.
    """

    prompt: str
    steps: Sequence[str]
    has_label: Sequence[bool]
    """Whether a step has a label; steps without one are masked."""
    separator: str = LINE_FEED


@dataclass(frozen=True, slots=True)
class Chat:
    """Messages that a chat template turns into one text."""

    messages: Sequence[Turn]
    has_label: Sequence[bool] = ()
    """Whether the content of a message is a label; empty if no message is."""


@dataclass(frozen=True, slots=True)
class MarkedChat:
    """Messages that a chat template turns into a text with a marker after every step."""

    messages: Sequence[Turn]
    marker: str
    labels: int
    """The number of labels; the first one belongs to the first marker."""


@dataclass(frozen=True, slots=True)
class PlainText:
    """A text without labels in it."""

    text: str


TrainingText: TypeAlias = MarkedText | SeparatedSteps | Chat | MarkedChat | PlainText


@runtime_checkable
class HasTrainingTexts(Protocol):
    """A format that declares what a trainer tokenizes.

    A format with conversations in the usual columns need not do that: see `training_texts`.
    """

    def training_texts(self, row: Row) -> Sequence[TrainingText]:
        """Return the texts that a trainer makes of a row."""
        ...


def has_training_texts(exporter: Format | type[Format]) -> bool:
    """Return whether it is known which texts a trainer makes of the rows of a format."""
    return isinstance(exporter, HasTrainingTexts) or bool(_conversation_columns(exporter.schema))


def training_texts(exporter: Format, row: Row) -> Iterator[TrainingText]:
    """Yield the texts of a row: those that the format declares, or its conversations."""
    if isinstance(exporter, HasTrainingTexts):
        yield from exporter.training_texts(row)
        return
    for names in _conversation_columns(exporter.schema):
        messages = list[Mapping[str, Any]]()
        for name in names:
            messages.extend(row[name])
        yield Chat(messages)


def _conversation_columns(schema: pa.Schema) -> Sequence[tuple[str, ...]]:
    """Return the groups of columns that are a conversation each."""
    conversations = {field.name for field in schema if _is_conversation(field.type)}
    groups = [names for names in CONVERSATIONS if conversations.issuperset(names)]
    if not groups and conversations.issuperset(REQUEST):
        groups.append(REQUEST)
    return groups


def _is_conversation(column_type: pa.DataType) -> bool:
    if not pa.types.is_list(column_type) or not pa.types.is_struct(column_type.value_type):
        return False
    names = {field.name for field in column_type.value_type.fields}
    return {"role", "content"} <= names
