"""Expressions and equations that are said to be the ones before them in another form."""

import pytest

from tests.verifiers.cases import result_of
from verifiers.algebra import Algebra
from verifiers.algebra_rules.restated_equations import MAX_INEQUALITIES, RESTATED
from verifiers.algebra_rules.rewritings import UNANNOUNCED
from verifiers.algebra_rules.rewritten_expressions import REWRITTEN
from verifiers.base import Finding, StepClaim

FALSE_EXPRESSIONS = (
    ("", "\\[ 2(x + 3) + x \\] Combining like terms: \\[ 3x + 5 \\]"),
    ("", "We have $(a + 2)(a - 5) + 1$. Expanding, we get $a^2 + 3a - 9$."),
    ("Start with \\[ 4y - (y - 2) \\]", "Simplifying, we get \\[ 3y - 2 \\]"),
    ("So \\[ (2y + 3)(y - 1) = 7 \\]", "Expanding the left side, we get \\[ 2y^2 + y + 3 \\]"),
    ("So \\[ 8 = (k + 2)(k + 3) \\]", "Expanding the right-hand side: \\[ k^2 + 5k + 5 \\]"),
    ("", "$$\\sqrt{2 \\cdot 6 \\cdot 3}$$ Combining the factors: $$\\sqrt{2^2 \\cdot 3^3}$$"),
    ("", "\\[ (-2d)(-d) + (3d)(d) \\] Calculating each term: \\[ 2d^2 - 3d^2 \\]"),
)
TRUE_EXPRESSIONS = (
    ("", "\\[ 2(x + 3) + x \\] Combining like terms: \\[ 3x + 6 \\]"),
    ("", "We have $(a + 2)(a - 5) + 1$. Expanding, we get $a^2 - 3a - 9$."),
    ("Start with \\[ 4y - (y - 2) \\]", "Simplifying, we get \\[ 3y + 2 \\]"),
    ("So \\[ (2y + 3)(y - 1) = 7 \\]", "Expanding the left side, we get \\[ 2y^2 + y - 3 \\]"),
    ("", "$$\\sqrt{2 \\cdot 6 \\cdot 3}$$ Combining the factors: $$\\sqrt{2^2 \\cdot 3^2}$$"),
)
OTHER_EXPRESSIONS = (
    ("", "$(a + b)^2 - a^2$. Expanding the square: $a^2 + 2ab + b^2$"),
    ("", "\\[ 2(x + 3) + x \\] The factor simplifies: \\[ x + 3 \\]"),
    ("", "$2(x + 1) + 3(x + 2)$. Simplifying the left summand: $2x + 2$"),
    ("\\[ 2(x + 3) + x \\]", "Simplify the expression, then double it: \\[ 6x + 12 \\]"),
    ("\\[ 12 + 18 + 30 \\]", "Factor out 6: \\[ 2 + 3 + 5 \\]"),
    # A part, another object, other words.
    ("", "\\[ (x + 1)(x + 2) + 4 \\] Expanding the first term: \\[ x^2 + 3x + 2 \\]"),
    ("", "\\[ \\frac{2(x + 1)}{x} \\] Expanding the numerator: \\[ 2x + 2 \\]"),
    ("", "We simplify $2(x + 1)$ first, and then we look at $x + 7$."),
    ("", "\\[ 3(x + 1) \\] Substituting and simplifying: \\[ 3x + 9 \\]"),
    ("So \\[ 4y - (y - 2) \\] is the area.", "Simplifying, we get \\[ 3y - 2 \\]"),
    ("", "$$\\sqrt{5 \\cdot 4 \\cdot 3 \\cdot 2}$$ Factoring out the $4$ gives $2\\sqrt{30}$."),
    ("", "$2(x + 1)$. Simplifying the coefficients for the sum, $2x + 3$."),
    ("", "Expanding $(x + 1)^2$. The derivative of $x^2$ simplifies to $2x$."),
    ("", "Simplifying: \\[ 0.5(x + 1) \\] Simplifying: \\[ 0.5x + 0.4 \\]"),
)
FALSE_EQUATIONS = (
    ("", "Adding yields $x^2 + y^2 + 2x = 2$, or $(x + 1)^2 + y^2 = 2$."),
    ("", "$\\frac{a_1}{a_2} + 1 = a_1$. Multiplying both sides by $a_2$, $a_1 + 1 = a_1 a_2$."),
    ("So \\[ ab = (a - c + c)b \\]", "Expanding the right side: \\[ ab = ab + 2cb \\]"),
    ("", "so $m^2 - 20 > 0$, which implies that $(m - 4)(m + 5) > 0$."),
    ("", "Thus $k^2 - 9 < 0$, that implies $(k + 1)(k - 5) < 0$."),
    ("So $\\tan^2 x = \\frac{9 - \\sqrt{5}}{2}$.", "Simplifying, $\\tan^2 x = 2 - \\sqrt{5}$."),
    (
        "We get $c_2 = 1 + \\frac{3}{7}$.",
        "Simplifying gives us the value of $c_2$: $c_2 = \\frac{11}{7}$.",
    ),
)
TRUE_EQUATIONS = (
    ("", "Adding yields $x^2 + y^2 + 2x = 2$, or $(x + 1)^2 + y^2 = 3$."),
    ("", "$\\frac{a_1}{a_2} + 1 = a_1$. Multiplying both sides by $a_2$, $a_1 + a_2 = a_1 a_2$."),
    ("So \\[ ab = (a - 2)(b + 3) \\]", "Expanding the right side: \\[ ab = ab + 3a - 2b - 6 \\]"),
    ("", "so $m^2 - m - 20 > 0$, which implies that $(m + 4)(m - 5) > 0$."),
    (
        "We get $c_2 = 1 + \\frac{3}{7}$.",
        "Simplifying gives us the value of $c_2$: $c_2 = \\frac{10}{7}$.",
    ),
    ("So $(b - 1)^2 = 3b + 1$.", "Expanding the left side, $(b - 1)^2 = b^2 - 2b + 1$."),
    # Alternatives, weaker and stronger statements, other facts.
    ("", "Thus $xy = 6$ or $x + y = 5$."),
    ("", "Thus $a + b = 10$ or $a + b = -1$."),
    ("", "$x^2 > 9$, which implies that $x > 3$ or $x < -3$."),
    ("", "$2x - 4 > 0$, which means $3x - 9 > 0$ is possible."),
    ("", "The first line is $x + 2y = 5$. The second line is $3x - y = 2$."),
    ("So $\\tan^2 x = 3$.", "In the other triangle, simplifying, $\\tan^2 x = 2$."),
)
FALSE_EXPANSIONS = (
    "We have $(m + n)^3 = m^3 + 3m^2 n + 6m n^2 + n^3$.",
    "(i + 1)(3 - 2i) = 3i + 3 - 4i - 2i^2",
    "So $b = \\frac{n d^2 + 4n^2 d - 6nd + 12n - 8 + n^3 - 6n^2}{d} = n^2 + 4nd - 6n"
    " + \\frac{12n - 8}{d}$.",
    "Now $(p - 2q)^2 = p^2 - 2pq + 4q^2$.",
    "Here $(a + b + c)^2 = a^2 + b^2 + c^2 + ab + bc + ca$.",
)
OTHER_EXPANSIONS = (
    "The larger square has $(x + 2)^2 = x^2 + 3x + 7$.",
    "Hence $(x + 2)(x + 3) = x^2 + 4x + 10$.",
    "Thus $(a + b)^2 = a^2 + b^2 + 12$.",
    "So $10(a + b) = 10a + b + 27$.",
    "We have $(m + n)^3 = m^3 + 3m^2 n + 3m n^2 + n^3$.",
    "Solve the equation $(x + 1)^2 = x^2 + 5x + 1$.",
    "The condition is $(p - 2q)^2 = p^2 - 2pq + 4q^2$.",
    "We need $(a + b)^2 = a^2 + 4b + 1$.",
    "Now $(x + 3)(x - 1) = 12$.",
    "The number is $n = 10a + b = ab + a + b$.",
)


