"""Graders: extract the final answer of a completion and compare it with the reference.

A grader is a verifier that decides final answers, together with a function that extracts the answer
from a text. `answers` compares stated answers; `code` runs the final program against the tests that
are the reference. The plan of a run holds its grader, which all stages and fingerprints use. The
outcome is unknown whenever the comparison cannot be decided.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from annotators.context import Grade
from stepmark import code_blocks, final_answers, plugins
from stepmark.errors import ConfigError
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
    "grader_named",
    "is_plainly_gradable",
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
    explain: Callable[[str], str]
    """Returns why `extract` finds no answer in a text."""
    fallback: "Grader | None" = None
    """Decides what this grader cannot decide."""

    def chain(self) -> Iterator["Grader"]:
        """Yield this grader and its fallbacks, in the order in which they decide."""
        grader: Grader | None = self
        while grader is not None:
            yield grader
            grader = grader.fallback

    @property
    def verifier(self) -> Verifier:
        """The verifier with its default parameters, which the workers use."""
        verifier: Verifier = plugins.build("verifiers", {"use": self.verifier_id})
        return verifier

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the verifier."""
        return fingerprint(self.verifier)


NO_ANSWER = "no final answer"
ANSWERS = Grader(
    verifier_id="answers",
    extract=final_answers.final_answer,
    extractor_version=final_answers.VERSION,
    explain=final_answers.why_no_answer,
)
CODE = Grader(
    verifier_id="code",
    extract=code_blocks.final_program,
    extractor_version=code_blocks.VERSION,
    explain=lambda _: NO_ANSWER,
)
GRADERS: Mapping[str, Grader] = {"answers": ANSWERS, "code": CODE}
"""The graders by their names in a run file."""


def grader_named(names: str | Sequence[str]) -> Grader:
    """Return the grader with this name; of several, each is the fallback of the one before it."""
    if isinstance(names, str):
        return GRADERS[names]
    if not names:
        raise ConfigError("generate.grader: name at least one grader")
    grader: Grader | None = None
    for name in reversed(names):
        grader = replace(GRADERS[name], fallback=grader)
    assert grader is not None, "there is at least one name"
    return grader


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
    first: Grade | None = None
    for link in grader.chain():
        result = await _grade_text(workers, text, finish_reason, reference, grader=link)
        if result.outcome is not Verdict.UNKNOWN:
            return result
        first = first or result
    assert first is not None, "a chain has at least one grader"
    return first


async def _grade_text(
    workers: VerifierPool, text: str, finish_reason: str, reference: str | None, *, grader: Grader
) -> Grade:
    answer = grader.extract(text)
    if finish_reason != "stop":
        reason = "truncated" if finish_reason == "length" else finish_reason
        return Grade(final_answer=answer, outcome=Verdict.UNKNOWN, reason=reason)
    if answer is None:
        return Grade(final_answer=None, outcome=Verdict.UNKNOWN, reason=grader.explain(text))
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
        return Grade(final_answer=None, outcome=Verdict.UNKNOWN, reason=NO_ANSWER)
    if reference is None:
        return Grade(final_answer=answer, outcome=Verdict.UNKNOWN, reason="no reference answer")
    is_comparison = grader.verifier_id == ANSWERS.verifier_id
    if is_comparison and _are_canonical_integers(answer, reference):
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
    reason = ""
    for link in grader.chain():
        if is_plainly_gradable(reference, grader=link):
            return ""
        claim = ReferenceClaim(reference=reference)
        finding = await workers.verify(link.verifier_id, claim)
        if finding.verdict is Verdict.CORRECT:
            return ""
        reason = reason or f"no answer could be compared with it: {finding.reason}"
    return reason


def is_plainly_gradable(reference: str, *, grader: Grader = ANSWERS) -> bool:
    """Return whether a grader needs no verifier to accept a reference: most are integers."""
    is_for_answers = grader.verifier_id == ANSWERS.verifier_id
    return is_for_answers and CANONICAL_INTEGER.fullmatch(reference) is not None


def _are_canonical_integers(answer: str, reference: str) -> bool:
    return bool(CANONICAL_INTEGER.fullmatch(answer) and CANONICAL_INTEGER.fullmatch(reference))
