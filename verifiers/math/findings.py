"""The finding about a step, from the judgements of its statements.

A statement that is false as read is a verdict only if the rule and all assumptions are reliable
(see `verifiers.math.reliability`). Otherwise it is a suspicion: the finding is unknown, and its
reason, rule and assumptions say what was found. True statements do not make a step correct, because
the step need not follow from them: the finding is unknown and counts them.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from stepmark.records import Verdict
from verifiers.base import Finding
from verifiers.math.reliability import is_reliable

SUSPICION = "suspicion"
"""The first word of the reason of a suspicion."""


Judgement = tuple[Verdict, str]
"""The verdict on an answer, and its reason unless it is correct."""


class StepJudgement(NamedTuple):
    """The verdict on one statement of a step.

    A correct statement has no reason. An incorrect one has a rule, and the assumptions of its
    reading.
    """

    verdict: Verdict
    reason: str = ""
    rule: str = ""
    assumptions: tuple[str, ...] = ()


HOLDS = StepJudgement(Verdict.CORRECT)


def undecided(reason: str) -> StepJudgement:
    """Return the judgement on a statement that is not decided."""
    return StepJudgement(Verdict.UNKNOWN, reason)


def false(rule: str, reason: str, *assumptions: str) -> StepJudgement:
    """Return the judgement on a statement that is false as read; empty assumptions are left out."""
    named = tuple([assumption for assumption in assumptions if assumption])
    return StepJudgement(Verdict.INCORRECT, reason, rule, named)


def conclude(judgements: Iterable[tuple[str, StepJudgement]], nothing: str) -> Finding:
    """Return the finding about a step.

    Args:
        judgements: The statements of the step with their judgements.
        nothing: The reason for a step without statements.
    """
    checked = 0
    holding = 0
    statements = 0
    incorrect: Finding | None = None
    suspicion: Finding | None = None
    first_reason = ""
    for statement, judgement in judgements:
        statements += 1
        if judgement.verdict is Verdict.UNKNOWN:
            first_reason = first_reason or f"{statement}: {judgement.reason}"
            continue
        checked += 1
        if judgement.verdict is Verdict.CORRECT:
            holding += 1
        elif is_reliable(judgement.rule, judgement.assumptions):
            incorrect = incorrect or _false_finding(statement, judgement)
        else:
            suspicion = suspicion or _suspicion(statement, judgement)
    finding = incorrect or suspicion
    if finding is None and holding > 0:
        finding = unknown(f"holds: {holding} of {statements} equations")
    if finding is None:
        return unknown(first_reason or nothing)
    return replace(finding, checked=checked, holding=holding)


def unknown(reason: str) -> Finding:
    """Return the finding that a claim is not decided."""
    return Finding(verdict=Verdict.UNKNOWN, reason=reason)


def _false_finding(statement: str, judgement: StepJudgement) -> Finding:
    return Finding(
        verdict=Verdict.INCORRECT,
        reason=f"{statement}: {judgement.reason}",
        rule=judgement.rule,
        assumptions=judgement.assumptions,
    )


def _suspicion(statement: str, judgement: StepJudgement) -> Finding:
    doubts = "; ".join([judgement.rule, *judgement.assumptions])
    return Finding(
        verdict=Verdict.UNKNOWN,
        reason=f"{SUSPICION} ({doubts}): {statement}: {judgement.reason}",
        rule=judgement.rule,
        assumptions=judgement.assumptions,
    )
