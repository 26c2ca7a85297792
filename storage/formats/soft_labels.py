"""Soft labels: prompt, completions and one value per completion, for trainers with real targets.

The values are those of the labels, or of a formula of `storage/values`
(`stepmark export soft_labels --values er_prm`). TRL's trainer reads only booleans. This format is
for trainers that use numbers: a loss on the mean, a margin on ranks, an advantage.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import AfterError, Example, LeftOut, Row, supervised_steps
from storage.formats.texts.training_texts import SeparatedSteps

__all__ = ["SoftLabels"]


@dataclass(frozen=True, kw_only=True)
class SoftLabels:
    """One row per trace; unknown and masked values are null."""

    after_error: AfterError = "keep"
    """Drop the steps after the first wrong one, mask their values, or keep them."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    takes_merged_steps: ClassVar[bool] = True
    row_count: ClassVar[str] = "count(*) FILTER (has_value AND NOT has_blank_step)"
    soft: ClassVar[bool] = True
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "prompt": pa.string(),
            "completions": pa.list_(pa.string()),
            "values": pa.list_(pa.float64()),
        }
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row; a trace without any value is left out."""
        steps = supervised_steps(example, after_error=self.after_error, soft=True, can_mask=True)
        if isinstance(steps, LeftOut):
            yield steps
            return
        yield {
            "prompt": example.problem.question,
            "completions": [step.text for step in steps],
            "values": [step.target for step in steps],
        }

    def training_texts(self, row: Row) -> Sequence[SeparatedSteps]:
        """Return the steps as in the format `trl`; those without a value are masked."""
        has_label = [value is not None for value in row["values"]]
        return [SeparatedSteps(row["prompt"], row["completions"], has_label)]
