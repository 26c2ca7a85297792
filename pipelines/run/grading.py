"""Grading a completion: its final answer, and whether that is the reference's. Anything that cannot be decided is unknown.

A grader is a verifier that decides answers, and has a way to find one: `answers` compares what a solution states, `code` runs its final
program against the tests that are the reference.
"""

import re

from annotators.context import Grade
from stepmark import code_blocks as fences
from stepmark import final_answers as answers
from stepmark.records import Verdict
from verifiers.base import AnswerClaim, Finding, ReferenceClaim
from verifiers.isolation.pool import Isolated

__all__ = ["FINDERS", "GRADER", "grade", "grade_answer", "why_ungradable"]

GRADER = "answers"
FINDERS = {
    GRADER: (answers.final_answer, answers.VERSION),
    "code": (fences.final_program, fences.VERSION),
}
"""Where every grader finds the answer in a text, and the version of that."""
WHOLE = re.compile(r"-?[1-9]\d{0,17}|0", re.ASCII)
"""A whole number in its one spelling. Most answers of word problems are: what `answers` says of them is told without asking a worker."""
SAME, OTHER = (
    Finding(verdict=Verdict.CORRECT, reason="the same text"),
    Finding(verdict=Verdict.INCORRECT, reason="different numbers"),
)


async def grade(
    workers: Isolated, text: str, finish_reason: str, reference: str | None, *, grader: str = GRADER
) -> Grade:
    """The grade of a whole solution text. A truncated one is unknown whatever it says: it had not ended."""
    answer = FINDERS[grader][0](text)
    if finish_reason != "stop":
        return Grade(
            final_answer=answer,
            outcome=Verdict.UNKNOWN,
            reason="truncated" if finish_reason == "length" else finish_reason,
        )
    return await grade_answer(workers, answer, reference, grader=grader)


async def grade_answer(
    workers: Isolated, answer: str | None, reference: str | None, *, grader: str = GRADER
) -> Grade:
    """The grade of a final answer."""
    if answer is None:
        return Grade(final_answer=None, outcome=Verdict.UNKNOWN, reason="no final answer")
    if reference is None:
        return Grade(final_answer=answer, outcome=Verdict.UNKNOWN, reason="no reference answer")
    if grader == GRADER and WHOLE.fullmatch(answer) and WHOLE.fullmatch(reference):
        finding = SAME if answer == reference else OTHER
    else:
        finding = await workers.verify(grader, AnswerClaim(answer=answer, reference=reference))
    return Grade(final_answer=answer, outcome=finding.verdict, reason=finding.reason)


async def why_ungradable(workers: Isolated, reference: str, *, grader: str = GRADER) -> str:
    """Why no solution could be graded against a reference; empty for one that can.

    A text is always equal to itself, so more is asked: the verifier must understand the reference as something that an answer written
    differently can be compared with.
    """
    if grader == GRADER and WHOLE.fullmatch(reference):
        return ""
    understood = await workers.verify(grader, ReferenceClaim(reference=reference))
    return (
        ""
        if understood.verdict is Verdict.CORRECT
        else f"no answer could be compared with it: {understood.reason}"
    )
