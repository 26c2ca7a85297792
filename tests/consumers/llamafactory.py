"""The dataset loader of LLaMA-Factory on chats, of which it trains all turns of the assistant."""

from collections.abc import Iterator
from pathlib import Path

from tests.consumers.chats import trained_turns, turns_with_loss
from tests.consumers.workspace import Attempt, Workspace, check_equal

__all__ = ["attempts"]


def attempts(python: Path, workspace: Workspace) -> Iterator[Attempt]:
    """Yield what the loader made of each export."""
    for name, texts in workspace.run(python, "encode_llamafactory").items():
        trained = trained_turns(name, texts, workspace)
        rows = check_equal(name, trained, turns_with_loss(name, workspace))
        yield Attempt(name, rows, "get_dataset, stage sft: encoded")
