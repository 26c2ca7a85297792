"""TRL's stepwise supervision: prompt, completions and one true/false label per completion.

Read by `trl.experimental.prm.PRMTrainer` (trl 1.13) and axolotl's `stepwise_supervised`. The trainer puts its own `step_separator`
between steps, so ours go without the newline that ends them. It cuts at `max_length` tokens from the right, in silence: labels of
late steps of long traces are lost unless that is raised.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row, supervised_steps

__all__ = ["Trl"]


@dataclass(frozen=True, kw_only=True)
class Trl:
    """One row per trace. Without `cut_after_error` the steps after the first wrong one are kept, if all are decided."""

    cut_after_error: bool = True

    version: ClassVar[int] = 2
    split: ClassVar[str] = "train"
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "prompt": pa.string(),
            "completions": pa.list_(pa.string()),
            "labels": pa.list_(pa.bool_()),
        }
    )

    def rows(self, examples: Iterable[Example]) -> Iterator[Row | LeftOut]:
        """The rows; the labels are booleans, since the trainer would round a soft value down."""
        for example in examples:
            steps = supervised_steps(example, cut_after_error=self.cut_after_error)
            yield steps if isinstance(steps, LeftOut) else _row(example, steps)


def _row(example: Example, steps: list[tuple[str, bool]]) -> Row:
    return {
        "prompt": example.problem.question,
        "completions": [text for text, _ in steps],
        "labels": [right for _, right in steps],
    }
