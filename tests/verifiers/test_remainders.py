"""What steps say about divisions with a remainder, digits, other bases and pairs of numbers."""

import pytest

from stepmark.records import Verdict
from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.algebra_rules.digits import DIGITS, digits
from verifiers.algebra_rules.number_facts import DIVISORS, PREDICATE
from verifiers.algebra_rules.remainders import REMAINDER
from verifiers.base import Finding, StepClaim

TRUE = (
    "Divide 500 by 7: 500 ÷ 7 = 71 with a remainder of 3.",
    "Since \\(95\\) divided by \\(4\\) leaves a remainder of \\(3\\), we stop.",
    "The remainder when 50 is divided by 8 is 2.",
    "So 17 leaves a remainder of 3 when divided by 7.",
    "\\[ 38 \\div 5 = 7 \\text{ R } 3 \\]",
    "In base 5, 38 can be written as 123.",
    "So 10 in base 2 is $1010_2$.",
    "101 in base 2 is 5.",
    "In base 5, 44 equals 24.",
    "The number 77 in base 8 is 63.",
    "Since 128 is a three-digit number, we stop.",
    "The sum of the digits of 275 is 14.",
    "The sum of the digits of $275$ is $2 + 7 + 5 = 14$.",
    "Both 15 and 21 are divisible by 3.",
    "So 14 and 15 are relatively prime.",
    "Since $9$ and $16$ are perfect squares, we stop.",
    "So 8 and 15 have no common factor other than 1.",
)
FALSE = (
    ("Divide 500 by 7: 500 ÷ 7 = 72 with a remainder of 4.", REMAINDER),
    ("Since \\(95\\) divided by \\(4\\) leaves a remainder of \\(2\\), we stop.", REMAINDER),
    ("The remainder when 50 is divided by 8 is 3.", REMAINDER),
    ("So 17 leaves a remainder of 4 when divided by 7.", REMAINDER),
    ("\\[ 38 \\div 5 = 7 \\text{ R } 4 \\]", REMAINDER),
    ("Then 40 / 6 = 6 remainder 3.", REMAINDER),
    ("In base 5, 38 can be written as 132.", DIGITS),
    ("So 10 in base 2 is $1100_2$.", DIGITS),
    ("Since 12 is a one-digit number, we stop.", DIGITS),
    ("The sum of the digits of 275 is 15.", DIGITS),
    ("The number 1001 is a 3-digit number.", DIGITS),
    ("Both 15 and 22 are divisible by 3.", PREDICATE),
    ("Since $9$ and $17$ are perfect squares, we stop.", PREDICATE),
    ("So 7 and 9 are prime numbers.", PREDICATE),
    ("So 14 and 21 are relatively prime.", DIVISORS),
    ("Since 201 and 333 do not share any other common factors, we stop.", DIVISORS),
)
NOT_READ = (
    "The remainder when 3 + 50 is divided by 8 is 5.",
    "2^{10} divided by 7 leaves a remainder of 2.",
    "5 + 17 divided by 7 leaves a remainder of 1.",
    "The remainder when $n$ is divided by 8 is 3.",
    "50 divided by 8 leaves a remainder of 3 - 1.",
    "10.5 divided by 2 leaves a remainder of 0.5.",
    "In base 12, 38 can be written as 32.",
    "The number of multiples of 13 is a one-digit number.",
    "The sum of the digits of 275 is 10 + 4.",
    "The sum of the digits of 10 in base 2 is 2.",
    "The product of 15 and 22 are divisible by 3.",
    "n, 14 and 21 are relatively prime.",
    "14 and 21 are relatively prime to 5.",
    "2 and 4 are divisible by 2 more than 3.",
    "17 divided by 0 leaves a remainder of n.",
    # Words or another base change the dividend.
    "The square of 5 divided by 7 leaves a remainder of 4.",
    "The sum of 5 and 6 divided by 4 leaves a remainder of 3.",
    "The cube of 3 leaves a remainder of 6 when divided by 7.",
    "Negative 7 leaves a remainder of 1 when divided by 4.",
    "In base 8, the remainder when 17 is divided by 7 is 1.",
    "In base 3, the sum of the digits of 5 is 3.",
    "The alternating sum of the digits of 121 is 0.",
    "The repeated sum of the digits of 88 is 7.",
)


def _finding(step: str) -> Finding:
    return Algebra().verify(StepClaim(question="", previous=(), step=step))


@pytest.mark.parametrize("step", TRUE)
def test_true_statement_holds(step: str) -> None:
    finding = _finding(step)
    assert finding.holding == finding.checked >= 1, finding.reason


@pytest.mark.parametrize(("step", "rule"), FALSE)
def test_false_statement_is_suspected(step: str, rule: str) -> None:
    finding = _finding(step)
    assert result_of(finding) == "suspicion"
    assert finding.rule == rule


@pytest.mark.parametrize("step", NOT_READ)
def test_other_statement_is_not_suspected(step: str) -> None:
    assert result_of(_finding(step)) != "suspicion"


def test_zero_has_one_digit_in_base() -> None:
    judgements = [judgement for _, judgement in digits("0 in base 2 is 0.")]
    assert [judgement.verdict for judgement in judgements] == [Verdict.CORRECT]


def test_division_by_zero_is_suspected() -> None:
    finding = _finding("So 17 divided by 0 leaves a remainder of 17.")
    assert result_of(finding) == "suspicion"
