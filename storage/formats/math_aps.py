"""The MATH-APS format: prefixes of a problem's solutions, each with the share of correct rollouts.

This is the format of the OmegaPRM data of openreasoner/openr. A row is a problem, and its list
contains the prefixes of one trace after the other, each pair of a prefix and a value once. A prefix
of several traces is therefore repeated where their values differ. The values are those of the
labels' steps: null for a step without a value, and a trace without values is left out. An imported
list is exported with the same prefixes and values (`--labels math_aps`).

What is not preserved: the order of a list, and the estimates of a state that was estimated twice
(their mean is). A tree is exported as the list of its nodes, because a Parquet column cannot
contain a recursive type; a list cannot represent a node that continues after a blank line the text
of another node without being its child.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from stepmark.records import Discovered, Trace
from storage.formats.base import (
    Example,
    ExportedRow,
    LeftOut,
    Row,
    list_in,
    number_in,
    written_steps,
)

__all__ = ["MathAps"]

BLANK_LINE = "\n\n"
# The text of a prefix and its value.
Prefix = tuple[str, float | None]


@dataclass(frozen=True, kw_only=True)
class MathAps:
    """One row per problem; the traces that a method discovered are another row."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    row_count: ClassVar[str] = (
        "count(DISTINCT (problem_id, found_by, metadata['question_id'])) FILTER (has_value)"
    )
    soft: ClassVar[bool] = True
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

    def problem_rows(self, examples: Sequence[Example]) -> Iterator[ExportedRow | LeftOut]:
        """Yield the rows; the traces that are left out precede them."""
        by_row: dict[tuple[str, str | None], list[Example]] = {}
        for example in examples:
            if not example.trace.steps:
                yield LeftOut("it has no steps")
            elif all(step.value is None for step in example.label.steps):
                yield LeftOut("no step has a value")
            else:
                by_row.setdefault(_row_key(example.trace), []).append(example)
        for with_values in by_row.values():
            yield ExportedRow(_row(with_values), with_values)


def _row_key(trace: Trace) -> tuple[str, str | None]:
    found_by = trace.found_by if isinstance(trace, Discovered) else ""
    # Imported rows with the same question are one problem, but have different question ids.
    return found_by, trace.metadata.get("question_id")


def _row(examples: Sequence[Example]) -> Row:
    problem = examples[0].problem
    prefixes: list[Prefix] = []
    value_of_question = number_in(problem.metadata, "mc_value", float)
    if value_of_question is not None:
        prefixes.append((problem.question, value_of_question))
    for example in examples:
        prefixes.extend(_prefixes(example))
    reasoning_steps = []
    for text, value in dict.fromkeys(prefixes):
        reasoning_steps.append({"solution_prefix": text, "mc_value": value})
    return {
        "question": problem.question,
        "final_answer": problem.answer,
        "reasoning_steps": reasoning_steps,
        "question_id": number_in(examples[0].trace.metadata, "question_id", int),
    }


def _prefixes(example: Example) -> Iterator[Prefix]:
    text = example.problem.question
    for added, step in zip(_added_texts(example), example.label.steps, strict=True):
        text += added
        yield text, step.value


def _added_texts(example: Example) -> Sequence[str]:
    """Return the text that every step adds to the prefix, including the white space before it."""
    steps = example.trace.steps
    gaps = list_in(example.trace.metadata, "gaps", pa.list_(pa.string())) or []
    if len(gaps) != len(steps) or None in gaps:
        return [BLANK_LINE + step for step in written_steps(example.trace)]
    # The import appended the white space before a step to the previous step.
    added_texts = []
    for step, gap, next_gap in zip(steps, gaps, [*gaps[1:], ""], strict=True):
        added_texts.append(gap + step.removesuffix(next_gap))
    return added_texts
