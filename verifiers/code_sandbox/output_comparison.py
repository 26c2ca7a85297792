"""Compare the output of a script with the expected output, word by word.

White space does not count. Two cases are undecided, because the rules of the contest are unknown:
numbers that differ only by rounding or by notation, and words that differ only in case.

What is not covered:

- Problems that accept several outputs: a correct output may be found incorrect.
"""

import math

from stepmark.records import Verdict

__all__ = ["compare_output"]

# Numbers that are closer than this may be equal after rounding.
TOLERANCE = 1e-3


def compare_output(output: str, expected: str) -> Verdict:
    """Return correct for the same words, unknown where all words may match, else incorrect."""
    words = output.split()
    expected_words = expected.split()
    if words == expected_words:
        return Verdict.CORRECT
    if len(words) == len(expected_words) and all(map(_may_match, words, expected_words)):
        return Verdict.UNKNOWN
    return Verdict.INCORRECT


def _may_match(word: str, expected: str) -> bool:
    if word.casefold() == expected.casefold():
        return True
    try:
        is_close = math.isclose(float(word), float(expected), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except ValueError:
        return False
    # Integers are exact, so a small difference between them is an error.
    are_integers = word.isdecimal() and expected.isdecimal()
    return is_close and not are_integers
