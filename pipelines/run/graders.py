"""Graders: extract the final answer of a completion and compare it with the reference.

A grader is a verifier that decides final answers, together with a function that extracts the answer
from a text. `answers` compares stated answers; `code` runs the final program against the tests that
are the reference. `grader_of` chooses the grader of a run: all stages and fingerprints call it. The
outcome is unknown whenever the comparison cannot be decided.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from annotators.context import Grade
from pipelines.run.config import RunFile
from stepmark import code_blocks, final_answers
from stepmark.records import Verdict
from verifiers.base import AnswerClaim, Finding, ReferenceClaim
from verifiers.isolation.pool import VerifierPool

__all__ = [
    "ANSWER_EXTRACTORS",
    "DEFAULT_GRADER",
    "grade",
    "grade_answer",
    "grader_of",
    "why_ungradable",
]

DEFAULT_GRADER = "answers"


class AnswerExtractor(NamedTuple):
    """A function that finds the final answer in a text, and its version for fingerprints."""

    extract: Callable[[str], str | None]
    version: int


ANSWER_EXTRACTORS: Mapping[str, AnswerExtractor] = {
    DEFAULT_GRADER: AnswerExtractor(final_answers.final_answer, final_answers.VERSION),
    "code": AnswerExtractor(code_blocks.final_program, code_blocks.VERSION),
}
"""The answer extractor of each grader."""

# An integer in its only canonical spelling, below 10**18. Most answers of word problems are such
# integers; comparing them here gives the finding of `answers` without a round trip to a worker.
CANONICAL_INTEGER = re.compile(r"-?[1-9]\d{0,17}|0", re.ASCII)
EQUAL_INTEGERS = Finding(verdict=Verdict.CORRECT, reason="the same text")
DIFFERENT_INTEGERS = Finding(verdict=Verdict.INCORRECT, reason="different numbers")


def grader_of(run_file: RunFile) -> str:
    """Return the grader of a run, a key of `ANSWER_EXTRACTORS`: `grader` in [generate]."""
    return run_file.generate.grader


async def grade(
    workers: VerifierPool,
    text: str,
    finish_reason: str,
    reference: str | None,
    *,
    grader: str = DEFAULT_GRADER,
) -> Grade:
    """Grade a complete solution text.

    Args:
        workers: The pool that runs the verifier.
        text: The solution, including the prefix that a rollout continues.
        finish_reason: "stop", "length", or "error: ..." for a rejected request.
        reference: The reference answer, if there is one.
        grader: A key of `ANSWER_EXTRACTORS`.

    Returns:
        The grade. A truncated solution is unknown even if it contains an answer, because the model
        had not finished.
    """
    answer = ANSWER_EXTRACTORS[grader].extract(text)
    if finish_reason != "stop":
        reason = "truncated" if finish_reason == "length" else finish_reason
        return Grade(final_answer=answer, outcome=Verdict.UNKNOWN, reason=reason)
    return await grade_answer(workers, answer, reference, grader=grader)


async def grade_answer(
    workers: VerifierPool,
    answer: str | None,
    reference: str | None,
    *,
    grader: str = DEFAULT_GRADER,
) -> Grade:
    """Grade a final answer; unknown if the answer or the reference is missing."""
    if answer is None:
        return Grade(final_answer=None, outcome=Verdict.UNKNOWN, reason="no final answer")
    if reference is None:
        return Grade(final_answer=answer, outcome=Verdict.UNKNOWN, reason="no reference answer")
    if grader == DEFAULT_GRADER and _are_canonical_integers(answer, reference):
        finding = EQUAL_INTEGERS if answer == reference else DIFFERENT_INTEGERS
    else:
        finding = await workers.verify(grader, AnswerClaim(answer=answer, reference=reference))
    return Grade(final_answer=answer, outcome=finding.verdict, reason=finding.reason)


async def why_ungradable(
    workers: VerifierPool, reference: str, *, grader: str = DEFAULT_GRADER
) -> str:
    """Return why no solution could be graded against a reference, or "" if one could.

    Comparing the reference with itself would prove nothing, since equal texts are always equal. The
    verifier must understand it as something that a differently written answer can equal.
    """
    if grader == DEFAULT_GRADER and CANONICAL_INTEGER.fullmatch(reference):
        return ""
    finding = await workers.verify(grader, ReferenceClaim(reference=reference))
    if finding.verdict is Verdict.CORRECT:
        return ""
    return f"no answer could be compared with it: {finding.reason}"


def _are_canonical_integers(answer: str, reference: str) -> bool:
    return bool(CANONICAL_INTEGER.fullmatch(answer) and CANONICAL_INTEGER.fullmatch(reference))
