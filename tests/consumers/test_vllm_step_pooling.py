"""vLLM scores the exported chats of `qwen_prm`: one pair of scores for each label."""

import sys
from pathlib import Path

import pytest

from tests.consumers.model_folder import write_model_folder
from tests.consumers.workspace import Workspace, export_all


@pytest.mark.vllm
def test_each_label_has_a_score(tmp_path: Path) -> None:
    export_all(tmp_path, ["qwen_prm"])
    tokenizer = write_model_folder(
        tmp_path / "model", ["What is 1?"], architecture="Qwen2ForProcessRewardModel"
    )
    workspace = Workspace(tmp_path, tokenizer)
    scores = workspace.run(Path(sys.executable), "pool_vllm")
    labels = [row["labels"] for row in workspace.rows("qwen_prm")]
    assert [len(of_row) for of_row in scores] == [len(of_row) for of_row in labels]
    assert max(map(len, labels)) > 2
    for of_row in scores:
        for pair in of_row:
            assert len(pair) == 2
            assert sum(pair) == pytest.approx(1)
