"""Generative verifiers: training on critiques, and verdicts on the steps of solutions."""

import contextlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from annotators.judging.reply_parser import read_verdicts
from benchmarks.training.pool import CHECK_TOKENS, Question
from engines.pocket import SHIPPED
from examples import verifier_sft
from stepmark.records import Verdict

__all__ = ["VERDICT_THRESHOLD", "check_steps", "default_options", "train_and_check"]

VERDICT_SCORES: Mapping[Verdict, float] = {
    Verdict.CORRECT: 1.0,
    Verdict.UNKNOWN: 0.5,
    Verdict.INCORRECT: 0.0,
}
VERDICT_THRESHOLD = 0.25
"""A step is wrong if its verdict is incorrect, and not if its verdict cannot be read."""
# More requests at once than replies of an update, because nothing is stored for a gradient.
CHECK_BATCH = 64
# The prompt of the judge `pocket`.
CHECK_PROMPT = "Problem: {question}\nSolution:\n{steps}Check:\n"


def default_options() -> verifier_sft.Options:
    """Return the options of all verifiers; see `docs/benchmarks.md` for how they were chosen."""
    return verifier_sft.Options(
        learning_rate=1e-4, updates=30, batch_size=8, max_new_tokens=CHECK_TOKENS
    )


def train_and_check(
    rows: Sequence[Mapping[str, Any]],
    questions: Sequence[Question],
    options: verifier_sft.Options,
) -> Sequence[Sequence[float]]:
    """Train on rows of the format `verification`, and return the score of each step."""
    # Standard output is for the results of the benchmark.
    with (
        tempfile.TemporaryDirectory(prefix="stepmark-training-") as folder,
        contextlib.redirect_stdout(sys.stderr),
    ):
        chats = [row["messages"] for row in rows]
        verifier_sft.train(chats, str(SHIPPED), Path(folder), options)
        return check_steps(Path(folder), questions, options)


def check_steps(
    model: Path, questions: Sequence[Question], options: verifier_sft.Options
) -> Sequence[Sequence[float]]:
    """Return the verdict on each step in the model's greedy check; see `VERDICT_SCORES`."""
    # Sorted by length, so that a batch contains little padding.
    order = sorted(range(len(questions)), key=lambda index: len("".join(questions[index].steps)))
    chats = [[{"role": "user", "content": _request(questions[index])}] for index in order]
    replies = verifier_sft.check(chats, model, replace(options, batch_size=CHECK_BATCH))
    scores: list[Sequence[float]] = [()] * len(questions)
    for index, reply in zip(order, replies, strict=True):
        readings = read_verdicts(reply, len(questions[index].steps))
        scores[index] = [VERDICT_SCORES[reading.verdict] for reading in readings]
    return scores


def _request(question: Question) -> str:
    # As the judge's prompt: exactly one line break after the solution.
    steps = "".join(question.steps).rstrip("\n") + "\n"
    return CHECK_PROMPT.format(question=question.question, steps=steps)
