"""What steps say about whole numbers, in words and as congruences."""

import time

import pytest

from stepmark.records import Verdict
from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.algebra_rules.contexts import NOT_SUPPOSED
from verifiers.algebra_rules.number_facts import number_facts
from verifiers.base import Finding, StepClaim

TRUE = (
    "97 is prime.",
    "Since 57 is not a prime number, we stop.",
    "84 is divisible by 7.",
    "$84$ is not divisible by $5$.",
    "So 49 is a perfect square.",
    "2^4 + 1 = 17 is prime.",
    "Then 6 is a factor of 30.",
    "\\gcd(12, 18) = 6",
    "\\text{lcm}(4, 6) = 12",
    "17 ≡ 3 (mod 7)",
    "So 2^{10} \\equiv 2 \\pmod{7}.",
    "-1 ≡ 6 (mod 7)",
    "3·5 ≡ 15 ≡ 1 (mod 7)",
)
FALSE = (
    "91 is prime.",
    "Since 51 is a prime number, we stop.",
    "84 is divisible by 5.",
    "$84$ is not divisible by $6$.",
    "So 48 is a perfect square.",
    "2^4 + 2 = 18 is prime.",
    "Then 7 is a factor of 30.",
    "\\gcd(12, 18) = 9",
    "\\text{lcm}(4, 6) = 24",
    "17 ≡ 4 (mod 7)",
    "So 2^{10} \\equiv 4 \\pmod{7}.",
)
NOT_UNDERSTOOD = (
    "the sum of 3 and 4 is odd",
    "One might hope that 51 is prime.",
    "Nobody can say that 51 is prime.",
    "2n + 7 is odd for even n",
    "If 9 is prime",
    "3x ≡ 4 \\pmod 7",
    "f(4) is odd",
    "100 is divisible by 2 and 7",
    "\\gcd(12, 18) = 2 \\cdot 3",
    "12 is divisible by 24/2",
    "the number of ways for 9 is even",
    "1.9 is prime",
    "a_9 is even",
    "15 is prime to 4",
    "21 is a prime factor of n",
    "20 is even or odd",
    "If gcd(12, 18) = 9, then 9 divides 12.",
    "So 51 is prime? It is 3 times 17.",
)
# Supposed or denied.
SUPPOSED = (
    "If n = 51 is prime, we stop.",
    "Unless $17 \\equiv 4 \\pmod 7$, we stop.",
    "It is not the case, we see that 51 is prime.",
)
# The supposition is that of another sentence.
CLAIMED = (
    "If n is odd, we stop. So 51 is prime.",
    "We stop unless n is odd. 51 is prime.",
    "We stop if n is odd.\n51 is prime.",
    "We know that 51 is prime.",
)
HOSTILE = (
    "9999991 is prime. " * 5_000,
    "1" * 100_000 + " is prime",
    "≡" * 50_000 + "(mod 7)",
    "(" * 100_000,
    "$" * 100_000,
    "so " * 30_000,
    " " * 100_000 + "1",
    "gcd(" * 25_000,
    "= " * 50_000,
)
# Much more than the time on a busy machine; a search of quadratic time takes minutes.
MAX_SECONDS = 30.0


def _verdicts(text: str) -> set[Verdict]:
    return {judgement.verdict for _, judgement in number_facts(text)}


@pytest.mark.parametrize("text", TRUE)
def test_true_fact_holds(text: str) -> None:
    assert _verdicts(text) == {Verdict.CORRECT}


@pytest.mark.parametrize("text", FALSE)
def test_false_fact_is_found(text: str) -> None:
    assert _verdicts(text) == {Verdict.INCORRECT}


@pytest.mark.parametrize("text", NOT_UNDERSTOOD)
def test_other_text_is_left_out(text: str) -> None:
    assert _verdicts(text) == set()


def _suspicion(text: str) -> Finding:
    finding = Algebra().verify(StepClaim(question="", previous=(), step=text))
    assert result_of(finding) == "suspicion"
    return finding


@pytest.mark.parametrize("text", SUPPOSED)
def test_supposed_fact_is_suspected(text: str) -> None:
    assert NOT_SUPPOSED in _suspicion(text).assumptions


@pytest.mark.parametrize("text", CLAIMED)
def test_claimed_fact_is_suspected(text: str) -> None:
    assert _suspicion(text).assumptions == ()


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:10])
def test_time_is_linear(text: str) -> None:
    start = time.process_time()
    list(number_facts(text))
    assert time.process_time() - start < MAX_SECONDS
