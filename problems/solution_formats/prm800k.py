"""PRM800K: every step rated by a person (-1, 0, 1), in two phases (Lightman et al. 2023, arXiv 2305.20050; openai/prm800k, MIT).

A row is one trace. In phase 2 it is `pre_generated_steps`, each with the rating of the completion of the same text; people stopped
at the first error, and what comes after it is unknown. In phase 1, which has no such list, it is the path of the chosen completions:
where all were wrong a person may have written the step, which is right unless `corrected_rating` says otherwise. Where nothing was
chosen, the path ends with the first completion.

A rating of 1 is correct; 0 ("neutral": no error, no progress) is correct too, with that word as its rationale; -1 is incorrect; null
and a step that its labeler flagged are unknown. So the first error is the first -1, and it is undecided behind an unknown.
A row is set aside where its labeler reported the problem as broken (`bad_problem`) or moved on (`give_up`).
Completions off the trace are no traces: all that people were offered is kept in its metadata, as JSON, under `offered`.

What is not covered: the same solution rated by several labelers (quality control) is one trace, with the ratings of the first row.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from problems.solution_formats.base import (
    HUMAN,
    Solution,
    list_at,
    noted,
    problem_of,
    said_of,
    texts_at,
)
from problems.tabular.columns import MAX_CHARACTERS, UnusableError, at, number_or_text_at, text_of
from problems.tabular.readers import Row
from stepmark.final_answers import final_answer
from stepmark.records import Problem, StepAnnotation, Verdict
from stepmark.steps import joinable

__all__ = ["Prm800k"]

STEPS, GIVEN, FINISH = "label.steps", "question.pre_generated_steps", "label.finish_reason"
SET_ASIDE = {
    "bad_problem": "the labeler reported the problem as broken",
    "give_up": "the labeler gave up",
}
KEPT = (
    *(
        "labeler",
        "timestamp",
        "generation",
        "is_quality_control_question",
        "is_initial_screening_question",
    ),
    *("label.finish_reason", "label.total_time"),
    *(
        "question.ground_truth_solution",
        "question.ground_truth_answer",
        "question.pre_generated_answer",
    ),
    "question.pre_generated_verifier_score",
)
RATINGS: Mapping[int | None, tuple[Verdict, str]] = {
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
    def said(self) -> StepAnnotation:
        return (
            said_of(Verdict.UNKNOWN, "flagged by the labeler")
            if self.flagged
            else said_of(*RATINGS[self.rating])
        )


@dataclass(frozen=True, slots=True)
class _Step:
    """What people were offered at one step, and what the path went on with, if it did."""

    offered: Sequence[_Completion]
    chosen: _Completion | None
    given: Mapping[str, Any]
    """All of it, as the row has it."""


@dataclass(frozen=True, kw_only=True)
class Prm800k:
    """One trace a row, annotated as `human`."""

    version: ClassVar[int] = 2
    domain: ClassVar[str] = "math"
    needed: ClassVar[Sequence[Sequence[str]]] = (("question.problem",), (STEPS,))

    def solutions(self, row: Row) -> Iterator[Solution | UnusableError]:
        """The row's trace."""
        finish = at(row.value, FINISH)
        if isinstance(finish, str) and finish in SET_ASIDE:
            raise UnusableError(FINISH, f"{finish}: {SET_ASIDE[finish]}")
        rated = [
            _step(value, f"{STEPS}.{index}")
            for index, value in enumerate(list_at(row.value, STEPS))
        ]
        given = None if at(row.value, GIVEN) is None else texts_at(row.value, GIVEN)
        trace = _path(rated) if given is None else _of_given(given, rated)
        if not trace or sum(len(step.text) for step in trace) > MAX_CHARACTERS:
            raise UnusableError(
                STEPS, f"longer than {MAX_CHARACTERS:,} characters" if trace else "no step"
            )
        steps, separator = joinable([step.text for step in trace])
        yield Solution(
            problem=_problem(row),
            column=STEPS if given is None else GIVEN,
            steps=steps,
            separator=separator,
            final_answer=number_or_text_at(row.value, "question.pre_generated_answer")
            or _stated(steps[-1]),
            annotations={HUMAN: tuple(step.said for step in trace)},
            metadata={
                **noted(row.value, *KEPT),
                "offered": json.dumps([step.given for step in rated]),
                "pre_generated": "false" if given is None else "true",
            },
        )


