"""Whether a program has printed what it was to print: word by word, as contests compare.

White space does not count. Numbers that differ by no more than rounding, or that are written in another way, decide nothing: what a contest
takes for equal is not known. Letters in other capitals decide nothing either.

What is not covered: problems that accept several outputs; a right one may be called wrong.
"""

import math

from stepmark.records import Verdict

__all__ = ["compared"]

CLOSE = 1e-3


def compared(said: str, wanted: str) -> Verdict:
    """Correct for the same words, incorrect for others, unknown where they may be the same."""
    one, other = said.split(), wanted.split()
    if one == other:
        return Verdict.CORRECT
    may_be = len(one) == len(other) and all(map(_may_be_same, one, other))
    return Verdict.UNKNOWN if may_be else Verdict.INCORRECT


def _may_be_same(one: str, other: str) -> bool:
    if one.casefold() == other.casefold():
        return True
    try:
        return math.isclose(float(one), float(other), rel_tol=CLOSE, abs_tol=CLOSE) and not (
            one.isdecimal() and other.isdecimal()
        )
    except ValueError:
        return False
