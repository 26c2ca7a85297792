"""Step scores that need no labels: random ones, and log-probabilities of the model."""

import random
from collections.abc import Sequence

from benchmarks.training.heads import StepFeatures
from benchmarks.training.pool import Question

__all__ = ["log_probability_scores", "random_scores"]


def random_scores(questions: Sequence[Question]) -> Sequence[Sequence[float]]:
    """Return a random score of each step."""
    rng = random.Random(0)
    return [[rng.random() for _ in question.steps] for question in questions]


def log_probability_scores(
    features: StepFeatures, questions: Sequence[Question]
) -> Sequence[Sequence[float]]:
    """Return the lowest log-probability of a token of each step under the model that wrote it."""
    # The last features are the lowest and the mean log-probability.
    return [features.of(question)[:, -2].tolist() for question in questions]
