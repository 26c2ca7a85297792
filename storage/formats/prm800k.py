"""PRM800K's format: every step with the rating that people gave it (-1, 0, 1), and what else they were offered in its place.

Lightman et al. 2023, arXiv 2305.20050, openai/prm800k. An imported row with the labels of people (`--labels human`) comes back as it was,
value by value; a field that it lacked, or that was blank, is null. With other labels, and for traces that were not imported from it, a
row is one of phase 2: the steps as `pre_generated_steps`, each the only completion, rated 1, -1 or null up to the first wrong one.

What does not come back: rows that were set aside (`give_up`, `bad_problem`), and the second row of one solution that several people rated.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stepmark.records import Verdict
from storage.formats.base import Example, LeftOut, Row, list_in, number_in, written_steps

__all__ = ["Prm800k"]

HUMAN = "human"
RATINGS = {Verdict.CORRECT: 1, Verdict.INCORRECT: -1, Verdict.UNKNOWN: None}
TRUTH = {"true": True, "false": False}
COMPLETION = {"text": pa.string(), "rating": pa.int64(), "flagged": pa.bool_()}
WRITTEN = {
    "text": pa.string(),
    "rating": pa.int64(),
    "source": pa.string(),
    "flagged": pa.bool_(),
    "corrected_rating": pa.int64(),
}
STEPS = pa.list_(
    pa.struct(
        {
            "completions": pa.list_(pa.struct(COMPLETION)),
            "human_completion": pa.struct(WRITTEN),
            "chosen_completion": pa.int64(),
        }
    )
)
QUESTION = {
    "problem": pa.string(),
    "ground_truth_solution": pa.string(),
    "ground_truth_answer": pa.string(),
    "pre_generated_steps": pa.list_(pa.string()),
    "pre_generated_answer": pa.string(),
    "pre_generated_verifier_score": pa.float64(),
}


@dataclass(frozen=True, kw_only=True)
class Prm800k:
    """One row per trace; one of which no step is decided is left out."""

    version: ClassVar[int] = 1
    split: ClassVar[str] = "train"
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "labeler": pa.string(),
            "timestamp": pa.string(),
            "generation": pa.int64(),
            "is_quality_control_question": pa.bool_(),
            "is_initial_screening_question": pa.bool_(),
            "question": pa.struct(QUESTION),
            "label": pa.struct(
                {"steps": STEPS, "total_time": pa.int64(), "finish_reason": pa.string()}
            ),
        }
    )

    def rows(self, examples: Iterable[Example]) -> Iterator[Row | LeftOut]:
        """The rows."""
        return map(_row, examples)


def _row(example: Example) -> Row | LeftOut:
    verdicts = [step.label for step in example.label.steps]
    if not verdicts:
        return LeftOut("it has no steps")
    if set(verdicts) == {Verdict.UNKNOWN}:
        return LeftOut("no step is decided")
    offered = (
        list_in(example.trace.metadata, "offered", STEPS)
        if example.label.sources == (HUMAN,)
        else None
    )
    return _made(example, verdicts) if offered is None else _given_back(example, offered)


def _given_back(example: Example, offered: list[Any]) -> Row:
    noted = example.trace.metadata
    is_given = noted.get("pre_generated") == "true"
    return {
        "labeler": noted.get("labeler"),
        "timestamp": noted.get("timestamp"),
        "generation": number_in(noted, "generation", int),
        "is_quality_control_question": TRUTH.get(noted.get("is_quality_control_question", "")),
        "is_initial_screening_question": TRUTH.get(noted.get("is_initial_screening_question", "")),
        "question": {
            "problem": example.problem.question,
            "ground_truth_solution": noted.get("ground_truth_solution"),
            "ground_truth_answer": noted.get("ground_truth_answer"),
            "pre_generated_steps": written_steps(example.trace) if is_given else None,
            "pre_generated_answer": noted.get("pre_generated_answer"),
            "pre_generated_verifier_score": number_in(noted, "pre_generated_verifier_score", float),
        },
        "label": {
            "steps": offered,
            "total_time": number_in(noted, "total_time", int),
            "finish_reason": noted.get("finish_reason"),
        },
    }


def _made(example: Example, verdicts: list[Verdict]) -> Row:
    wrong = Verdict.INCORRECT in verdicts
    seen = verdicts[: verdicts.index(Verdict.INCORRECT) + 1] if wrong else verdicts
    texts = written_steps(example.trace)
    steps = [
        {
            "completions": [{"text": text, "rating": RATINGS[verdict], "flagged": None}],
            "human_completion": None,
            "chosen_completion": None if verdict is Verdict.INCORRECT else 0,
        }
        for text, verdict in zip(texts, seen, strict=False)
    ]
    return {
        **dict.fromkeys(Prm800k.schema.names),
        "question": {
            **dict.fromkeys(QUESTION),
            "problem": example.problem.question,
            "ground_truth_answer": example.problem.answer,
            "pre_generated_steps": texts,
            "pre_generated_answer": example.trace.final_answer,
        },
        "label": {
            "steps": steps,
            "total_time": None,
            "finish_reason": "found_error"
            if wrong
            else None
            if Verdict.UNKNOWN in verdicts
            else "solution",
        },
    }
