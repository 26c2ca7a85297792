"""Solutions with the verdict on their answer, for outcome reward models and implicit PRMs.

A row is a question, a solution, and 1 or 0, as ImplicitPRM's `train_ce` reads it with
`--prompt_key prompt --chosen_key response --apply_chat_template` (lifan-yuan/ImplicitPRM at
e485c13, arXiv 2412.01981): its preprocessing was read, and is repeated in the tests. The labels of
the steps are not used. Traces without a kept label are included with `--labels outcome`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from stepmark.records import Verdict
from storage.formats.base import Example, LeftOut, Row
from storage.formats.solutions.conversations import MESSAGES, assistant_turn, user_turn
from storage.formats.solutions.quality import solution_text

__all__ = ["Outcomes"]


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """One row per trace with a decided answer."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    row_count: ClassVar[str] = "count(*) FILTER (has_text AND outcome <> 'unknown')"
    schema: ClassVar[pa.Schema] = pa.schema(
        {"prompt": MESSAGES, "response": MESSAGES, "label": pa.int64()}
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row."""
        text = solution_text(example.trace)
        if not text.strip():
            yield LeftOut("it has no steps")
        elif example.trace.outcome is Verdict.UNKNOWN:
            yield LeftOut("its final answer is undecided")
        else:
            yield {
                "prompt": user_turn(example.problem.question),
                "response": assistant_turn(text),
                "label": int(example.trace.outcome is Verdict.CORRECT),
            }
