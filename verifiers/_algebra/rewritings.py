"""An equation between expressions with variables: a rewriting, true or false for all values, or a condition that says what the values are.

`x² + 2x = 7` is no false rewriting but a condition. An equation is called false where it has no solution at all, or where it is plainly a
rewriting that fails at every sample point and under every condition stated of its variables: both sides have the same variables and
much in common, and it stands behind the first link of a chain (`a = b = c`) or is announced as an expansion, a factoring, a
simplification of an expression.
"""

from fractions import Fraction

from stepmark.records import Verdict
from verifiers._algebra.closed_forms import Judgement, has_decimals
from verifiers._algebra.contexts import Condition, Context
from verifiers._algebra.formulas import Call, Tree, names
from verifiers._algebra.identities import Equality, Relation, compare
from verifiers._algebra.ratios import in_common, likeness, numerators, ratios, univariate
from verifiers._algebra.statements import Chain, Link

__all__ = ["judge_open"]

ANNOUNCING = ("factor", "expand", "simplif", "rewrit", "distribut", "multiply out", "rationaliz", "combin")
SOLVING = [
    "equation",
    "side",
    "becomes",
    "substitut",
    "solve",
    "solving",
    "equal",
    "equat",
    "set",
    "given",
    "condition",
    "need",
    "want",
    "must",
]
"""Words, or beginnings of words, that announce an equation."""
WINDOW = 14
"""How many words before a chain can announce it."""
LIKE = Fraction(1, 2)
LIKE_IN_CHAIN = Fraction(1, 4)
"""Enough in a chain of one variable. Of several, one may stand for another by a condition that is told in words only."""
CONDITION = "a condition on variables"


def judge_open(link: Link, left: Tree, right: Tree, chain: Chain, context: Context) -> Judgement:
    """The verdict and why."""
    relation = compare(left, right)
    if relation.equality is Equality.ALWAYS:
        return Verdict.CORRECT, ""
    if has_decimals(left, right):
        return Verdict.UNKNOWN, "decimals may be rounded"
    if relation.equality is Equality.NEVER or _radicands_never_equal(left, right):
        doubt = "it may be tried or denied" if context.is_supposed else ""
    elif relation.equality is Equality.NEVER_SEEN:
        doubt = _doubt(link, (left, right), relation, chain, context)
    else:
        doubt = CONDITION
    return (Verdict.UNKNOWN, doubt) if doubt else (Verdict.INCORRECT, f"the sides differ, as at {relation.where}")


def _radicands_never_equal(left: Tree, right: Tree) -> bool:
    match left, right:
        case Call("root", (a, n)), Call("root", (b, m)) if n == m:
            return compare(a, b).equality is Equality.NEVER
        case _:
            return False


def _doubt(link: Link, sides: tuple[Tree, Tree], relation: Relation, chain: Chain, context: Context) -> str:
    """Why an equation that fails at every sample point may be a condition; empty when it is a rewriting."""
    if names(sides[0]) != names(sides[1]) or relation.left is None:
        return CONDITION
    if context.is_supposed:
        return "it may be tried or denied"
    if not (_is_announced(chain, relation) if link.index == 0 else _goes_on(relation)):
        return CONDITION
    return "a condition may make it true" if any(_bears(condition, sides) for condition in context.conditions) else ""


def _is_announced(chain: Chain, relation: Relation) -> bool:
    """Whether the words before a chain say that an expression is rewritten, and not an equation."""
    text = " ".join(chain.before[-WINDOW:])
    announced = any(stem in text for stem in ANNOUNCING) and not any(stem in text for stem in SOLVING)
    return announced and likeness(relation.left, relation.right) >= LIKE


def _goes_on(relation: Relation) -> bool:
    """Whether the sides look like one expression written twice: shared terms, shared factors, or one term with two coefficients."""
    left, right = relation.left, relation.right
    if len(left) == 1 and len(right) == 1:
        return bool(left.monoms() == right.monoms())
    enough = LIKE_IN_CHAIN if univariate(left - right) else LIKE
    return likeness(left, right) >= enough or in_common(left, right) > LIKE


def _bears(condition: Condition, sides: tuple[Tree, Tree]) -> bool:
    """Whether a condition restricts the variables so that the sides may be equal."""
    if not condition.names <= names(sides[0]) or {condition.left, condition.right} == set(sides):
        return False
    if compare(condition.left, condition.right).equality is Equality.ALWAYS:
        return False
    made = ratios(condition.left, condition.right, *sides)
    if made is None or not all(ratio.below for ratio in made):
        return True
    (a, b), (c, d) = numerators(made[0], made[1]), numerators(made[2], made[3])
    restriction, difference = a - b, c - d
    if restriction.is_ground or not (univariate(restriction) and univariate(difference)):
        return not restriction.is_ground
    common, undefined = restriction.gcd(difference), made[2].below * made[3].below
    while not common.is_ground and not (pole := common.gcd(undefined)).is_ground:
        common = common.exquo(pole)
    return not common.is_ground