def _problem(row: Row) -> Problem:
    question = text_of(at(row.value, "question.problem"), "question.problem")
    solution = number_or_text_at(row.value, "question.ground_truth_solution")
    answer = number_or_text_at(row.value, "question.ground_truth_answer")
    return problem_of(question, answer or (final_answer(solution) if solution else None))


def _of_given(texts: Sequence[str], rated: Sequence[_Step]) -> list[_Completion]:
    """The steps that were there before, rated up to where the labeler's path left them."""
    trace: list[_Completion] = []
    for text, step in zip(texts, rated, strict=False):
        trace.append(
            next((one for one in step.offered if one.text == text), _Completion(text, None, False))
        )
        if step.chosen is None or step.chosen.text != text:
            break
    return trace + [_Completion(text, None, False) for text in texts[len(trace) :]]


def _path(rated: Sequence[_Step]) -> list[_Completion]:
    trace: list[_Completion] = []
    for step in rated:
        if step.chosen is None:
            return trace + list(step.offered[:1])
        trace.append(step.chosen)
    return trace


def _step(value: object, path: str) -> _Step:
    offered: Sequence[_Completion] = ()
    if at(value, "completions") is not None:
        given = list_at(value, "completions")
        offered = [
            _completion(one, f"{path}.completions.{index}") for index, one in enumerate(given)
        ]
    elif not isinstance(value, Mapping):
        raise UnusableError(path, f"a {type(value).__name__}, not an object")
    index, written = (
        _index(value, offered, path),
        _written(at(value, "human_completion"), f"{path}.human_completion"),
    )
    chosen = (
        offered[index] if index is not None else None if written is None else _by_a_person(written)
    )
    shown = [{"text": one.text, "rating": one.rating, "flagged": one.flagged} for one in offered]
    return _Step(
        offered,
        chosen,
        {"completions": shown, "human_completion": written, "chosen_completion": index},
    )


def _index(value: object, offered: Sequence[_Completion], path: str) -> int | None:
    index = at(value, "chosen_completion")
    if index is not None and (isinstance(index, bool) or index not in range(len(offered))):
        raise UnusableError(
            f"{path}.chosen_completion", f"not the index of one of {len(offered)} completions"
        )
    return None if index is None else int(index)


def _written(value: object, path: str) -> Mapping[str, Any] | None:
    """What a person wrote at a step."""
    if value is None:
        return None
    ratings = {
        name: _rating(at(value, name), f"{path}.{name}") for name in ("rating", "corrected_rating")
    }
    source = at(value, "source")
    return {
        "text": text_of(at(value, "text"), f"{path}.text"),
        "source": None if source is None else text_of(source, f"{path}.source"),
        "flagged": _flag(at(value, "flagged")),
        **ratings,
    }


def _by_a_person(written: Mapping[str, Any]) -> _Completion:
    corrected = written["corrected_rating"]
    return _Completion(written["text"], 1 if corrected is None else corrected, None)


def _completion(value: object, path: str) -> _Completion:
    rating = _rating(at(value, "rating"), f"{path}.rating")
    return _Completion(
        text_of(at(value, "text"), f"{path}.text"), rating, _flag(at(value, "flagged"))
    )


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _rating(value: Any, path: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in (-1, 0, 1):
        raise UnusableError(path, "neither -1, 0, 1 nor null")
    return int(value)


def _stated(step: str) -> str | None:
    found = ANSWER.search(step)
    return found["answer"].strip() if found else None
