"""The PRM800K format: human ratings (-1, 0, 1) of every step and of its alternative completions.

The format is that of openai/prm800k (Lightman et al. 2023, arXiv 2305.20050). An imported row with
human labels (`--labels human`) is exported with the same values; a missing or blank field is null.
With other labels, for other traces, and if neutral steps are mapped to another verdict than correct
(`--neutral`), a row has the form of phase 2: the steps are `pre_generated_steps`, and each is the
only completion, rated 1, 0 (neutral and not mapped), -1 or null, up to the first error.

What is not preserved: rejected rows (`give_up`, `bad_problem`), and the second row of a solution
that several people rated.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stepmark.records import Verdict
from storage.formats.base import Example, LeftOut, Row, list_in, number_in, written_steps

__all__ = ["Prm800k"]

HUMAN = "human"
RATINGS = {Verdict.CORRECT: 1, Verdict.INCORRECT: -1, Verdict.UNKNOWN: None}
NEUTRAL_RATING = 0
BOOLEANS = {"true": True, "false": False}
COMPLETION_FIELDS = {"text": pa.string(), "rating": pa.int64(), "flagged": pa.bool_()}
HUMAN_COMPLETION_FIELDS = {
    "text": pa.string(),
    "rating": pa.int64(),
    "source": pa.string(),
    "flagged": pa.bool_(),
    "corrected_rating": pa.int64(),
}
STEPS = pa.list_(
    pa.struct(
        {
            "completions": pa.list_(pa.struct(COMPLETION_FIELDS)),
            "human_completion": pa.struct(HUMAN_COMPLETION_FIELDS),
            "chosen_completion": pa.int64(),
        }
    )
)
QUESTION_FIELDS = {
    "problem": pa.string(),
    "ground_truth_solution": pa.string(),
    "ground_truth_answer": pa.string(),
    "pre_generated_steps": pa.list_(pa.string()),
    "pre_generated_answer": pa.string(),
    "pre_generated_verifier_score": pa.float64(),
}


@dataclass(frozen=True, kw_only=True)
class Prm800k:
    """One row per trace; a trace without a decided step is left out."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    row_count: ClassVar[str] = (
        "count(*) FILTER (list_bool_or([verdict <> 'unknown' FOR verdict IN verdicts]))"
    )
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "labeler": pa.string(),
            "timestamp": pa.string(),
            "generation": pa.int64(),
            "is_quality_control_question": pa.bool_(),
            "is_initial_screening_question": pa.bool_(),
            "question": pa.struct(QUESTION_FIELDS),
            "label": pa.struct(
                {"steps": STEPS, "total_time": pa.int64(), "finish_reason": pa.string()}
            ),
        }
    )

    def rows(self, example: Example) -> Iterator[Row | LeftOut]:
        """Yield the row."""
        yield _row(example)


def _row(example: Example) -> Row | LeftOut:
    verdicts = [step.label for step in example.label.steps]
    if not verdicts:
        return LeftOut("it has no steps")
    if set(verdicts) == {Verdict.UNKNOWN}:
        return LeftOut("no step is decided")
    if example.label.sources == (HUMAN,) and _has_original_ratings(example, verdicts):
        # The import stores the completions of all steps, with their ratings, in the metadata.
        imported_steps = list_in(example.trace.metadata, "offered", STEPS)
        if imported_steps is not None:
            return _imported_row(example, imported_steps)
    return _phase_2_row(example, verdicts)


def _has_original_ratings(example: Example, verdicts: list[Verdict]) -> bool:
    """Return whether neutral steps have the verdict of the import, which becomes a 0 again."""
    return all(verdicts[index] is Verdict.CORRECT for index in example.neutral_steps)


def _imported_row(example: Example, steps: list[Any]) -> Row:
    """Return the row from which an example was imported."""
    metadata = example.trace.metadata
    is_pre_generated = metadata.get("pre_generated") == "true"
    return {
        "labeler": metadata.get("labeler"),
        "timestamp": metadata.get("timestamp"),
        "generation": number_in(metadata, "generation", int),
        "is_quality_control_question": BOOLEANS.get(
            metadata.get("is_quality_control_question", "")
        ),
        "is_initial_screening_question": BOOLEANS.get(
            metadata.get("is_initial_screening_question", "")
        ),
        "question": {
            "problem": example.problem.question,
            "ground_truth_solution": metadata.get("ground_truth_solution"),
            "ground_truth_answer": metadata.get("ground_truth_answer"),
            "pre_generated_steps": written_steps(example.trace) if is_pre_generated else None,
            "pre_generated_answer": metadata.get("pre_generated_answer"),
            "pre_generated_verifier_score": number_in(
                metadata, "pre_generated_verifier_score", float
            ),
        },
        "label": {
            "steps": steps,
            "total_time": number_in(metadata, "total_time", int),
            "finish_reason": metadata.get("finish_reason"),
        },
    }


def _phase_2_row(example: Example, verdicts: list[Verdict]) -> Row:
    """Return a row that looks like one of phase 2 with the verdicts as ratings."""
    rated = verdicts
    finish_reason: str | None = "solution"
    if Verdict.INCORRECT in verdicts:
        # In phase 2, people stopped rating at the first error.
        rated = verdicts[: verdicts.index(Verdict.INCORRECT) + 1]
        finish_reason = "found_error"
    elif Verdict.UNKNOWN in verdicts:
        finish_reason = None
    texts = written_steps(example.trace)
    steps = []
    # `rated` can be shorter than the texts.
    for index, (text, verdict) in enumerate(zip(texts, rated, strict=False)):
        rating = RATINGS[verdict]
        if index in example.neutral_steps and verdict is Verdict.CORRECT:
            rating = NEUTRAL_RATING
        completion = {"text": text, "rating": rating, "flagged": None}
        steps.append(
            {
                "completions": [completion],
                "human_completion": None,
                "chosen_completion": None if verdict is Verdict.INCORRECT else 0,
            }
        )
    return {
        **dict.fromkeys(Prm800k.schema.names),
        "question": {
            **dict.fromkeys(QUESTION_FIELDS),
            "problem": example.problem.question,
            "ground_truth_answer": example.problem.answer,
            "pre_generated_steps": texts,
            "pre_generated_answer": example.trace.final_answer,
        },
        "label": {"steps": steps, "total_time": None, "finish_reason": finish_reason},
    }
