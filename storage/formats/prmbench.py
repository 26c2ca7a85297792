"""PRMBench's format: a solution, the numbers of its wrong steps, counted from 1, and the right solution that it was made from.

Song et al. 2025, arXiv 2501.03124, hitsmy/PRMBench_Preview. An imported row comes back value by value (`--labels human --set
cut_after_error=false`); a field that it lacked, or that was blank, is null. Its original is no row of its own. Traces that were not made
from another have no original: those fields are null.

What does not come back: rows whose wrong steps do not exist (set aside), and the second of two rows with the same modified solution.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row, list_in, supervised_steps

__all__ = ["PrmBench"]

TEXTS = ("idx", "question", "original_question", "classification", "reason", "original_response")
LISTS = {"original_process": pa.list_(pa.string()), "modified_steps": pa.list_(pa.int64())}


@dataclass(frozen=True, kw_only=True)
class PrmBench:
    """One row per trace. Without `cut_after_error` the steps after the first wrong one are kept, if all are decided."""

    cut_after_error: bool = True

    version: ClassVar[int] = 1
    split: ClassVar[str] = "test"
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

    def rows(self, examples: Iterable[Example]) -> Iterator[Row | LeftOut]:
        """The rows; an original stands in those of the traces that were made from it."""
        for example in examples:
            steps = supervised_steps(example, cut_after_error=self.cut_after_error)
            if example.trace.metadata.get("process") == "original":
                yield LeftOut("it is the original of others")
            elif isinstance(steps, LeftOut):
                yield steps
            else:
                yield _row(example, steps)


def _row(example: Example, steps: list[tuple[str, bool]]) -> Row:
    noted = example.trace.metadata
    return {
        **{name: noted.get(name) for name in TEXTS},
        **{name: list_in(noted, name, kind) for name, kind in LISTS.items()},
        "modified_question": example.problem.question,
        "modified_process": [text for text, _ in steps],
        "error_steps": [number for number, (_, right) in enumerate(steps, start=1) if not right],
        "ground_truth": example.problem.answer,
    }
