"""TRL's PRMTrainer on `trl`: all labels are at the ends of their steps, and three steps train."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.consumers.workspace import Attempt, TokenizedText, Workspace, check_equal, check_losses

__all__ = ["attempts", "labels_at_steps", "steps_of"]


def attempts(python: Path, workspace: Workspace) -> Iterator[Attempt]:
    """Yield what the trainer made of each export."""
    for name, result in workspace.run(python, "train_prm_trl").items():
        made = [labels_at_steps(TokenizedText(*text), workspace) for text in result["texts"]]
        expected = [steps_of(row) for row in workspace.rows(name)]
        rows = check_equal(name, made, expected)
        check_losses(name, result["losses"], steps=3)
        yield Attempt(name, rows, "PRMTrainer: 3 steps trained")


def labels_at_steps(tokens: TokenizedText, workspace: Workspace) -> list[tuple[str, int]]:
    """Return the text up to each label with the label, and the whole text with -100 at the end."""
    labels = list[tuple[str, int]]()
    for index, label in enumerate(tokens.labels):
        if label != -100:
            labels.append((workspace.text(tokens.ids[: index + 1]), label))
    return [*labels, (workspace.text(tokens.ids), -100)]


def steps_of(row: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return what `labels_at_steps` must be for a row of `trl`."""
    text = row["prompt"]
    labels = list[tuple[str, int]]()
    for step, label in zip(row["completions"], row["labels"], strict=True):
        text += f"{step}\n"
        labels.append((text, int(label)))
    return [*labels, (text, -100)]
