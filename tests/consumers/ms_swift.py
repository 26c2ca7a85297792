"""The dataset loader and templates of ms-swift on chats, with a key for each turn.

Qwen's process reward models have a template of their own, which finds the scores of the steps.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.consumers.chats import trained_turns, turns_with_loss
from tests.consumers.model_folder import END_OF_TURN, rendered
from tests.consumers.workspace import Attempt, Workspace, check_count, check_equal

__all__ = ["attempts"]

# The default system prompt of the template, before the chat.
PRM_SYSTEM = {
    "role": "system",
    "content": "Please reason step by step, and put your final answer within \\boxed{}.",
}
SEPARATOR = "<extra_0>"


def attempts(python: Path, workspace: Workspace) -> Iterator[Attempt]:
    """Yield what the templates made of each export."""
    results = workspace.run(python, "encode_ms_swift")
    for name in ("chat_steps", "chat_steps_masked", "sft", "verification"):
        trained = trained_turns(name, results[name], workspace)
        rows = check_equal(name, trained, _turns_with_ends(name, workspace))
        yield Attempt(name, rows, "load_dataset and template: encoded")
    yield _scored(results["qwen_prm"], workspace)


def _turns_with_ends(name: str, workspace: Workspace) -> list[list[str]]:
    """Return the turns with `loss`, and the token for the end of a chat.

    That token trains also if the last turn does not.
    """
    expected = list[list[str]]()
    for row, turns in zip(workspace.rows(name), turns_with_loss(name, workspace), strict=True):
        trains = row["messages"][-1].get("loss", True)
        expected.append(turns if trains else [*turns, END_OF_TURN])
    return expected


def _scored(results: list[tuple[list[int], list[int]]], workspace: Workspace) -> Attempt:
    """Check that the scores are those of the separators, which are at the ends of the steps."""
    separator = workspace.tokenizer.token_to_id(SEPARATOR)
    assert separator is not None
    exported = workspace.rows("qwen_prm")
    check_count("qwen_prm", results, exported)
    lengths = list[int]()
    for row, (ids, positions) in zip(exported, results, strict=True):
        chat = rendered([PRM_SYSTEM, *row["messages"]]).rstrip("\n")
        text = workspace.text(ids).rstrip("\n")
        assert text.startswith(chat), f"qwen_prm: the text {text!r} of {chat!r}"
        separators = [position for position, token in enumerate(ids) if token == separator]
        assert positions == separators, (
            f"qwen_prm: scores at {positions}, steps end at {separators}"
        )
        lengths.append(len(positions))
    rows = check_equal("qwen_prm", lengths, [len(row["labels"]) for row in exported])
    return Attempt("qwen_prm", rows, "template qwen2_5_math_prm: a score at each label")
