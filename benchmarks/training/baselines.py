"""Step scores that need no labels: random ones, and log-probabilities of the model."""

import random
from collections.abc import Sequence

from benchmarks.training.heads import StepFeatures
from benchmarks.training.pool import Question

__all__ = ["log_probability_scores", "random_scores"]


def random_scores(questions: Sequence[Question]) -> Sequence[Sequence[float]]:
    """Return a score in [0, 1) for each step of each question, random with a fixed seed."""
    rng = random.Random(0)
    return [[rng.random() for _ in question.steps] for question in questions]


def log_probability_scores(
    features: StepFeatures, questions: Sequence[Question]
) -> Sequence[Sequence[float]]:
    """Return the lowest log-probability (nats) of a token, for each step of each question.

    The probabilities are those of the model that wrote the step.
    """
    # The last features are the lowest and the mean log-probability.
    return [features.of(question)[:, -2].tolist() for question in questions]
