"""The example `prm_head`: training of all weights on labelled rows, and scores of solutions."""

import contextlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.training.heads import TEMPLATE
from benchmarks.training.pool import Question
from engines.pocket import SHIPPED
from examples import prm_head

__all__ = ["default_options", "train_and_score"]


def default_options() -> prm_head.Options:
    """Return the options of the training; see `docs/benchmarks.md` for how they were chosen."""
    return prm_head.Options(template=TEMPLATE, learning_rate=1e-4, updates=60)


def train_and_score(
    rows: Sequence[Mapping[str, Any]],
    questions: Mapping[str, Sequence[Question]],
    options: prm_head.Options,
) -> Mapping[str, Sequence[Sequence[float]]]:
    """Train on rows of the format `trl`, and return the score of each step of each set."""
    solutions = [prm_head.read_row(dict(row)) for row in rows]
    scores = dict[str, Sequence[Sequence[float]]]()
    # Standard output is for the results of the benchmark.
    with (
        tempfile.TemporaryDirectory(prefix="stepmark-training-") as folder,
        contextlib.redirect_stdout(sys.stderr),
    ):
        prm_head.train(solutions, str(SHIPPED), Path(folder), options)
        for name, items in questions.items():
            unlabelled = [prm_head.Solution(item.question, list(item.steps), []) for item in items]
            scores[name] = prm_head.score(unlabelled, Path(folder), options.template)
    return scores
