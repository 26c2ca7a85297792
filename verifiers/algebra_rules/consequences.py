r"""Find statements that contradict the statement directly before them.

Examples: `2x + 3 = 7` simplifies to `2x = 5`; `-2x > 4`, dividing both sides by -2, `x > -2`;
`S = 9 · 6`, and directly behind it `S = 45`. Between the two statements are only words of rewriting
("simplifying we get", "so", "⇒", "subtracting 3 from both sides") or nothing. The second is false
if

- no root of the first, as a polynomial in one variable, is a root of the second;
- the two have several variables and no common factor;
- an inequality in one variable holds exactly at those sample points where the first does not;
- it gives the same name another value, and of two numbers the first contains more arithmetic: the
  second is its result. A number that is 60 or 100 times the other may have another unit.

After words such as "so", a simple arrow or the end of a sentence, the second statement may use
another fact: `3x = 20, so x = 7 buses`, `n = 3 → n = 10`. What is false then is a suspicion.

What is not covered: systems of equations, equations with roots or functions, inequalities that are
wrong but not reversed, names whose value changes (running totals, a product that is computed factor
by factor), values in different units.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise

from verifiers.algebra_rules import values
from verifiers.algebra_rules.contexts import Context
from verifiers.algebra_rules.finite_sums import all_terms_of
from verifiers.algebra_rules.identities import Equality, compare
from verifiers.algebra_rules.ratios import Polynomial
from verifiers.algebra_rules.stated_equations import (
    FLATTENED,
    converts_unit,
    has_lost_bar,
    in_line,
    may_be_rounded,
    polynomials,
)
from verifiers.algebra_rules.statements import Chain, Link, Side
from verifiers.math import lexicon, syntax
from verifiers.math.findings import StepJudgement, false
from verifiers.math.syntax import Name, Number, Tree, UndefinedError, has_decimals, names, walk

VALUE_OF_NAME = "value of a name"
REVERSED = "reversed inequality"
CONSEQUENCE = "consequence"
ALTERNATIVE = frozenset(["or", "and"])
# "Solving 2x - 4 = 8" and "simplifying 2x - 4 = 8" state another equation.
STARTING = lexicon.words(
    "solving solve simplifying simplify expanding expand combining combine rearranging rearrange"
    " rewriting rewrite factoring factor"
)
NO_OTHER_FACT = "a conclusion is drawn from the statement before it"
MAX_WORDS = 24
# So many statements before a false one are compared with it.
MAX_EARLIER = 8
# Half-integers are so dense that only inequalities whose bounds nearly meet look opposite.
DENSE_POINTS = [Fraction(halves, 2) for halves in range(-25, 26)]
POINTS = [*DENSE_POINTS, Fraction(-301), Fraction(-40), Fraction(40), Fraction(301)]
# The relative error that decimals are allowed.
CLOSE = Fraction(1, 50)
# The relative error of a float.
EXACT = Fraction(1, 10**12)
NOT_ROUNDED = "a value that is not whole is not rounded"
SAME_MEANING = "the words behind a statement do not change its meaning"
# Factors between common units.
CONVERSIONS = frozenset(Fraction(factor) for factor in (12, 24, 60, 100, 1000, 3600))
Equation = tuple[Tree, Tree]


def contradictions(context: Context) -> Iterator[tuple[str, StepJudgement]]:
    """Yield every false statement with its judgement."""
    for before, after in pairwise((*context.last_before, *context.chains)):
        words = after.before
        if not _is_passage(words) or (words and words[-1] in STARTING):
            continue
        near = (*before.before[-2:], *after.before, *after.after[:2])
        if not ALTERNATIVE.isdisjoint(near):
            continue
        changes_both_sides = not lexicon.OPERATING.isdisjoint(words) and "sides" in words
        is_restated = changes_both_sides or not lexicon.RESTATING.isdisjoint(words)
        judgement = _contradiction(before, after, context, is_restated=is_restated)
        if judgement is not None and (is_restated or before in context.chains):
            yield after.text, judgement


def _contradiction(
    before: Chain, after: Chain, context: Context, *, is_restated: bool
) -> StepJudgement | None:
    assumptions = tuple(_assumptions(before, after, is_restated=is_restated))
    if _describe_same_name(before, after):
        reason = _contradiction_of_values(before, after, is_restated=is_restated)
        if not reason:
            return None
        return false(VALUE_OF_NAME, reason, context.cases, *assumptions)
    reason = f"it does not follow from {before.text}"
    is_concluded = not lexicon.CONCLUDING.isdisjoint(after.before)
    may_follow = is_restated or is_concluded
    is_next = not after.before and before.sides[0] != after.sides[0]
    if (is_next or may_follow) and _is_reversed(before, after):
        return false(REVERSED, reason, *assumptions)
    if not may_follow:
        return None
    is_rounded = may_be_rounded(context.claim.step)
    if not _does_not_follow(before, after, is_restated=is_restated, is_rounded=is_rounded):
        return None
    if _follows_from_earlier(before, after, context):
        return None
    division = in_line(before, after)
    return false(CONSEQUENCE, reason, division, *assumptions)


def _follows_from_earlier(before: Chain, after: Chain, context: Context) -> bool:
    """Return whether a statement follows from an earlier equation of the step.

    It may be one of its roots, or its sum or difference with the last statement: "Adding both
    sides" after two equations.
    """
    last = _equation(before)
    second = _equation(after)
    index = context.chains.index(after)
    for chain in context.chains[max(0, index - MAX_EARLIER) : index]:
        earlier = _equation(chain)
        if last is None or second is None or earlier is None:
            continue
        made = polynomials(*last, *second, *earlier)
        if made is None:
            continue
        p, q, r = made
        if any(not combined.gcd(q).is_ground for combined in (r, r + p, r - p) if combined):
            return True
    return False


def _assumptions(before: Chain, after: Chain, *, is_restated: bool) -> Iterator[str]:
    """Yield the reasons why a statement that contradicts the one before it may be right."""
    if after.before and not is_restated:
        yield NO_OTHER_FACT
    sides = [side.tree for side in (*before.sides, *after.sides)]
    yield all_terms_of(*[tree for tree in sides if tree is not None])
    if _may_be_rounded_to_whole(before, after):
        yield NOT_ROUNDED
    following = "".join(after.after[:1])
    is_word = len(following) > 1 and following.isalpha()
    if is_word and following not in lexicon.CONCLUDING | lexicon.RESTATING | lexicon.CONNECTIVES:
        yield SAME_MEANING


def _may_be_rounded_to_whole(before: Chain, after: Chain) -> bool:
    """Return whether a whole number is next to the value that the statement before gives its name.

    After `2x = 15`, "so x = 8 boxes are needed" may be right.
    """
    left = before.sides[0].tree
    right = before.sides[-1].tree
    name = after.sides[0].tree
    number = after.sides[-1].tree
    if left is None or right is None or number is None or set(before.relations) != {"="}:
        return False
    value = values.rational_value(number)
    if not isinstance(name, Name) or value is None or value.denominator != 1:
        return False
    signs = set[int | None]()
    for neighbour in (value - 1, value + 1):
        try:
            signs.add(values.order(left, right, {name.text: neighbour}))
        except UndefinedError:
            return False
    # A root between the two is no whole number, because the value between them is no root.
    return signs == {-1, 1}


def _is_passage(words: Sequence[str]) -> bool:
    """Return whether the words between two statements only connect them."""
    for word in words:
        # A number or a name, as in "subtracting 3x", does not add a fact.
        is_name = len(word) == 1 and not word.isspace() and word not in "?&[]"
        if word not in lexicon.PASSAGE and not is_name and not word.replace(".", "").isdigit():
            return False
    return len(words) <= MAX_WORDS


def _does_not_follow(before: Chain, after: Chain, *, is_restated: bool, is_rounded: bool) -> bool:
    first = _equation(before)
    second = _equation(after)
    if first is None or second is None or has_lost_bar(first, second):
        return False
    variables = names(first[0]) | names(first[1])
    if variables != names(second[0]) | names(second[1]):
        return False
    made = polynomials(*first, *second)
    if made is None:
        return False
    p, q = made
    if p.is_ground or q.is_ground or not p.gcd(q).is_ground:
        return False
    decimals = has_decimals(*first, *second)
    if len(variables) > 1:
        return is_restated and not decimals
    if converts_unit(before, after):
        return False
    return not ((decimals or is_rounded) and _may_have_close_roots(p, q))


def _equation(chain: Chain) -> Equation | None:
    """Return the equation of a chain; a longer chain must begin with a name, its subject."""
    left = chain.sides[0].tree
    right = chain.sides[1].tree
    if left is None or right is None:
        return None
    if any(relation != "=" for relation in chain.relations) or FLATTENED.search(chain.text):
        return None
    return (left, right) if len(chain.sides) == 2 or isinstance(left, Name) else None


def _may_have_close_roots(p: Polynomial, q: Polynomial) -> bool:
    """Return whether the roots may be equal except for rounding; only linear ones are computed."""
    for polynomial in (p, q):
        if any(sum(monomial) > 1 for monomial in polynomial.itermonoms()):
            return True
    first = _root(p)
    second = _root(q)
    return abs(first - second) <= CLOSE * max(abs(first), abs(second))


def _root(linear: Polynomial) -> Fraction:
    ratio = linear.coeff(1) / linear.LC
    return -Fraction(int(ratio.numerator), int(ratio.denominator))


def _is_reversed(before: Chain, after: Chain) -> bool:
    """Return whether an inequality holds somewhere, and exactly where the first does not."""
    links = [*before.links(), *after.links()]
    variables = set[str]()
    for link in links:
        if link.relation not in values.INEQUALITIES:
            return False
        if link.left.tree is None or link.right.tree is None:
            return False
        variables |= names(link.left.tree) | names(link.right.tree)
    if len(links) > 2 or len(variables) != 1:
        return False
    # `x < 3`, and then `x > 3`: the other part of the line.
    if isinstance(before.sides[0].tree, Name) and _is_closed(before.sides[1]):
        return False
    variable = variables.pop()
    if "(" in variable:
        return False
    outcomes = set[bool]()
    for point in POINTS:
        first_holds = _holds(links[0], {variable: point})
        second_holds = _holds(links[1], {variable: point})
        if first_holds is None or second_holds is None:
            continue
        if first_holds is second_holds:
            return False
        outcomes.add(first_holds)
    return len(outcomes) == 2


def _is_closed(side: Side) -> bool:
    return side.tree is not None and not names(side.tree)


def _holds(link: Link, environment: Mapping[str, Fraction]) -> bool | None:
    """Return whether an inequality holds; None if it has no value or its sides are equal."""
    assert link.left.tree is not None
    assert link.right.tree is not None
    try:
        sign = values.order(link.left.tree, link.right.tree, environment, values.DECIMAL_BASE)
    except UndefinedError:
        return None
    if not sign:
        return None
    return sign in values.HOLDING_SIGNS[link.relation]


def _describe_same_name(before: Chain, after: Chain) -> bool:
    """Return whether both chains state a value of the same name."""
    name = before.sides[0].tree
    if not isinstance(name, Name) or name != after.sides[0].tree:
        return False
    return {*before.relations, after.relations[0]} == {"="}


def _contradiction_of_values(before: Chain, after: Chain, *, is_restated: bool) -> str:
    """Return why the second value of a name contradicts the first, or an empty string."""
    first = before.sides[-1].tree
    second = after.sides[1].tree
    if first is None or second is None or names(first) != names(second):
        return ""
    if names(first):
        if not is_restated or has_decimals(first, second):
            return ""
        equality = compare(first, second).equality
        is_false = equality in (Equality.NEVER, Equality.NEVER_SEEN)
    else:
        is_result = _operations(first) > _operations(second)
        # `9 apples` after `9 apples + 4 apples` is a part of it.
        is_part = before.sides[-1].text.startswith(f"{after.sides[1].text} ")
        is_comparable = is_result and not is_part and not converts_unit(before, after)
        is_false = is_comparable and _differ(first, second)
    if not is_false:
        return ""
    return f"it was {before.sides[-1].text}"


def _differ(first: Tree, second: Tree) -> bool:
    try:
        a = values.midpoint(values.evaluate(first, {}))
        b = values.midpoint(values.evaluate(second, {}))
    except UndefinedError:
        return False
    is_rounded = has_decimals(first, second) or a.denominator != 1
    if abs(a - b) <= (CLOSE if is_rounded else EXACT) * max(abs(a), abs(b)):
        return False
    # The second may continue from the first: `left = 50 - 10`, `left = 40 - 5`.
    is_calculation = not isinstance(second, Number | syntax.Negated)
    if is_calculation and syntax.numbers(second)[0].value == a:
        return False
    if a == 0 or b == 0:
        return True
    return CONVERSIONS.isdisjoint((abs(a / b), abs(b / a)))


def _operations(tree: Tree) -> int:
    return sum(isinstance(part, syntax.Combined | syntax.Call) for part in walk(tree))
