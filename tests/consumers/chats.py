"""What trainers made of chats: the whole text, and the turns that it trains."""

from collections.abc import Sequence
from typing import Any

from tests.consumers.model_folder import END_OF_TURN, rendered
from tests.consumers.workspace import TokenizedText, Workspace, check_count

__all__ = ["trained_turns", "turns_with_loss"]


def trained_turns(
    name: str, texts: Sequence[Sequence[Any]], workspace: Workspace
) -> list[list[str]]:
    """Return the trained turns of each row, and check that its text is the whole chat.

    Templates differ in the line feed after a turn: it can be trained, and the last one be missing.
    """
    exported = workspace.rows(name)
    check_count(name, texts, exported)
    turns = list[list[str]]()
    for row, text in zip(exported, texts, strict=True):
        tokens = TokenizedText(*text)
        whole = workspace.text(tokens.ids).rstrip("\n")
        chat = rendered(row["messages"]).rstrip("\n")
        assert whole == chat, f"{name}: the text {whole!r} of {chat!r}"
        turns.append([part.removesuffix("\n") for part in workspace.trained_texts(tokens)])
    return turns


def turns_with_loss(name: str, workspace: Workspace) -> list[list[str]]:
    """Return the turns of the assistant that must train: all, or those with `loss`."""
    expected = list[list[str]]()
    for row in workspace.rows(name):
        turns = list[str]()
        for message in row["messages"]:
            if message.get("loss", message["role"] == "assistant"):
                turns.append(f"{message['content']}{END_OF_TURN}")
        expected.append(turns)
    return expected
