"""Step heads: linear classifiers of hidden states and likelihoods of the frozen pocket model.

The inputs were chosen with the oracle's labels on problems of other seeds. `examples/prm_head.py`
trains all weights of a model instead.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.training.pool import Question
from engines.pocket import SHIPPED

__all__ = ["TEMPLATE", "Head", "HeadOptions", "StepFeatures", "train_head"]

# The prompt of the pocket model.
TEMPLATE = "Problem: {prompt}\nSolution:\n"
LIKELIHOODS = 2


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """The training of a head, which is the same for the labels of all methods."""

    learning_rate: float = 1e-2
    weight_decay: float = 0.1
    updates: int = 300
    batch_size: int = 16
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class StepFeatures:
    """The inputs of heads. Each text is computed once for all methods, because the model is frozen.

    They are the hidden state at the line break after the step, and the lowest and the mean
    log-probability of the step's tokens.
    """

    tokenizer: Any = field(default_factory=lambda: AutoTokenizer.from_pretrained(SHIPPED))
    model: Any = field(
        default_factory=lambda: AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32)
    )
    computed: dict[tuple[str, ...], torch.Tensor] = field(default_factory=dict)

    def of(self, question: Question) -> torch.Tensor:
        """Return the features of the steps of a solution, of shape [step, feature]."""
        # A row of a format has the steps without the white space around them.
        steps = [step.strip() for step in question.steps]
        key = (question.question, *steps)
        if key not in self.computed:
            self.computed[key] = self._compute(question.question, steps)
        return self.computed[key]

    @torch.inference_mode()
    def _compute(self, question: str, steps: Sequence[str]) -> torch.Tensor:
        ids = list(self.tokenizer(TEMPLATE.replace("{prompt}", question)).input_ids)
        line_break = self.tokenizer("\n", add_special_tokens=False).input_ids
        spans = list[tuple[int, int]]()
        for step in steps:
            start = len(ids)
            ids += self.tokenizer(step, add_special_tokens=False).input_ids
            spans.append((start, len(ids)))
            ids += line_break
        output = self.model(torch.tensor([ids]), output_hidden_states=True)
        # The logits at a position are about the next token.
        losses = cross_entropy(output.logits[0, :-1], torch.tensor(ids[1:]), reduction="none")
        features = list[torch.Tensor]()
        for start, stop in spans:
            hidden = output.hidden_states[-1][0, stop + len(line_break) - 1]
            # Without the line break: after the last step, the model ends the text instead.
            logprobs = -losses[start - 1 : stop - 1]
            features.append(torch.cat([hidden, torch.stack([logprobs.min(), logprobs.mean()])]))
        return torch.stack(features)


class Head(torch.nn.Module):
    """A linear classifier of steps. Its inputs are standardized by their statistics in training."""

    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self.mean = features.mean(0)
        # Added, because a constant feature has no deviation.
        self.scale = features.std(0) + 1e-3
        self.linear = torch.nn.Linear(features.shape[1], 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of incorrect and correct, of shape [step, 2]."""
        logits: torch.Tensor = self.linear((features - self.mean) / self.scale)
        return logits

    @torch.inference_mode()
    def score(self, features: torch.Tensor) -> Sequence[float]:
        """Return the probability that each step is correct."""
        probabilities: list[float] = self(features).softmax(-1)[:, 1].tolist()
        return probabilities


def train_head(
    rows: Sequence[Mapping[str, Any]], step_features: StepFeatures, options: HeadOptions
) -> Head:
    """Train a head on rows of the format `trl`."""
    features = list[torch.Tensor]()
    labels = list[torch.Tensor]()
    for row in rows:
        question = Question(question=row["prompt"], steps=row["completions"])
        # A copy, because tensors of the inference mode cannot be trained on.
        features.append(step_features.of(question).clone())
        labels.append(torch.tensor(row["labels"]).long())
    torch.manual_seed(options.seed)
    head = Head(torch.cat(features))
    # Incorrect steps are rare: without equal weight of both classes, a head calls all correct.
    counts = torch.bincount(torch.cat(labels), minlength=2)
    weights = counts.sum() / (2 * counts)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    for batch in _shuffled_batches(len(rows), options):
        logits = head(torch.cat([features[index] for index in batch]))
        loss = cross_entropy(logits, torch.cat([labels[index] for index in batch]), weights)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return head


def _shuffled_batches(rows: int, options: HeadOptions) -> Iterator[Sequence[int]]:
    """Yield the numbers of the rows of each update; each pass over them has another order."""
    order = random.Random(options.seed)
    remaining = list[int]()
    for _ in range(options.updates):
        while len(remaining) < options.batch_size:
            remaining += order.sample(range(rows), rows)
        yield remaining[: options.batch_size]
        del remaining[: options.batch_size]
