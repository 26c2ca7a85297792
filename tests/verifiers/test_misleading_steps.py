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
    ("", "5 ft + 8 in = 68 in."),
    # The arithmetic is another one.
    ("", "In column addition, 8 + 7 = 5, carry 1."),
    ("", "Odd + odd = even, so 1 + 1 = 0."),
    ("", "Logic: 1 + 1 = 1, 1 · 0 = 0."),
    ("", "Two half-adders: 1 + 1 = 10."),
    ("", "Writing digits side by side, 1 + 2 = 12."),
    ("", "The abacus shows 25 + 36 = 63 in base eight."),
    ("", "Find the sum of the digits: 30 + 80 = 10."),
    # Numbers are rounded, or a dash is not a minus sign.
    ("", "To the nearest ten, 48 + 33 = 80."),
    ("", "33% × 3 = 100%"),
    ("", "She read pages 45 - 60 = 16 pages."),
    ("", "The shop is open 8 - 6 = 10 hours."),
    ("", "The gap between them: 12 - 20 = 8."),
    ("", "The final score was 21 - 15 = 7 points? No: 21 - 15 = 6."),
    # Roots reach further, an exclamation mark ends the sentence, and angles are in degrees.
    ("", "√9/16 = 3/4"),
    ("", "√3² + 4² = 5"),
    ("", "5√32 = 2"),
    ("", "⁴√16 = 2"),
    ("", "log 2 8 = 3"),
    ("", "log(50)(2) = 2"),
    ("", "ln 2 · 3 = ln 6"),
    ("", "We have $5! = 120!$ orders."),
    ("", "2π = 360"),
    ("", "Take π = 22/7."),
    # The letter i is a variable.
    ("", "A complex with i rooms: 2i - 1 = i + 3"),
    ("", "As a complex number, its length is 3 + 4i = 5."),
    # The last side of a chain is a condition.
    ("", "$A = (x + 2)(x + 3) = x^2 + 20$"),
    ("", "The area is $B = (w + 4)(w + 6) = w^2 + 6w + 64$."),
    ("", r"$\text{Area} = (t + 1)^2 = t^2 + 7$"),
    ("", "area = (n + 5)(n - 1) = n^2 + 3n"),
    ("", "f(y + 2) = (y + 2)^2 = y^2 + 16"),
    ("", "The volume is $V = k(k + 1)(k + 2) = k^3 + 3k^2 + 8$."),
    ("", "We set $g(z) = (z + 1)(z + 5) = z^2 + 5z + 1$ and solve."),
    ("", "The product is N = (a + b)^2 = a^2 + b^2 + 12."),
    ("", "As the legs are a and b, S = (a + b)(a - b) = a^2 - 9."),
    ("", "The price is p = 5(n + 2) = 4n + 30."),
    # An equation is the object of the word before it.
    ("", "Expanding (x + 2)(x + 3) = x^2 + 4x + 20 gives x = 14."),
    ("", "Simplify (c + 1)(c + 4) = c^2 + 4c + 10."),
    ("", "Factor $(m + 1)(m + 2) = m^2 + 2m + 8$."),
    # What is simplified or rewritten is an equation.
    ("", "Simplifying, y(y + 3) = y^2 + 12."),
    ("The two areas agree.", "Rewriting, $t^2(t + 2) = t^3 + 5t$."),
    ("", "Combining terms, we have n(n + 5) = n^2 + 20."),
    ("", "Factoring, x(x + 4) = x^2 + 8."),
    # An operation is defined in the step, or before it.
    ("Let $u * v = u + v - 2$.", "$5 * 4 = 7$"),
    ("", "As p × q = pq + p, 3 × 5 = 18."),
    ("", "With the operation r ∗ s = r² − s, 4 ∗ 5 = 11."),
    ("", "Let the operation + be the larger of both: 6 + 2 = 6."),
    # Equations are supposed, or quoted.
    ("", "If 2 + 3 = 5, 3 + 4 = 14, 4 + 5 = 27, then 5 + 6 = 44."),
    ("", "Were 4 × 6 = 26, the last digit would differ."),
    ("", "Had it been 9 + 9 = 19, one coin would be left."),
    ("", "One may think 1/3 + 1/4 = 2/7."),
    ("", "I first got 23 - 9 = 15, and it is 14."),
    # Pi counts primes or permutes, and i is an index.
    ("", r"The primes up to 30: $\pi(30) = 10$."),
    ("", "π(3) = 1 and π(1) = 2"),
    ("", "The sum over i: i^2 = 1 + 4 = 5"),
    # A comparison is required, denied or tried.
    ("", "The triangle inequality requires 1 + 2 > 4."),
    ("", "7 + 8 ≠ 15 on a clock"),
    # The equation has no solution, or some, and is not a rewriting.
    ("", "Simplifying: 2x + 1 = 2x + 4, so ∅."),
    ("", "The curves meet where y = x^2 + 2x = x^2 + 6."),
    ("", "\\sqrt{x+2} = \\sqrt{x+5} has none"),
    ("", "Keeping linear terms, expanding gives (1 + h)^2 = 1 + 2h"),
    ("", "For perpendicular vectors, expanding, (a + b)^2 = a^2 + b^2"),
    # The second statement is another thought, or follows from an earlier one.
    ("", "2x = 8 so x = 4 then 3x = 15 so x = 5."),
    ("", "60t = 30, so t = 30 because a minute is a sixtieth."),
    ("", "x = √9 + 16, so x = 5"),
    ("", "d = 3 + 4 ⇒ d = 14 round trip"),
    ("", "2x + 3y = 12\n3x + 2y = 13\nAdding both sides:\n5x + 5y = 25"),
    ("", "$x<0$ $\\Rightarrow$ left, $x>0$ $\\Rightarrow$ right"),
    ("", "x = 3 at t = 0. At t = 1, 2x + 1 = 2·5 + 1 = 11."),
    # The words behind a number belong to it.
    ("", "So 15 is divisible by 2 more than 3."),
    ("", "So 12 is a perfect square times 3."),
    ("", "The square of gcd(12, 18) = 36."),
    ("", "100 ≡ 1 (mod 7), no; 100 ≡ 2 (mod 7), yes."),
)

