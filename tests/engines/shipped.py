"""The pocket model, as the tests of engines ask it: problems that it can solve, and a copy of it that is spoken to in turns."""

import json
import shutil
from pathlib import Path

from engines.base import Prompt
from engines.pocket import SHIPPED
from problems.sources.word_problems import WordProblems
from stepmark.records import Problem, Sampling

__all__ = ["CONTEXT", "HOT", "PROBLEMS", "plain", "with_turns"]

CONTEXT: int = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))[
    "max_position_embeddings"
]
# Neither the training's problems nor the demo's.
PROBLEMS = [
    row.question
    for row in WordProblems(count=4, seed=20_261_122, min_steps=6, max_steps=8).problems()
    if isinstance(row, Problem)
]
# The model is sure of itself: at temperature 1 its samples are often all the same. More than 2 a server refuses.
HOT = Sampling(n=4, max_tokens=64, temperature=2.0, seed=7 * 1024)
# Writes turns as the model was trained to read them: `plain`, of the question alone.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}Problem: {{ m.content }}\nSolution:\n{% else %}{{ m.content }}{% endif %}"
    "{% endfor %}"
)


def plain(question: str, prefix: str = "") -> Prompt:
    """A question in the form that the model was trained on."""
    return Prompt(user=f"Problem: {question}\nSolution:\n", prefix=prefix)


def with_turns(folder: Path) -> Path:
    """Copy the model there and give its tokenizer a chat template."""
    shutil.copytree(SHIPPED, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"chat_template": CHAT_TEMPLATE}),
        encoding="utf-8",
    )
    return folder
