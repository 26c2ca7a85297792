r"""PRM800K: every step rated by a person, in two phases (Lightman et al. 2023, arXiv 2305.20050).

The dataset is openai/prm800k (MIT). An example row of phase 2 (shortened):

    {"labeler": "…", "question": {"problem": "What is 2 + 2 * 3?", "ground_truth_answer": "8",
       "pre_generated_steps": ["2 * 3 = 6.", "# Answer\n\n9"], "pre_generated_answer": "9"},
     "label": {"finish_reason": "found_error", "steps": [
       {"completions": [{"text": "2 * 3 = 6.", "rating": 1, "flagged": null}],
        "human_completion": null, "chosen_completion": 0},
       {"completions": [{"text": "# Answer\n\n9", "rating": -1, "flagged": null}],
        "human_completion": null, "chosen_completion": null}]}}

A row is one trace. In phase 2 it is `pre_generated_steps`, each with the rating of the completion
with the same text; people stopped at the first error, and the steps after it are unknown. Phase 1
has no such list: the trace is the path of the chosen completions. Where all completions were wrong,
a person may have written the step; it is correct unless `corrected_rating` differs. Where nothing
was chosen, the path ends with the first completion.

A rating of 1 is correct; 0 ("neutral": no error, no progress) is correct too, with that word as its
rationale and the step in `neutral_steps`; -1 is incorrect; null and a flagged step are unknown. So
the first error is the first -1, and it is undecided after an unknown. A row is rejected if its
labeler reported the problem as broken (`bad_problem`) or skipped it (`give_up`). Completions off
the path are no traces; all
completions are stored as JSON in the metadata of the trace (`offered`).

Not covered: the same solution rated by several labelers (quality control) is one trace, with the
ratings of the first row.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from problems.solution_formats.base import (
    HUMAN,
    ImportedSolution,
    annotation_of,
    list_at,
    metadata_at,
    problem_of,
    texts_at,
)
from problems.tabular.columns import (
    MAX_CHARACTERS,
    UnusableError,
    number_or_text_at,
    text_of,
    value_at,
)
from problems.tabular.readers import Row
from problems.tabular.references import reference_at
from stepmark.final_answers import final_answer
from stepmark.records import Problem, StepAnnotation, Verdict
from stepmark.steps import append_separator

__all__ = ["Prm800k"]

STEPS = "label.steps"
PRE_GENERATED_STEPS = "question.pre_generated_steps"
FINISH_REASON = "label.finish_reason"
REJECTED_FINISH_REASONS = {
    "bad_problem": "the labeler reported the problem as broken",
    "give_up": "the labeler gave up",
}
# `storage.formats.prm800k` writes these again.
METADATA_PATHS = (
    "labeler",
    "timestamp",
    "generation",
    "is_quality_control_question",
    "is_initial_screening_question",
    "label.finish_reason",
    "label.total_time",
    "question.ground_truth_solution",
    "question.ground_truth_answer",
    "question.pre_generated_answer",
    "question.pre_generated_verifier_score",
)
VERDICTS: Mapping[int | None, tuple[Verdict, str]] = {
    1: (Verdict.CORRECT, ""),
    0: (Verdict.CORRECT, "neutral"),
    -1: (Verdict.INCORRECT, ""),
    None: (Verdict.UNKNOWN, "not rated"),
}
ANSWER = re.compile(r"# Answer\s+(?P<answer>\S.*)")


@dataclass(frozen=True, slots=True)
class _Completion:
    text: str
    rating: int | None
    flagged: bool | None

    @property
    def annotation(self) -> StepAnnotation:
        if self.flagged:
            return annotation_of(Verdict.UNKNOWN, "flagged by the labeler")
        return annotation_of(*VERDICTS[self.rating])

    @property
    def is_neutral(self) -> bool:
        return self.rating == 0 and not self.flagged

    def to_dict(self) -> Mapping[str, Any]:
        return {"text": self.text, "rating": self.rating, "flagged": self.flagged}


@dataclass(frozen=True, slots=True)
class _RatedStep:
    """One position of the path: the completions offered there, and the one that was chosen."""

    completions: Sequence[_Completion]
    chosen: _Completion | None
    content: Mapping[str, Any]
    """The position as the row has it, for the metadata."""


@dataclass(frozen=True, kw_only=True)
class Prm800k:
    """One trace per row, annotated as `human`."""

    version: ClassVar[int] = 3
    domain: ClassVar[str] = "math"
    needed: ClassVar[Sequence[Sequence[str]]] = (("question.problem",), (STEPS,))

    def solutions(self, row: Row) -> Iterator[ImportedSolution | UnusableError]:
        """Yield the trace of a row."""
        _check_finish_reason(row)
        rated_steps: list[_RatedStep] = []
        for index, value in enumerate(list_at(row.value, STEPS)):
            rated_steps.append(_rated_step(value, f"{STEPS}.{index}"))
        is_pre_generated = value_at(row.value, PRE_GENERATED_STEPS) is not None
        if is_pre_generated:
            column = PRE_GENERATED_STEPS
            trace = _rated_texts(texts_at(row.value, PRE_GENERATED_STEPS), rated_steps)
        else:
            column = STEPS
            trace = _chosen_path(rated_steps)
        steps, separator = append_separator(_checked_texts(trace))
        problem = _problem(row)
        neutral_steps = list[int]()
        for index, completion in enumerate(trace):
            if completion.is_neutral:
                neutral_steps.append(index)
        pre_generated_answer = number_or_text_at(row.value, "question.pre_generated_answer")
        yield ImportedSolution(
            problem=problem,
            column=column,
            steps=steps,
            separator=separator,
            final_answer=pre_generated_answer or _stated_answer(steps[-1]),
            annotations={HUMAN: tuple(completion.annotation for completion in trace)},
            neutral_steps={HUMAN: tuple(neutral_steps)},
            metadata={
                **metadata_at(row.value, *METADATA_PATHS),
                "offered": json.dumps([step.content for step in rated_steps]),
                "pre_generated": str(is_pre_generated).lower(),
            },
        )


def _check_finish_reason(row: Row) -> None:
    reason = value_at(row.value, FINISH_REASON)
    if isinstance(reason, str) and reason in REJECTED_FINISH_REASONS:
        raise UnusableError(FINISH_REASON, f"{reason}: {REJECTED_FINISH_REASONS[reason]}")


def _checked_texts(trace: Sequence[_Completion]) -> list[str]:
    texts = [completion.text for completion in trace]
    if not texts:
        raise UnusableError(STEPS, "no step")
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise UnusableError(STEPS, f"longer than {MAX_CHARACTERS:,} characters")
    return texts


def _problem(row: Row) -> Problem:
    question = text_of(value_at(row.value, "question.problem"), "question.problem")
    solution = number_or_text_at(row.value, "question.ground_truth_solution")
    answer = reference_at(row.value, "question.ground_truth_answer")
    if not answer and solution:
        answer = final_answer(solution)
    return problem_of(question, answer)


def _rated_texts(texts: Sequence[str], rated_steps: Sequence[_RatedStep]) -> list[_Completion]:
    """Return pre-generated steps with their ratings, up to where the labeler left their path.

    The steps after that are not rated.
    """
    trace: list[_Completion] = []
    for text, step in zip(texts, rated_steps, strict=False):
        trace.append(_completion_with_text(step, text))
        if step.chosen is None or step.chosen.text != text:
            break
    for text in texts[len(trace) :]:
        trace.append(_unrated(text))
    return trace


def _completion_with_text(step: _RatedStep, text: str) -> _Completion:
    for completion in step.completions:
        if completion.text == text:
            return completion
    return _unrated(text)


def _unrated(text: str) -> _Completion:
    return _Completion(text, None, False)


def _chosen_path(rated_steps: Sequence[_RatedStep]) -> list[_Completion]:
    """Return the chosen completions; without a choice, the first completion ends the path."""
    trace: list[_Completion] = []
    for step in rated_steps:
        if step.chosen is None:
            trace.extend(step.completions[:1])
            break
        trace.append(step.chosen)
    return trace


def _rated_step(value: object, path: str) -> _RatedStep:
    completions: list[_Completion] = []
    if value_at(value, "completions") is not None:
        for index, item in enumerate(list_at(value, "completions")):
            completions.append(_completion(item, f"{path}.completions.{index}"))
    elif not isinstance(value, Mapping):
        raise UnusableError(path, f"a {type(value).__name__}, not an object")
    index_of_chosen = _chosen_index(value, len(completions), path)
    human = _human_completion(value_at(value, "human_completion"), f"{path}.human_completion")
    chosen = None
    if index_of_chosen is not None:
        chosen = completions[index_of_chosen]
    elif human is not None:
        chosen = _completion_by_person(human)
    content = {
        "completions": [completion.to_dict() for completion in completions],
        "human_completion": human,
        "chosen_completion": index_of_chosen,
    }
    return _RatedStep(completions, chosen, content)


def _chosen_index(value: object, count: int, path: str) -> int | None:
    index = value_at(value, "chosen_completion")
    if index is None:
        return None
    if isinstance(index, bool) or index not in range(count):
        raise UnusableError(
            f"{path}.chosen_completion", f"not the index of one of {count} completions"
        )
    return int(index)


def _human_completion(value: object, path: str) -> Mapping[str, Any] | None:
    """Return the step that a person wrote, as JSON values, or None."""
    if value is None:
        return None
    rating = _rating(value_at(value, "rating"), f"{path}.rating")
    corrected_rating = _rating(value_at(value, "corrected_rating"), f"{path}.corrected_rating")
    source = value_at(value, "source")
    text = text_of(value_at(value, "text"), f"{path}.text")
    if source is not None:
        source = text_of(source, f"{path}.source")
    return {
        "text": text,
        "source": source,
        "flagged": _flag(value_at(value, "flagged")),
        "rating": rating,
        "corrected_rating": corrected_rating,
    }


def _completion_by_person(human: Mapping[str, Any]) -> _Completion:
    rating = human["corrected_rating"]
    if rating is None:
        # A step that a person wrote is correct unless it was rated again.
        rating = 1
    return _Completion(human["text"], rating, None)


def _completion(value: object, path: str) -> _Completion:
    rating = _rating(value_at(value, "rating"), f"{path}.rating")
    text = text_of(value_at(value, "text"), f"{path}.text")
    return _Completion(text, rating, _flag(value_at(value, "flagged")))


def _flag(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    return None


def _rating(value: Any, path: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in (-1, 0, 1):
        raise UnusableError(path, "neither -1, 0, 1 nor null")
    return int(value)


def _stated_answer(step: str) -> str | None:
    match = ANSWER.search(step)
    if match is None:
        return None
    return match["answer"].strip()
