"""Graders: extract the final answer of a completion and compare it with the reference.

A grader is a verifier that decides final answers, together with a function that extracts the answer
from a text. `answers` compares stated answers; `code` runs the final program against the tests that
are the reference. The plan of a run holds its grader, which all stages and fingerprints use. The
outcome is unknown whenever the comparison cannot be decided.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from annotators.context import Grade
from stepmark import code_blocks, final_answers, plugins
from stepmark.identity import fingerprint
from stepmark.records import Verdict
from verifiers.base import AnswerClaim, Finding, ReferenceClaim, Verifier
from verifiers.isolation.pool import VerifierPool

__all__ = [
    "ANSWERS",
    "GRADERS",
    "Grader",
    "grade",
    "grade_answer",
    "why_ungradable",
]


@dataclass(frozen=True, kw_only=True)
class Grader:
    """A way to decide outcomes: a verifier, and the function that finds the answer in a text."""

    verifier_id: str
    """The verifier that compares answers, as `VerifierPool.verify` names it."""
    extract: Callable[[str], str | None]
    """Returns the final answer in a text; None if there is none."""
    extractor_version: int
    """Increased when `extract` finds other answers."""

    @property
    def verifier(self) -> Verifier:
        """The verifier with its default parameters, which the workers use."""
        verifier: Verifier = plugins.build("verifiers", {"use": self.verifier_id})
        return verifier

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the verifier."""
        return fingerprint(self.verifier)


ANSWERS = Grader(
    verifier_id="answers",
    extract=final_answers.final_answer,
    extractor_version=final_answers.VERSION,
)
CODE = Grader(
    verifier_id="code",
    extract=code_blocks.final_program,
    extractor_version=code_blocks.VERSION,
)
GRADERS: Mapping[str, Grader] = {"answers": ANSWERS, "code": CODE}
"""The graders by their names in a run file."""

# An integer in its only canonical spelling, below 10**18. Most answers of word problems are such
# integers; comparing them here gives the finding of `answers` without a round trip to a worker.
CANONICAL_INTEGER = re.compile(r"-?[1-9]\d{0,17}|0", re.ASCII)
EQUAL_INTEGERS = Finding(verdict=Verdict.CORRECT, reason="the same text")
DIFFERENT_INTEGERS = Finding(verdict=Verdict.INCORRECT, reason="different numbers")


async def grade(
    workers: VerifierPool,
    text: str,
    finish_reason: str,
    reference: str | None,
    *,
    grader: Grader = ANSWERS,
) -> Grade:
    """Grade a complete solution text.

    Args:
        workers: The pool that runs the verifier.
        text: The solution, including the prefix that a rollout continues.
        finish_reason: "stop", "length", or "error: ..." for a rejected request.
        reference: The reference answer, if there is one.
        grader: Finds the final answer and compares it.

    Returns:
        The grade. A truncated solution is unknown even if it contains an answer, because the model
        had not finished.
    """
    answer = grader.extract(text)
    if finish_reason != "stop":
        reason = "truncated" if finish_reason == "length" else finish_reason
        return Grade(final_answer=answer, outcome=Verdict.UNKNOWN, reason=reason)
    return await grade_answer(workers, answer, reference, grader=grader)


async def grade_answer(
    workers: VerifierPool,
    answer: str | None,
    reference: str | None,
    *,
    grader: Grader = ANSWERS,
) -> Grade:
    """Grade a final answer; unknown if the answer or the reference is missing."""
    if answer is None:
        return Grade(final_answer=None, outcome=Verdict.UNKNOWN, reason="no final answer")
    if reference is None:
        return Grade(final_answer=answer, outcome=Verdict.UNKNOWN, reason="no reference answer")
    if grader is ANSWERS and _are_canonical_integers(answer, reference):
        finding = EQUAL_INTEGERS if answer == reference else DIFFERENT_INTEGERS
    else:
        claim = AnswerClaim(answer=answer, reference=reference)
        finding = await workers.verify(grader.verifier_id, claim)
    return Grade(
        final_answer=answer,
        outcome=finding.verdict,
        reason=finding.reason,
        outcome_parts=finding.parts,
    )


async def why_ungradable(workers: VerifierPool, reference: str, *, grader: Grader = ANSWERS) -> str:
    """Return why no solution could be graded against a reference, or "" if one could.

    Comparing the reference with itself would prove nothing, since equal texts are always equal. The
    verifier must understand it as something that a differently written answer can equal.
    """
    if grader is ANSWERS and CANONICAL_INTEGER.fullmatch(reference):
        return ""
    finding = await workers.verify(grader.verifier_id, ReferenceClaim(reference=reference))
    if finding.verdict is Verdict.CORRECT:
        return ""
    return f"no answer could be compared with it: {finding.reason}"


def _are_canonical_integers(answer: str, reference: str) -> bool:
    return bool(CANONICAL_INTEGER.fullmatch(answer) and CANONICAL_INTEGER.fullmatch(reference))
