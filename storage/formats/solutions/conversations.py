"""Conversations: lists of chat messages, as chat templates read them."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pyarrow as pa

__all__ = ["MESSAGES", "Turn", "assistant_turn", "user_turn"]

Turn: TypeAlias = Mapping[str, str]
"""A message with its role and its content."""
MESSAGES = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
"""The column type of a conversation."""


def user_turn(content: str) -> Sequence[Turn]:
    """Return a conversation of one turn of the user."""
    return [{"role": "user", "content": content}]


def assistant_turn(content: str) -> Sequence[Turn]:
    """Return a conversation of one turn of the model."""
    return [{"role": "assistant", "content": content}]
