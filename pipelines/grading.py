"""Grading a completion: its final answer, and whether that is the reference's. Anything that cannot be decided is unknown."""

from annotators.base import Graded
from stepmark.answers import final_answer
from stepmark.records import Verdict
from verifiers._isolated import Isolated
from verifiers.base import AnswerClaim

__all__ = ["GRADER", "grade", "grade_answer"]

GRADER = "answers"


async def grade(workers: Isolated, text: str, finish_reason: str, reference: str | None) -> Graded:
    """The grade of a whole solution text. A truncated one is unknown whatever it says: it had not ended."""
    answer = final_answer(text)
    if finish_reason != "stop":
        return Graded(final_answer=answer, outcome=Verdict.UNKNOWN, reason="truncated" if finish_reason == "length" else finish_reason)
    return await grade_answer(workers, answer, reference)


async def grade_answer(workers: Isolated, answer: str | None, reference: str | None) -> Graded:
    """The grade of a final answer."""
    if answer is None:
        return Graded(final_answer=None, outcome=Verdict.UNKNOWN, reason="no final answer")
    if reference is None:
        return Graded(final_answer=answer, outcome=Verdict.UNKNOWN, reason="no reference answer")
    finding = await workers.verify(GRADER, AnswerClaim(answer=answer, reference=reference))
    return Graded(final_answer=answer, outcome=finding.verdict, reason=finding.reason)
