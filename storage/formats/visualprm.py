"""VisualPRM's step scores, as rows of text: every step with its numbers of rollouts.

The format is that of InternVL's data pipeline (OpenGVLab/InternVL at 2410d1d,
`visualprm_data_pipeline_postprocess.py`, from lines of JSON), which makes conversations with + and
- of it: its conversion was read, and is repeated in the tests. The column `image` is null, because
Stepmark has no images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from storage.formats.base import Example, LeftOut, Row, written_steps
from storage.formats.solutions.trials import steps_by
from storage.formats.texts.training_texts import PlainText

__all__ = ["VisualPrm"]

STEP_FIELDS = {
    "step": pa.string(),
    "score": pa.float64(),
    "num_mc_correct": pa.int64(),
    "num_mc_total": pa.int64(),
}


@dataclass(frozen=True, kw_only=True)
class VisualPrm:
    """One row per trace; the conversion fails on a step without a score, so all steps have one."""

    trials_by: str = "monte_carlo"
    """The method whose rollouts are counted."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    reads: ClassVar[frozenset[str]] = frozenset({"annotations"})
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "image": pa.string(),
            "question": pa.string(),
            "response": pa.string(),
            "steps_with_score": pa.list_(pa.struct(STEP_FIELDS)),
        }
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row."""
        if not example.trace.steps:
            yield LeftOut("it has no steps")
            return
        steps = []
        texts = written_steps(example.trace)
        for text, counts in zip(texts, steps_by(example, self.trials_by) or (), strict=False):
            if counts.trials:
                steps.append(
                    {
                        "step": text,
                        "score": counts.successes / counts.trials,
                        "num_mc_correct": counts.successes,
                        "num_mc_total": counts.trials,
                    }
                )
        if len(steps) < len(texts):
            yield LeftOut("a step has no decided rollout")
            return
        yield {
            "image": None,
            "question": example.problem.question,
            "response": "".join(example.trace.steps),
            "steps_with_score": steps,
        }

    def training_texts(self, row: Row) -> Sequence[PlainText]:
        """Return the question and the solution, without the turns that the conversion adds."""
        return [PlainText(f"{row['question']}\n{row['response']}")]
