"""What problems have cost, by stage, read from the parts of a shard."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    PROBLEMS,
    TRACES,
    Table,
    annotations,
    critiques,
    discovered,
)

__all__ = [
    "GENERATED_TOKENS",
    "PROMPT_TOKENS",
    "QUANTITIES",
    "REPLIES",
    "ROLLOUTS",
    "Costs",
    "read_costs",
    "read_step_counts",
]

QUANTITIES = ("rollouts", "replies", "prompt_tokens", "generated_tokens")
"""The columns of costs: a number of samples, or of tokens."""

ROLLOUTS, REPLIES, PROMPT_TOKENS, GENERATED_TOKENS = range(len(QUANTITIES))

Costs = NDArray[np.float64]
"""Costs [problem, quantity] of one stage."""


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """The parts of one shard, whose columns are read."""

    dataset: Dataset
    number: int

    def column(self, table: Table[Any], name: str) -> Sequence[Any]:
        return self.dataset.column(table, self.number, name)

    def exists(self, table: Table[Any]) -> bool:
        return self.dataset.footer(table, self.number) is not None


def read_costs(dataset: Dataset, shards: Iterable[int], stage: str) -> Costs:
    """Return the costs [problem, quantity] of one stage, in which all these shards are complete.

    Completions that were reused count as requested ones.

    Raises:
        DatasetError: A part is missing or damaged.
    """
    rows = list[Sequence[float]]()
    for shard in shards:
        parts = _Shard(dataset=dataset, number=shard)
        costs = {
            problem_id: [0.0] * len(QUANTITIES)
            for problem_id in parts.column(PROBLEMS, "problem_id")
        }
        if stage == "traces":
            _add_tokens(costs, parts, TRACES, parts.column(TRACES, "problem_id"))
        else:
            _add_method(costs, parts, stage)
        rows.extend(costs.values())
    return np.array(rows, dtype=np.float64).reshape(-1, len(QUANTITIES))


def _add_method(costs: Mapping[str, list[float]], parts: _Shard, method: str) -> None:
    """Add the tokens, rollouts and replies of a method to the costs of its problems."""
    problem_of = dict(
        zip(parts.column(TRACES, "trace_id"), parts.column(TRACES, "problem_id"), strict=True)
    )
    table: Table[Any] = discovered(method)
    if parts.exists(table):
        problem_of.update(
            zip(parts.column(table, "trace_id"), parts.column(table, "problem_id"), strict=True)
        )
    table = annotations(method)
    problems = [problem_of[trace_id] for trace_id in parts.column(table, "trace_id")]
    _add_tokens(costs, parts, table, problems)
    for problem_id, rollouts in zip(problems, parts.column(table, "rollouts"), strict=True):
        costs[problem_id][ROLLOUTS] += rollouts
    if parts.exists(critiques(method)):
        for trace_id in parts.column(critiques(method), "trace_id"):
            costs[problem_of[trace_id]][REPLIES] += 1


def _add_tokens(
    costs: Mapping[str, list[float]], parts: _Shard, table: Table[Any], problems: Sequence[str]
) -> None:
    """Add the token columns of a table, whose rows belong to `problems`, to the costs."""
    for index, name in enumerate(QUANTITIES):
        if name.endswith("_tokens"):
            for problem_id, tokens in zip(problems, parts.column(table, name), strict=True):
                costs[problem_id][index] += tokens


def read_step_counts(dataset: Dataset, shards: Iterable[int]) -> Sequence[Sequence[int]]:
    """Return the number of steps of each sampled trace in some shards, [problem][trace]."""
    counts = defaultdict[tuple[int, str], list[int]](list)
    for shard in shards:
        parts = _Shard(dataset=dataset, number=shard)
        problems = parts.column(TRACES, "problem_id")
        for problem_id, steps in zip(problems, parts.column(TRACES, "steps"), strict=True):
            counts[shard, problem_id].append(len(steps))
    return list(counts.values())
