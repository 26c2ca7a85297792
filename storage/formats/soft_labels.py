"""Soft labels: prompt, completions and one value per completion, for trainers with real targets.

The values are those of the labels, or of a formula of `storage/values`
(`stepmark export soft_labels --values er_prm`). TRL's trainer reads only booleans. This format is
for trainers that use numbers: a loss on the mean, a margin on ranks, an advantage.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row, written_steps

__all__ = ["SoftLabels"]


@dataclass(frozen=True, kw_only=True)
class SoftLabels:
    """One row per trace with all its steps, also after an error; unknown values are null."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    row_count: ClassVar[str] = "count(*) FILTER (has_value AND NOT has_blank_step)"
    value_column: ClassVar[str] = "values"
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "prompt": pa.string(),
            "completions": pa.list_(pa.string()),
            "values": pa.list_(pa.float64()),
        }
    )

    def rows(self, examples: Iterable[Example]) -> Iterator[Row | LeftOut]:
        """Yield the rows; a trace without any value is left out."""
        return map(_row, examples)


def _row(example: Example) -> Row | LeftOut:
    if not example.trace.steps:
        return LeftOut("it has no steps")
    values = [step.value for step in example.label.steps]
    if all(value is None for value in values):
        return LeftOut("no step has a value")
    completions = written_steps(example.trace)
    if not all(text.strip() for text in completions):
        return LeftOut("a step is blank")
    return {"prompt": example.problem.question, "completions": completions, "values": values}