# Questions whose equations are false in ordinary arithmetic, and steps that repeat or use them.
PUZZLE = "If 1 + 3 = 4, 2 + 4 = 10 and 3 + 5 = 18, what is 6 + 8?"
QUESTIONS = (
    (PUZZLE, "2 + 4 = 10"),
    (PUZZLE, "The rows are 1 + 3 = 4, 2 + 4 = 10, 3 + 5 = 18."),
    (PUZZLE, "So 6 + 8 = 54."),
    ("If 3 * 2 = 15 and 6 * 1 = 42, find 4 * 2.", "3 * 2 = 3(3 + 2) = 15"),
    ("Which is true? (A) 0.2^2 = 0.4 (B) 0.2^2 = 0.04", "(A) 0.2^2 = 0.4: no."),
    (r"Is (A) $\sqrt{18} = 2\sqrt{3}$ true?", r"(A) $\sqrt{18} = 2\sqrt{3}$"),
)
# False steps near these kinds, with some of their words.
FALSE_STEPS = (
    "If x = 3, then y = 4. The sum is 3 + 4 = 8.",
    "Let c = a × b. Then 3 × 4 = 13.",
    "Expanding, (y + 1)(y^2 + 2) = y^3 + y^2 + 3y + 4.",
    "Factoring, y^3 + y^2 + 3y + 4 = (y + 1)(y^2 + 2).",
    "Simplifying, 4(y + 2) - 2y = 2y + 6.",
    r"The circumference is $2\pi \cdot 5 = 12\pi$.",
    "As complex numbers, (1 + i)^2 = 3i.",
)


@pytest.mark.parametrize(("previous", "step"), STEPS)
def test_misleading_step_is_not_incorrect(previous: str, step: str) -> None:
    claim = StepClaim(question="", previous=(previous,) if previous else (), step=step)
    for verifier in (Algebra(), Arithmetic()):
        finding = verifier.verify(claim)
        assert finding.verdict is not Verdict.INCORRECT, finding


@pytest.mark.parametrize(("question", "step"), QUESTIONS)
def test_equation_of_puzzle_is_not_incorrect(question: str, step: str) -> None:
    claim = StepClaim(question=question, previous=(), step=step)
    for verifier in (Algebra(), Arithmetic()):
        finding = verifier.verify(claim)
        assert finding.verdict is not Verdict.INCORRECT, finding


@pytest.mark.parametrize("step", FALSE_STEPS)
def test_similar_false_step_is_incorrect(step: str) -> None:
    claim = StepClaim(question="", previous=(), step=step)
    verdicts = [verifier.verify(claim).verdict for verifier in (Algebra(), Arithmetic())]
    assert Verdict.INCORRECT in verdicts
