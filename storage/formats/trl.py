"""TRL's stepwise supervision: prompt, completions and one boolean label per completion.

The format is read by `trl.experimental.prm.PRMTrainer` (trl 1.13) and by axolotl's
`stepwise_supervised`. The trainer inserts its own `step_separator` between steps, so steps are
exported without their final line break. It truncates at `max_length` tokens without a warning:
increase `max_length`, or the labels of late steps of long traces are lost.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row, supervised_steps

__all__ = ["Trl"]


@dataclass(frozen=True, kw_only=True)
class Trl:
    """One row per trace.

    Without `cut_after_error`, steps after the first error are included if all are decided.
    """

    cut_after_error: bool = True

    version: ClassVar[int] = 2
    split: ClassVar[str] = "train"
    row_count: ClassVar[str] = "count(*) FILTER (is_supervised)"
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "prompt": pa.string(),
            "completions": pa.list_(pa.string()),
            "labels": pa.list_(pa.bool_()),
        }
    )

    def rows(self, examples: Iterable[Example]) -> Iterator[Row | LeftOut]:
        """Yield the rows; labels are booleans, because the trainer would round soft values down."""
        for example in examples:
            steps = supervised_steps(example, cut_after_error=self.cut_after_error)
            if isinstance(steps, LeftOut):
                yield steps
            else:
                yield _row(example, steps)


def _row(example: Example, steps: list[tuple[str, bool]]) -> Row:
    return {
        "prompt": example.problem.question,
        "completions": [text for text, _ in steps],
        "labels": [is_correct for _, is_correct in steps],
    }
