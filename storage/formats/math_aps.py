"""MATH-APS' format: the beginnings of a problem's solutions, each with the share of its continuations that came out right.

openreasoner/openr, OmegaPRM's data. A row is a problem, its list of prefixes what its traces begin with, one after the other; equal ones
stand there once. Values are those of the labels' steps; null where a step has none, and a trace without any is left out. An imported list
comes back prefix by prefix, letter by letter (`--labels math_aps`).

What does not come back: the order of a list, and the estimates of a state that was estimated twice (their mean does). A tree comes back as
the list of its nodes, since a Parquet column cannot hold one inside another without end; a list cannot say that one node goes on after a
blank line as another does without lying below it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row, list_in, number_in, written_steps

__all__ = ["MathAps"]

BLANK_LINE = "\n\n"


@dataclass(frozen=True, kw_only=True)
class MathAps:
    """One row per problem, of the traces that stand side by side."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    value_column: ClassVar[str] = "mc_value"
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "question": pa.string(),
            "final_answer": pa.string(),
            "reasoning_steps": pa.list_(
                pa.struct({"solution_prefix": pa.string(), "mc_value": pa.float64()})
            ),
            "question_id": pa.int64(),
        }
    )

    def rows(self, examples: Iterable[Example]) -> Iterator[Row | LeftOut]:
        """The rows, each behind the traces that are left out of it."""
        for _, group in groupby(
            examples,
            key=lambda each: (each.problem.problem_id, each.trace.metadata.get("question_id")),
        ):
            told: list[Example] = []
            for example in group:
                if not example.trace.steps:
                    yield LeftOut("it has no steps")
                elif all(step.value is None for step in example.label.steps):
                    yield LeftOut("no step has a value")
                else:
                    told.append(example)
            if told:
                yield _row(told)


def _row(examples: Sequence[Example]) -> Row:
    problem = examples[0].problem
    own = number_in(problem.metadata, "mc_value", float)
    prefixes: list[tuple[str, float | None]] = [] if own is None else [(problem.question, own)]
    prefixes += [prefix for example in examples for prefix in _prefixes(example)]
    return {
        "question": problem.question,
        "final_answer": problem.answer,
        "reasoning_steps": [
            {"solution_prefix": text, "mc_value": value} for text, value in dict.fromkeys(prefixes)
        ],
        "question_id": number_in(examples[0].trace.metadata, "question_id", int),
    }


def _prefixes(example: Example) -> Iterator[tuple[str, float | None]]:
    text = example.problem.question
    for added, step in zip(_texts(example), example.label.steps, strict=True):
        text += added
        yield text, step.value


def _texts(example: Example) -> Sequence[str]:
    """What every step adds to the text before it, the white space between them first."""
    steps, gaps = (
        example.trace.steps,
        list_in(example.trace.metadata, "gaps", pa.list_(pa.string())) or (),
    )
    if len(gaps) != len(steps) or None in gaps:
        return [BLANK_LINE + step for step in written_steps(example.trace)]
    # An import put the white space before a step at the end of the one before it.
    bare = (step.removesuffix(after) for step, after in zip(steps, [*gaps[1:], ""], strict=True))
    return [gap + step for gap, step in zip(gaps, bare, strict=True)]
