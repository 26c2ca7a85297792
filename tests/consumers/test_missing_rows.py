"""Rows and scores that a consumer leaves out or moves are its failure; the next one is tried."""

from pathlib import Path

import pytest

from tests.consumers import ms_swift
from tests.consumers.chats import trained_turns
from tests.consumers.model_folder import rendered, write_model_folder
from tests.consumers.workspace import Workspace, export_all


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    export_all(tmp_path, ["chat_steps", "qwen_prm"])
    return Workspace(tmp_path, write_model_folder(tmp_path / "model", ["What is 1?"]))


def test_missing_chats_are_reported(workspace: Workspace) -> None:
    texts = list[list[list[int]]]()
    for row in workspace.rows("chat_steps"):
        ids = workspace.tokenizer.encode(rendered(row["messages"])).ids
        texts.append([ids, ids])
    assert len(trained_turns("chat_steps", texts, workspace)) == len(texts)
    with pytest.raises(AssertionError, match=f"chat_steps: {len(texts) - 1} of {len(texts)} rows"):
        trained_turns("chat_steps", texts[:-1], workspace)


def test_missing_scores_are_reported(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("chat_steps", "chat_steps_masked", "sft", "verification", "qwen_prm")
    results: dict[str, list[object]] = {name: [] for name in names}
    monkeypatch.setattr(Workspace, "run", lambda *_: results)
    monkeypatch.setattr(Workspace, "rows", lambda self, name: [{}] if name == "qwen_prm" else [])
    with pytest.raises(AssertionError, match="qwen_prm: 0 of 1 rows"):
        list(ms_swift.attempts(Path("python"), workspace))


def test_shifted_scores_are_reported(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    separator = workspace.tokenizer.token_to_id(ms_swift.SEPARATOR)
    scored = list[tuple[list[int], list[int]]]()
    for row in workspace.rows("qwen_prm"):
        ids = workspace.tokenizer.encode(rendered([ms_swift.PRM_SYSTEM, *row["messages"]])).ids
        scored.append((ids, [index for index, token in enumerate(ids) if token == separator]))
    exported = Workspace.rows
    names = ("chat_steps", "chat_steps_masked", "sft", "verification")
    results: dict[str, object] = {name: [] for name in names}
    results["qwen_prm"] = scored
    monkeypatch.setattr(Workspace, "run", lambda *_: results)
    monkeypatch.setattr(
        Workspace, "rows", lambda self, name: exported(self, name) if name == "qwen_prm" else []
    )
    *_, attempt = ms_swift.attempts(Path("python"), workspace)
    assert attempt.rows == len(scored)
    scored[-1] = (scored[-1][0], [position + 1 for position in scored[-1][1]])
    with pytest.raises(AssertionError, match="qwen_prm: scores at"):
        list(ms_swift.attempts(Path("python"), workspace))
