"""Process reward models: training on labelled rows, and scores of the steps of traces."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.training.pool import Pool
from engines.pocket import SHIPPED
from examples import prm_head
from stepmark.records import Trace

__all__ = ["HeadOptions", "score_traces", "train_head"]

# The prompt of the pocket model, with the placeholder of `prm_head`.
TEMPLATE = "Problem: {prompt}\nSolution:\n"
SCORING_BATCH = 32
# The context of the pocket model.
MAX_TOKENS = 1024


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """The training of a head, which is the same for the labels of all methods."""

    learning_rate: float = 1e-2
    weight_decay: float = 0.1
    updates: int = 300
    batch_size: int = 16
    seed: int = 0


def train_head(
    rows: Sequence[Mapping[str, Any]], to: Path, options: HeadOptions
) -> Sequence[float]:
    """Train on rows of the format `trl`, save the model, and return all losses."""
    with tempfile.TemporaryDirectory(prefix="stepmark-training-") as folder:
        file = Path(folder, "rows.jsonl")
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        solutions = prm_head.read_solutions(file)
    # Standard output is for the results of the benchmark.
    with contextlib.redirect_stdout(sys.stderr):
        return prm_head.train(
            solutions,
            str(SHIPPED),
            to,
            template=TEMPLATE,
            updates=options.updates,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            # Training all weights memorizes the few traces of the dearer methods.
            model_rate=0.0,
            weight_decay=options.weight_decay,
            max_tokens=MAX_TOKENS,
            seed=options.seed,
        )


def score_traces(model: Path, pool: Pool, traces: Sequence[Trace]) -> Sequence[Sequence[float]]:
    """Return the probability that each step is correct, for each trace."""
    solutions = list[prm_head.Solution]()
    for trace in traces:
        question = pool.problems[trace.problem_id].question
        solutions.append(prm_head.Solution(question, trace.steps, ()))
    return prm_head.score(solutions, model, template=TEMPLATE, batch_size=SCORING_BATCH)
