"""The ProcessBench format: the steps of a trace and the index of its first error, or -1.

The format is that of QwenLM/ProcessBench (arXiv 2412.06559), a benchmark: with labels that are not
human, scores measure the agreement with those labels. An imported row keeps its `id`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from stepmark.records import Verdict
from storage.formats.base import Example, LeftOut, Row, decided_first_error, written_steps

__all__ = ["ProcessBench"]


@dataclass(frozen=True, kw_only=True)
class ProcessBench:
    """One row per trace, with all its steps."""

    version: ClassVar[int] = 4
    split: ClassVar[str] = "test"
    row_count: ClassVar[str] = "count(*) FILTER (has_first_error AND outcome <> 'unknown')"
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "id": pa.string(),
            "generator": pa.string(),
            "problem": pa.string(),
            "steps": pa.list_(pa.string()),
            "final_answer_correct": pa.bool_(),
            "label": pa.int64(),
        }
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row.

        A trace is left out if its first error or its final answer is undecided.
        """
        yield _row(example)


def _row(example: Example) -> Row | LeftOut:
    trace = example.trace
    if not trace.steps:
        return LeftOut("it has no steps")
    # An undecided step after the first error does not matter.
    first_error = decided_first_error(example.label)
    if first_error is None:
        return LeftOut("its first error is undecided")
    if trace.outcome is Verdict.UNKNOWN:
        return LeftOut("its final answer is undecided")
    return {
        "id": trace.metadata.get("id", trace.trace_id),
        "generator": trace.model,
        "problem": example.problem.question,
        "steps": written_steps(trace),
        "final_answer_correct": trace.outcome is Verdict.CORRECT,
        "label": first_error,
    }
