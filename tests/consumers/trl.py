"""The SFT, DPO, reward, KTO and GRPO trainers of TRL on the formats for them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from storage.formats.solutions.conversations import Turn
from tests.consumers.model_folder import END_OF_TURN, rendered
from tests.consumers.workspace import Attempt, TokenizedText, Workspace, check_equal, check_losses

__all__ = ["assistant_texts", "attempts"]


def attempts(python: Path, workspace: Workspace) -> Iterator[Attempt]:
    """Yield what each trainer made of each export."""
    results = workspace.run(python, "train_trl")
    for name, result in results["sft"].items():
        yield _fine_tuned(name, result, workspace)
    for name, result in results["dpo"].items():
        yield _preferred(name, result, workspace)
    for name, result in results["reward"].items():
        yield _rewarded(name, result, workspace)
    yield _desirable("kto", results["kto"], workspace)
    yield _reinforced("verification_tasks", results["grpo"], workspace)


def assistant_texts(messages: Sequence[Turn]) -> list[str]:
    """Return what a conversation trains: the assistant's turns, each with the token of its end."""
    texts = list[str]()
    for message in messages:
        if message["role"] == "assistant":
            texts.append(message["content"] + END_OF_TURN)
    return texts


def _fine_tuned(name: str, result: Mapping[str, Any], workspace: Workspace) -> Attempt:
    made = list[tuple[str, list[str]]]()
    for text in result["texts"]:
        tokens = TokenizedText(*text)
        made.append((workspace.text(tokens.ids), workspace.trained_texts(tokens)))
    expected = list[tuple[str, list[str]]]()
    for row in workspace.rows(name):
        messages = row["messages"]
        expected.append((rendered(messages), assistant_texts(messages)))
    rows = check_equal(name, made, expected)
    check_losses(name, result["losses"], steps=2)
    return Attempt(name, rows, "SFTTrainer, assistant_only_loss: 2 steps trained")


def _preferred(name: str, result: Mapping[str, Any], workspace: Workspace) -> Attempt:
    made = list[list[tuple[str, list[str]]]]()
    for texts in result["texts"]:
        both = [TokenizedText(*text) for text in texts]
        made.append([(workspace.text(text.ids), workspace.trained_texts(text)) for text in both])
    expected = list[list[tuple[str, list[str]]]]()
    for row in workspace.rows(name):
        both_expected = [_completed(row, column) for column in ("chosen", "rejected")]
        expected.append(both_expected)
    rows = check_equal(name, made, expected)
    check_losses(name, result["losses"], steps=2)
    return Attempt(name, rows, "DPOTrainer: 2 steps trained")


def _rewarded(name: str, result: Mapping[str, Any], workspace: Workspace) -> Attempt:
    made = [[workspace.text(ids) for ids, _ in texts] for texts in result["texts"]]
    expected = list[list[str]]()
    for row in workspace.rows(name):
        expected.append([_completed(row, column)[0] for column in ("chosen", "rejected")])
    rows = check_equal(name, made, expected)
    check_losses(name, result["losses"], steps=2)
    return Attempt(name, rows, "RewardTrainer: 2 steps trained")


def _desirable(name: str, result: Mapping[str, Any], workspace: Workspace) -> Attempt:
    made = list[tuple[tuple[str, list[str]], bool]]()
    for ids, labels, is_desirable in result["texts"]:
        tokens = TokenizedText(ids, labels)
        text = (workspace.text(ids), workspace.trained_texts(tokens))
        made.append((text, is_desirable))
    expected = [(_completed(row, "completion"), row["label"]) for row in workspace.rows(name)]
    rows = check_equal(name, made, expected)
    check_losses(name, result["losses"], steps=2)
    return Attempt(name, rows, "KTOTrainer: 2 steps trained")


def _reinforced(name: str, received: Sequence[Sequence[Any]], workspace: Workspace) -> Attempt:
    tasks = [
        [row["prompt"], row["first_error"], row["total_steps"]] for row in workspace.rows(name)
    ]
    assert received, f"{name}: the reward function was not called"
    for arguments in received:
        assert arguments in tasks, f"{name}: the reward function received {arguments!r}"
    return Attempt(name, len(tasks), "GRPOTrainer: 2 steps trained")


def _completed(row: Mapping[str, Any], column: str) -> tuple[str, list[str]]:
    """Return the text of a prompt with an answer, and what it trains: the answer to its end."""
    answer: str = row[column][0]["content"] + f"{END_OF_TURN}\n"
    return rendered([*row["prompt"], *row[column]]), [answer]