def _finding(previous: str, step: str) -> Finding:
    return Algebra().verify(StepClaim(question="", previous=(previous,), step=step))


@pytest.mark.parametrize(("previous", "step"), FALSE_EXPRESSIONS)
def test_false_form_of_expression_is_suspected(previous: str, step: str) -> None:
    finding = _finding(previous, step)
    assert result_of(finding) == "suspicion", finding.reason
    assert finding.rule == REWRITTEN


@pytest.mark.parametrize(("previous", "step"), TRUE_EXPRESSIONS)
def test_true_form_of_expression_holds(previous: str, step: str) -> None:
    finding = _finding(previous, step)
    assert finding.holding == finding.checked >= 1, finding.reason


@pytest.mark.parametrize(("previous", "step"), OTHER_EXPRESSIONS)
def test_other_expression_is_not_suspected(previous: str, step: str) -> None:
    assert result_of(_finding(previous, step)) != "suspicion"


@pytest.mark.parametrize(("previous", "step"), FALSE_EQUATIONS)
def test_false_restated_equation_is_suspected(previous: str, step: str) -> None:
    finding = _finding(previous, step)
    assert result_of(finding) == "suspicion", finding.reason
    assert finding.rule == RESTATED


def test_number_of_compared_inequalities_is_bounded() -> None:
    right = "$m^2 - 32 > 0$, which implies $2m^2 - 64 > 0$."
    wrong = "$m^2 - 32 > 0$, which implies $(m - 4)(m + 8) > 0$."
    last_compared = " ".join([*[right] * (MAX_INEQUALITIES - 1), wrong])
    not_compared = " ".join([*[right] * MAX_INEQUALITIES, wrong])
    wrong_equation = "$4y - x^2 = 2$, which implies $8y - 2x^2 = 5$."
    assert _finding("", last_compared).rule == RESTATED
    assert result_of(_finding("", not_compared)) == "unknown"
    assert _finding("", f"{not_compared} {wrong_equation}").rule == RESTATED


@pytest.mark.parametrize(("previous", "step"), TRUE_EQUATIONS)
def test_other_equation_is_not_suspected(previous: str, step: str) -> None:
    assert result_of(_finding(previous, step)) not in ("suspicion", "incorrect")


@pytest.mark.parametrize("step", FALSE_EXPANSIONS)
def test_false_expansion_is_suspected(step: str) -> None:
    finding = _finding("", step)
    assert result_of(finding) == "suspicion", finding.reason
    assert UNANNOUNCED in finding.assumptions


@pytest.mark.parametrize("step", OTHER_EXPANSIONS)
def test_condition_is_not_suspected(step: str) -> None:
    assert result_of(_finding("", step)) != "suspicion"
