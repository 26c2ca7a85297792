"""The pocket model for engine tests: solvable problems, and a copy with a chat template."""

import json
import shutil
from pathlib import Path

from engines.base import Prompt
from engines.pocket import SHIPPED
from problems.sources.word_problems import WordProblems
from stepmark.records import Sampling
from tests.problems.helpers import problems_of

__all__ = ["CONTEXT", "HOT", "PROBLEMS", "plain", "with_turns"]

CONTEXT: int = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))[
    "max_position_embeddings"
]
# Different from the problems of the training and of the demo.
SOURCE = WordProblems(count=4, seed=20_261_122, min_steps=6, max_steps=8)
PROBLEMS = [problem.question for problem in problems_of(SOURCE)]
# At temperature 1 the samples of this model are often all equal. Servers reject more than 2.
HOT = Sampling(n=4, max_tokens=64, temperature=2.0, seed=7 * 1024)
# Turns become the text that the model was trained on, as `plain` of the question.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}Problem: {{ m.content }}\nSolution:\n"
    "{% else %}{{ m.content }}{% endif %}"
    "{% endfor %}"
)


def plain(question: str, prefix: str = "") -> Prompt:
    """Return a question in the form that the model was trained on."""
    return Prompt(user=f"Problem: {question}\nSolution:\n", prefix=prefix)


def with_turns(folder: Path) -> Path:
    """Copy the model to a folder and add a chat template to its tokenizer."""
    shutil.copytree(SHIPPED, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"chat_template": CHAT_TEMPLATE}),
        encoding="utf-8",
    )
    return folder
