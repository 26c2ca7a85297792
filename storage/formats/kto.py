"""Solutions that are desirable or not, without pairs, for KTO.

The format is read by TRL's `KTOTrainer` (TRL 1.16.0, tried with `make consumers`). Desirable is a
solution with a correct answer and no step that is labelled incorrect.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row
from storage.formats.solutions.conversations import MESSAGES, assistant_turn, user_turn
from storage.formats.solutions.quality import is_right, solution_text

__all__ = ["Kto"]


@dataclass(frozen=True, kw_only=True)
class Kto:
    """One row per trace, without those that have a correct answer and an incorrect step."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    row_count: ClassVar[str] = "count(*) FILTER (is_right OR (has_text AND outcome = 'incorrect'))"
    schema: ClassVar[pa.Schema] = pa.schema(
        {"prompt": MESSAGES, "completion": MESSAGES, "label": pa.bool_()}
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row."""
        label = is_right(example)
        if isinstance(label, LeftOut):
            yield label
            return
        yield {
            "prompt": user_turn(example.problem.question),
            "completion": assistant_turn(solution_text(example.trace)),
            "label": label,
        }
