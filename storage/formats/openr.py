"""OpenR's training rows: a chain of steps with five line feeds after each, and a list of signs.

The format is read by `prm/code/finetune_qwen.py` of OpenR (openreasoner/openr at 54ae004): its
preprocessing was read, and is repeated in the tests. It finds the steps by the token of the marker,
so a text that contains the marker is left out. It truncates at 2,048 tokens, and drops the labels
of the steps behind that without a warning.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa

from storage.formats.base import NOT_BLANK, Example, LeftOut, Row, SupervisedStep, supervised_steps
from storage.formats.texts.training_texts import MarkedText

__all__ = ["OpenR"]

LINE_FEEDS = "\n\n\n\n\n"
# The space belongs to the token that the trainer looks for.
MARKER = f" {LINE_FEEDS}"


@dataclass(frozen=True, kw_only=True)
class OpenR:
    """One row per trace.

    With `after_error` "keep", the steps after the first error are included if all are decided.
    """

    after_error: Literal["drop", "keep"] = "drop"

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    takes_merged_steps: ClassVar[bool] = True
    # White space at the ends of a step is not exported.
    row_count: ClassVar[str] = (
        "count(*) FILTER (is_supervised AND NOT contains(question, repeat(chr(10), 5))"
        " AND NOT list_bool_or(["
        rf"regexp_matches(text, '(?s){NOT_BLANK}.*\n{{5}}.*{NOT_BLANK}')"
        " FOR text IN supervised_texts]))"
    )
    schema: ClassVar[pa.Schema] = pa.schema(
        {"question": pa.string(), "process": pa.string(), "label": pa.list_(pa.string())}
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row."""
        steps = supervised_steps(example, after_error=self.after_error)
        yield steps if isinstance(steps, LeftOut) else _row(example, steps)

    def training_texts(self, row: Row) -> Sequence[MarkedText]:
        """Return the question and the process, which the trainer joins with a space."""
        return [MarkedText(f"{row['question']} {row['process']}", MARKER, len(row["label"]))]


def _row(example: Example, steps: Sequence[SupervisedStep]) -> Row | LeftOut:
    question = example.problem.question
    # A line feed at an end would make another token of the marker beside it.
    texts = [step.text.strip() for step in steps]
    if any(LINE_FEEDS in text for text in (question, *texts)):
        return LeftOut("its text holds five line feeds")
    return {
        "question": question,
        "process": "".join(text + MARKER for text in texts),
        "label": ["+" if step.target == 1 else "-" for step in steps],
    }
