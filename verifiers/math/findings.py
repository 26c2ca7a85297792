"""The finding about a step, from the judgements of its statements."""

from collections.abc import Callable, Iterable

from stepmark.records import Verdict
from verifiers.base import Finding

# The verdict, and its reason unless it is correct.
Judgement = tuple[Verdict, str]


def conclude(
    judgements: Iterable[tuple[str, Judgement]], doubt_of: Callable[[str], str], nothing: str
) -> Finding:
    """Return the finding; its reason names the false statement or counts the true ones.

    `judgements` contains the statements with their judgements, `doubt_of` returns why the step may
    not claim a false statement, and `nothing` is the reason for a step without statements.
    """
    checked = 0
    unknown_reason = ""
    for statement, (verdict, reason) in judgements:
        if verdict is Verdict.INCORRECT:
            doubt = doubt_of(statement)
            if doubt:
                return unknown(doubt)
            return Finding(verdict=verdict, reason=f"{statement}: {reason}")
        checked += 1
        if verdict is Verdict.UNKNOWN and not unknown_reason:
            unknown_reason = f"{statement}: {reason}"
    if unknown_reason or checked == 0:
        return unknown(unknown_reason or nothing)
    return Finding(verdict=Verdict.CORRECT, reason=f"{checked} checked")


def unknown(reason: str) -> Finding:
    """Return the finding that a claim is not decided."""
    return Finding(verdict=Verdict.UNKNOWN, reason=reason)
