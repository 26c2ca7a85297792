"""Right steps whose words change what their formulas mean. None of them may be called incorrect."""

import pytest

from stepmark.records import Verdict
from verifiers.algebra import Algebra
from verifiers.arithmetic import Arithmetic
from verifiers.base import StepClaim

# The step before, and the step.
STEPS = (
    # The value is rounded, or belongs to something else that has the same letter.
    ("2x = 15.", "Thus x = 8 boxes are needed."),
    ("2n + 1 = 14.", "The minimum is n = 7."),
    ("5x - 6 = 0.", "Approximately, x = 1."),
    ("$2m + 1 = 0$.", "The perpendicular has slope $m = 2$."),
    ("$x^2 - 4x + 3 = 0$.", "The midpoint of the roots is $x = 2$."),
    # The quantities changed since.
    ("a + b = 15 and a - b = 5, so a = 10 and b = 5.", "After giving 2 away, a = 8."),
    ("x + y = 5.", "Taking x = 0, y = 5. Taking y = 0, x = 5."),
    ("2x = 6.", "3x = 12 is the second equation."),
    # The roots are those of another polynomial, or supposed.
    ("$x^2 - 3x + 2 = 0$.", "Since each root is doubled, the sum of the roots is 6."),
    ("$x^2 - 5x + 6 = 0$.", "If the sum of the roots is 7, then k = 7."),
    # The list is not what is counted.
    ("", "There are 6 numbers using the digits: 1, 2, 3."),
    ("", "There are 5 integers between the two roots: 1 and 7."),
    ("", "The positive solutions are 2 and 3, so there are 4 solutions."),
    # The dots leave out all but some terms.
    ("", r"The sum of the divisors of 24 is $1 + 2 + 3 + \cdots + 24 = 60$."),
    ("", r"The sum of the odd primes is $3 + 5 + 7 + \cdots + 19 = 75$."),
    ("", r"The sum of the divisors of 24 is $S = 1 + 2 + 3 + \cdots + 24$, so $S = 60$."),
    (r"The sum of the divisors is $S = 1 + 2 + 3 + \cdots + 24$.", "Simplifying, $S = 60$."),
    ("", r"With the divisors of 24, $y = x + (1 + 2 + 3 + \cdots + 24) = x + 60$."),
    # The value is rounded in the same sentence.
    ("", "2x = 15, so x = 8 boxes are needed."),
    ("", "3x = 50 => x = 17, the integer part plus one."),
    ("", "The share is n = 15 / 2, so n = 8 teams are needed."),
    # The words behind a value change what it is the value of.
    ("", "x = 10 + 5. Then x = 13 after giving 2 away."),
    ("", "2x = 10. Then x = 4 after giving one away."),
    ("", "x + 3 = 7. Then x = 5 if we add one."),
    ("", "S = 1 + 2 + 3. So S = 12 for two copies."),
    ("", "2x = 8, so x = 5 would be too large."),
    # The function has few values.
    ("", "As f has only the values 0 and 1, simplifying gives $f(x)^2 + 1 = f(x) + 1$."),
    # The units are those of a drawing, or count things.
    ("", "On the plan, 3 inches = 15 feet."),
    ("", "30 nickels - 18 dimes = 12 nickels"),
)


@pytest.mark.parametrize(("previous", "step"), STEPS)
def test_misleading_step_is_not_incorrect(previous: str, step: str) -> None:
    claim = StepClaim(question="", previous=(previous,) if previous else (), step=step)
    for verifier in (Algebra(), Arithmetic()):
        finding = verifier.verify(claim)
        assert finding.verdict is not Verdict.INCORRECT, finding
