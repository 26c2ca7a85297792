r"""The algebra of a step: incorrect if a formula or a rewriting is false as written.

The checker decides, in plain text, LaTeX and Unicode:

- closed forms with roots, pi, sines at angles, logarithms, factorials, binomials and the imaginary
  unit, such as `\sqrt{50} = 5\sqrt{2}`: by exact fractions or intervals of forty digits;
- rewritings of expressions with variables, such as `(x + 1)^2 = x^2 + 2x + 1`: by sample points and
  sympy's polynomials;
- equations and inequalities that are transformed or solved: `2x + 3 = 7 ⇒ x = 3`;
- two consecutive values of one name: `S = 9 · 6 ⇒ S = 45`.

What it finds false among the following is a suspicion and no verdict (see
`verifiers.math.reliability`):

- comparisons of closed forms: `3/7 < 0.4`;
- conclusions that only words such as "so" announce: `2x + 3 = 7, so x = 3`;
- whole numbers in words: primes, squares, multiples, congruences, greatest common divisors,
  divisions with a remainder, digits, numbers in another base;
- the midpoint, the distance and the slope of two points;
- states after an exchange: `Ann and Bo swap: Ann: red, Bo: blue`;
- known values and definitions that are substituted: `x = 3` before, and then `x^2 + 2x = 9 + 5`;
  `f(x) = x^2 + 1` in the question, and then `f(3) = 11`;
- claimed values that do not solve a stated equation: `2x + 1 = 7`, and some words later `x = 4`;
- pairs that are claimed as solutions of equations in two names;
- equations that are derived from another one and have other roots;
- equations, inequalities and expressions that are said to be the ones before in another form;
- formulas that contain an expression with a stated value;
- linear equations and values that leave no common solution: `a + b = 7`, `a = 4` and `b = 2`;
- the sum and the product of the roots of a polynomial;
- identities of functions that the words announce: `recall that \sin 2x = 2 \sin x \cos x`;
- finite sums and products, with an index or with dots: `1 + 2 + \cdots + 100 = 5050`;
- the number, the sum and the product of items that the step lists;
- formulas for the value of a defined function: `f(x + 1) = x^2 + 2x + 3`.

The verdict is unknown if a side is not understood, if an equation may be a condition and not a
rewriting, if decimals may be rounded, if a condition stated before may make an equation true, if
the words try, deny or distinguish cases, or if another arithmetic may be meant. False sums and
products of plain numbers are left to the checker `arithmetic`.

What is not covered: whether the step follows, systems of equations that are not linear, vectors and
matrices, sets, calculus, remainders.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from stepmark.records import Verdict
from verifiers.algebra_rules.claimed_solutions import claimed_solutions
from verifiers.algebra_rules.closed_forms import judge_closed, judge_complex
from verifiers.algebra_rules.consequences import contradictions
from verifiers.algebra_rules.contexts import Context
from verifiers.algebra_rules.digits import digits
from verifiers.algebra_rules.exchanges import exchanges
from verifiers.algebra_rules.finite_sums import has_series, judge_sum_formula
from verifiers.algebra_rules.function_formulas import judge_function_formula
from verifiers.algebra_rules.known_expressions import known_expressions
from verifiers.algebra_rules.listed_items import listed_items
from verifiers.algebra_rules.number_facts import CONGRUENCE, number_facts
from verifiers.algebra_rules.points import points
from verifiers.algebra_rules.remainders import remainders
from verifiers.algebra_rules.restated_equations import restated_equations
from verifiers.algebra_rules.rewritings import CONDITION, judge_rewriting
from verifiers.algebra_rules.rewritten_expressions import rewritten_expressions
from verifiers.algebra_rules.solution_pairs import solution_pairs
from verifiers.algebra_rules.solution_sets import solution_sets
from verifiers.algebra_rules.stated_equations import Stated, is_chinese
from verifiers.algebra_rules.stated_identities import judge_stated_identity
from verifiers.algebra_rules.statements import Link
from verifiers.algebra_rules.substitutions import judge_function_value, judge_substitution
from verifiers.algebra_rules.systems import linear_systems
from verifiers.algebra_rules.vieta import root_sums
from verifiers.arithmetic_rules.equations import STARTS_TEXT
from verifiers.base import Claim, Finding, StepClaim
from verifiers.math import doubts
from verifiers.math.findings import StepJudgement, conclude, undecided, unknown
from verifiers.math.syntax import PI, Call, Combined, Name, Negated, Tree, names, walk

__all__ = ["Algebra"]

MAX_CHARS = 20_000
MAX_LINKS = 300
# A series is added term by term, at several sample points.
MAX_SERIES = 16
RELATIONS = ("=", "≈", "<", ">", "≤", "≥", "≠")
# The rules that compare what a step states with what it and the steps before state.
STATED_RULES = (claimed_solutions, solution_pairs, solution_sets, linear_systems, root_sums)
# The rules that read what a step says in words.
WORD_RULES = (number_facts, remainders, digits, points, listed_items)


@dataclass(frozen=True, kw_only=True)
class Algebra:
    """A checker of every formula in a step."""

    version: ClassVar[int] = 8

    def verify(self, claim: Claim) -> Finding:
        """Return the finding; its reason names the false statement or counts the true ones."""
        if not isinstance(claim, StepClaim):
            return unknown("not a step")
        if len(claim.step) > MAX_CHARS:
            return unknown("too long")
        context = Context(claim)
        if sum(len(chain.relations) for chain in context.chains) > MAX_LINKS:
            return unknown("too many statements")
        if _count_series(context) > MAX_SERIES:
            return unknown("too many sums and products")
        return conclude(_judgements(context), "no statement")


def _count_series(context: Context) -> int:
    """Return the number of sides in which a sum or a product over an index occurs."""
    count = 0
    for chain in context.chains:
        for side in chain.sides:
            count += side.tree is not None and has_series(side.tree)
    return count


def _judgements(context: Context) -> Iterator[tuple[str, StepJudgement]]:
    """Yield the statements and their judgements: of each formula, then of all of them together."""
    for index, chain in enumerate(context.chains):
        for link in chain.links():
            judgement = _judge(link, context)
            if judgement is not None:
                is_first = index == 0 and link.index == 0
                yield link.text, _with_doubts_of_link(link, judgement, context, is_first=is_first)
    for statement, judgement in _joint_judgements(context):
        yield statement, _with_doubts(judgement, context)


def _joint_judgements(context: Context) -> Iterator[tuple[str, StepJudgement]]:
    """Yield the judgements that need several formulas, or words."""
    yield from contradictions(context)
    if not is_chinese(context):
        stated = Stated(context)
        for rule in STATED_RULES:
            yield from rule(stated)
        yield from restated_equations(context)
        yield from rewritten_expressions(context)
        yield from known_expressions(context)
    yield from exchanges(context)
    for word_rule in WORD_RULES:
        yield from word_rule(context.claim.step)


def _with_doubts_of_link(
    link: Link, judgement: StepJudgement, context: Context, *, is_first: bool
) -> StepJudgement:
    """Return a false link with its doubts, and with those that its place in the text raises."""
    judgement = _with_doubts(judgement, context)
    if judgement.verdict is not Verdict.INCORRECT:
        return judgement
    assumptions = list(judgement.assumptions)
    if is_first and doubts.may_continue(context.claim):
        assumptions.append(STARTS_TEXT)
    if doubts.is_in_question(context.claim, link.text):
        assumptions.append(doubts.NOT_QUOTED)
    return judgement._replace(assumptions=tuple(dict.fromkeys(assumptions)))


def _with_doubts(judgement: StepJudgement, context: Context) -> StepJudgement:
    """Return a false statement with what the words and the steps before may change about it."""
    if judgement.verdict is not Verdict.INCORRECT:
        return judgement
    assumptions = [*judgement.assumptions, *context.doubts]
    if judgement.rule == CONGRUENCE:
        # A congruence says itself that it is one.
        assumptions = [name for name in assumptions if name != doubts.ORDINARY_ARITHMETIC]
    elif context.has_other_arithmetic and doubts.ORDINARY_ARITHMETIC not in assumptions:
        assumptions.append(doubts.ORDINARY_ARITHMETIC)
    return judgement._replace(assumptions=tuple(dict.fromkeys(assumptions)))


def _judge(link: Link, context: Context) -> StepJudgement | None:
    """Return the verdict and the reason; None for a link that only gives a name a value."""
    left = link.left.tree
    right = link.right.tree
    if left is None or right is None or link.relation not in RELATIONS:
        return undecided("not understood")
    if _mixes_angle_units(left, right):
        return undecided("angles in different units")
    if not names(left) and not names(right):
        return judge_closed(link, left, right, context)
    if link.relation != "=":
        return undecided(CONDITION)
    if isinstance(left, Name):
        value = judge_function_value(left, right, context)
        return value or judge_function_formula(link, left, right, context)
    if names(left) | names(right) == {"i"} and context.is_complex:
        return judge_complex(left, right, context)
    if not names(right):
        return judge_substitution(link, left, right, context)
    if isinstance(right, Name):
        return undecided(CONDITION)
    return _judge_formula(link, left, right, context)


def _judge_formula(link: Link, left: Tree, right: Tree, context: Context) -> StepJudgement:
    """Judge an equation between formulas with names; the rule that decides it is the first one."""
    judgement = judge_rewriting(link, left, right, context)
    if judgement.verdict is not Verdict.UNKNOWN:
        return judgement
    return (
        judge_stated_identity(link, left, right, context)
        or judge_sum_formula(left, right)
        or judgement
    )


def _mixes_angle_units(left: Tree, right: Tree) -> bool:
    """Return whether degrees outside a function are on one side only, or together with pi."""
    has_degrees = _has_bare_degrees(left)
    if has_degrees is not _has_bare_degrees(right):
        return True
    return has_degrees and (PI in walk(left) or PI in walk(right))


def _has_bare_degrees(tree: Tree) -> bool:
    match tree:
        case Call(function, _):
            return function == "degrees"
        case Negated(operand):
            return _has_bare_degrees(operand)
        case Combined(_, left, right):
            return _has_bare_degrees(left) or _has_bare_degrees(right)
        case _:
            return False
