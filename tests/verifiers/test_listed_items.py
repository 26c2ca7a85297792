"""What steps say about the items that they list."""

import time

import pytest

from stepmark.records import Verdict
from verifiers.algebra_rules.listed_items import listed_items

TRUE = (
    "The divisors of 6 are 1, 2, 3, 6, so there are 4 divisors.",
    "The positive divisors of 12 are 1, 2, 3, 4, 6, and 12. There are six positive divisors.",
    "There are three primes between 10 and 18: 11, 13, and 17.",
    "There are $4$ such numbers: $12$, $15$, $18$ and $21$.",
    "There are 3 composites (4, 6, 8).",
    "The solutions are $(1, 2)$, $(2, 1)$, for a total of $\\boxed{2}$ solutions.",
    "The numbers are 3, 4 and 5. Their sum is 12.",
    "The prime factors are 2, 3, and 37. The product of these factors is 222.",
    "The possible values are -1, 0, 1; the sum of these values is 0.",
    "The digits are 1,5,6, so there are 3 of them.",
    "The squares are 1, 4, 9. The sum of these is $1 + 4 + 9 = 14$.",
    "The squares are: \\(1^2 = 1, 2^2 = 4, 3^2 = 9\\). So, there are 3 squares.",
    "There are 4 primes less than 10. They are 2, 3, 5, 7.",
    "The three even numbers are 2, 4 and 6.",
)
FALSE = (
    "The divisors of 6 are 1, 2, 3, 6, so there are 5 divisors.",
    "The positive divisors of 12 are 1, 2, 3, 4, 6, and 12. There are five positive divisors.",
    "There are four primes between 10 and 18: 11, 13, and 17.",
    "There are $3$ such numbers: $12$, $15$, $18$ and $21$.",
    "There are 4 composites (4, 6, 8).",
    "The solutions are $(1, 2)$, $(2, 1)$, for a total of $\\boxed{3}$ solutions.",
    "The numbers are 3, 4 and 5. Their sum is 13.",
    "The prime factors are 2, 3, and 37. The product of these factors is 202.",
    "The digits are 1,5,6, so there are 4 of them.",
    "The squares are 1, 4, 9. The sum of these is $1 + 4 + 8 = 13$.",
    "The squares are: \\(1^2 = 1, 2^2 = 4, 3^2 = 9\\). So, there are 4 squares.",
    "There are 5 primes less than 10. They are 2, 3, 5, 7.",
    "The three even numbers are 2, 4, 6 and 8.",
)
NOT_UNDERSTOOD = (
    # Parts of a list.
    "There are 10 primes below 30, such as 2, 3, and 5.",
    "The first primes are 2, 3, 5, so there are 10 primes.",
    "Among them are 2, 3, 5. There are 8 primes.",
    "There are 5 primes: 2, 3, 5, ...",
    "There are 25 primes: 2, 3, 5, \\ldots, 97.",
    "There are 4 primes: 2, 3, 5 and one more.",
    "There are 6 numbers: 1, 2, 3 and their negatives.",
    "Some divisors of 12 are 1, 2, 3. There are 6 divisors.",
    "There are 5 values, including 1, 2, and 3.",
    "The divisors include 1, 2, 3, 6. There are 8 divisors.",
    # Other nouns, or fewer of them.
    "The primes are 2, 3, 5, 7, so there are 3 odd primes.",
    "The primes are 2, 3, 5, 7. There are 2 primes less than 4.",
    "The digits are 1, 2, 3, so there are 6 permutations.",
    "The sides are 3, 4, 5, so there are 2 legs.",
    "The numbers are 2, 3, 5, so there are 8 subsets.",
    "There are 2 pairs: 1, 4 and 2, 3.",
    "There are 6 ways to choose two numbers from the list: 1, 2, 3, 4.",
    "There are 3 cases: 1, 2 or 3.",
    # Other numbers.
    "There are 2 numbers: 1,000 and 2,000.",
    "The populations are 1,234, 2,345. Their sum is 10.",
    "The digits are 1, 2, 3. Their sum is even.",
    "The roots are 1, 2. Their sum is 3x.",
    "The roots are x = 1, 2. There are 5 roots.",
    "The primes are 2, 3 and the composites are 4, 6. Their sum is 15.",
    "The ages are 3, 4 and 5. Their average is 4.",
    "There are 4 roots: $\\pm 1, 2$.",
    "The numbers are 3, 4 and 5. Their sum is 2 digits long.",
    "The numbers are 3, 4 and 5. Their sum is 3 more than 9.",
    "There are 4 roots: 1, -1 (each of multiplicity 2).",
    "There are three primes (2, 3, 5, 7) and more.",
    "The numbers are 2, 3, 5. The sum of the first two is 5.",
)
HOSTILE = (
    "1, " * 30_000,
    "1 and " * 15_000,
    "There are 3 primes: " * 5_000,
    "(1, 2), " * 12_000,
    "are 1, 2" * 12_000,
    "The " * 25_000 + " are 1, 2",
    "$" * 100_000,
    "\\{ " * 30_000,
    "-" * 100_000,
    "1" * 100_000,
    ("1, 2. Their sum is " + "(" * 60) * 1_000,
)
# Much more than the time on a busy machine.
MAX_SECONDS = 20.0


def _verdicts(text: str) -> set[Verdict]:
    return {judgement.verdict for _, judgement in listed_items(text)}


@pytest.mark.parametrize("text", TRUE)
def test_true_statement_holds(text: str) -> None:
    assert _verdicts(text) == {Verdict.CORRECT}


@pytest.mark.parametrize("text", FALSE)
def test_false_statement_is_found(text: str) -> None:
    assert _verdicts(text) == {Verdict.INCORRECT}


@pytest.mark.parametrize("text", NOT_UNDERSTOOD)
def test_other_text_is_left_out(text: str) -> None:
    assert _verdicts(text) <= {Verdict.CORRECT}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:10])
def test_time_is_linear(text: str) -> None:
    start = time.process_time()
    list(listed_items(text))
    assert time.process_time() - start < MAX_SECONDS
