"""Potato's step annotations: the items that people label, with the labels that exist.

Potato 2.7 labels the steps of a trace with the scheme `process_reward`. A row is an item of its
data file (`id`, `text`, `cot_steps`) and a row of its PRM export (`instance_id`, `annotator`,
`mode`, `steps`), so that `stepmark import --shape potato` reads both what Potato and what this
format writes. Labels that no person made are suggestions: `source` is "ai", `verified` is false.

A label that several people made together becomes one row for each of them, with their own label.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pyarrow as pa

from stepmark.records import Annotation, StepLabel, Verdict
from storage.dataset.tables import HUMAN, is_human
from storage.formats.base import Example, LeftOut, Row, written_steps

__all__ = ["Potato"]

REWARDS: Mapping[Verdict, int | None] = {
    Verdict.CORRECT: 1,
    Verdict.INCORRECT: -1,
    Verdict.UNKNOWN: None,
}
NEUTRAL = 0


@dataclass(frozen=True, kw_only=True)
class Potato:
    """One row per trace, or per trace and rater; its `id` is the id of the trace."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    file_type: ClassVar[str] = "jsonl"
    reads: ClassVar[frozenset[str]] = frozenset({"annotations"})
    row_count: ClassVar[str] = "count(*) FILTER (len(texts) > 0)"
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "id": pa.string(),
            "text": pa.string(),
            "cot_steps": pa.list_(pa.struct({"index": pa.int64(), "text": pa.string()})),
            "instance_id": pa.string(),
            "annotator": pa.string(),
            "mode": pa.string(),
            "steps": pa.list_(
                pa.struct(
                    {
                        "index": pa.int64(),
                        "reward": pa.int64(),
                        "source": pa.string(),
                        "verified": pa.bool_(),
                    }
                )
            ),
        }
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the item of a trace: once, or once for each person who made the label."""
        if not example.trace.steps:
            yield LeftOut("it has no steps")
            return
        sources = example.label.sources
        if len(sources) < 2 or not all(map(is_human, sources)):
            yield _row(example, sources)
            return
        annotations = [row for row in example.annotations if row.method in sources]
        if not annotations:
            yield LeftOut("the labels of its raters are missing")
        for annotation in annotations:
            yield _row(_labelled_by(example, annotation), [annotation.method])


def _labelled_by(example: Example, annotation: Annotation) -> Example:
    """Return an example whose label is the annotation of a person."""
    steps = tuple(StepLabel(label=step.verdict, value=step.value) for step in annotation.steps)
    label = replace(example.label, first_error=annotation.first_error, steps=steps)
    return replace(example, label=label, neutral_steps=annotation.neutral_steps)


def _row(example: Example, sources: Sequence[str]) -> Row:
    texts = written_steps(example.trace)
    is_by_people = bool(sources) and all(map(is_human, sources))
    return {
        "id": example.trace.trace_id,
        "text": example.problem.question,
        "cot_steps": [{"index": index, "text": text} for index, text in enumerate(texts)],
        "instance_id": example.trace.trace_id,
        "annotator": ", ".join(source.removeprefix(f"{HUMAN}_") for source in sources),
        "mode": "per_step",
        "steps": [_step(example, index, is_by_people) for index in range(len(texts))],
    }


def _step(example: Example, index: int, is_by_people: bool) -> dict[str, Any]:
    verdict = example.label.steps[index].label
    reward = REWARDS[verdict]
    # With another verdict, the user has mapped the neutral steps to it.
    if index in example.neutral_steps and verdict is Verdict.CORRECT:
        reward = NEUTRAL
    if reward is None:
        return {"index": index, "reward": None, "source": None, "verified": None}
    return {
        "index": index,
        "reward": reward,
        "source": "human" if is_by_people else "ai",
        "verified": is_by_people,
    }
