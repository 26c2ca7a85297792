"""The preprocessing of axolotl on `trl` and, with a key for each turn, on `chat_steps`."""

from collections.abc import Iterator
from pathlib import Path

from tests.consumers.chats import trained_turns, turns_with_loss
from tests.consumers.prm_trainer import labels_at_steps, steps_of
from tests.consumers.workspace import Attempt, TokenizedText, Workspace, check_equal

__all__ = ["attempts"]


def attempts(python: Path, workspace: Workspace) -> Iterator[Attempt]:
    """Yield what the preprocessing made of each export."""
    results = workspace.run(python, "preprocess_axolotl")
    for name in ("trl", "trl_after_error"):
        made = [labels_at_steps(TokenizedText(*text), workspace) for text in results[name]]
        expected = [steps_of(row) for row in workspace.rows(name)]
        rows = check_equal(name, made, expected)
        yield Attempt(name, rows, "stepwise_supervised: preprocessed")
    for name in ("chat_steps", "chat_steps_masked"):
        trained = trained_turns(name, results[name], workspace)
        rows = check_equal(name, trained, turns_with_loss(name, workspace))
        yield Attempt(name, rows, "chat_template with message_field_training: preprocessed")
