"""The PRMBench format: a solution, the numbers of its incorrect steps, and the original solution.

The format is that of hitsmy/PRMBench_Preview (Song et al. 2025, arXiv 2501.03124). An imported row
is exported with the same values (`--labels human --after-error keep`); a missing or blank
field is null. The original is not a separate row. The fields of the original are null for traces
that were not made from another trace. Steps are numbered from 1.

What is not preserved: rejected rows, whose incorrect steps do not exist, and the second of two rows
with the same modified solution.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa

from storage.formats.base import (
    Example,
    LeftOut,
    Row,
    SupervisedStep,
    list_in,
    supervised_steps,
)

__all__ = ["PrmBench"]

# Fields that an import stores in the metadata of a trace, as text or as JSON.
TEXTS = ("idx", "question", "original_question", "classification", "reason", "original_response")
LISTS = {"original_process": pa.list_(pa.string()), "modified_steps": pa.list_(pa.int64())}


@dataclass(frozen=True, kw_only=True)
class PrmBench:
    """One row per trace."""

    after_error: Literal["drop", "keep"] = "drop"
    """End a trace at its first wrong step, or keep the later steps if all of them are decided."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "test"
    row_count: ClassVar[str] = (
        "count(*) FILTER (is_supervised AND metadata['process'] IS DISTINCT FROM 'original')"
    )
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            **dict.fromkeys(TEXTS, pa.string()),
            **LISTS,
            "modified_question": pa.string(),
            "modified_process": pa.list_(pa.string()),
            "error_steps": pa.list_(pa.int64()),
            "ground_truth": pa.string(),
        }
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row; an original solution is a field in the rows of its modifications."""
        steps = supervised_steps(example, after_error=self.after_error)
        if example.trace.metadata.get("process") == "original":
            yield LeftOut("it is the original of others")
        elif isinstance(steps, LeftOut):
            yield steps
        else:
            yield _row(example, steps)


def _row(example: Example, steps: Sequence[SupervisedStep]) -> Row:
    metadata = example.trace.metadata
    error_steps = []
    for number, step in enumerate(steps, start=1):
        if step.target == 0:
            error_steps.append(number)
    return {
        **{name: metadata.get(name) for name in TEXTS},
        **{name: list_in(metadata, name, kind) for name, kind in LISTS.items()},
        "modified_question": example.problem.question,
        "modified_process": [step.text for step in steps],
        "error_steps": error_steps,
        "ground_truth": example.problem.answer,
    }
