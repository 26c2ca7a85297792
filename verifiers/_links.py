"""One link of a chain, `left = right`: true for all values, false, or a condition that says what the values are.

`x² + 2x = 7` is no false identity but a condition. A link with variables is called false where it has no solution at all, or where it
is plainly a rewriting that is false at every sample point and under every condition stated of its variables: both sides have the same
variables and share terms, and it goes on with a chain (`a = b = c`: the links behind the first) or is announced as an expansion, a
factoring or a simplification of an expression.
"""

from fractions import Fraction

from stepmark.records import Verdict
from verifiers._contexts import Context
from verifiers._formulas import Call, Joined, Minus, Name, Number, Tree, names, parts
from verifiers._identities import Equality, Relation, compare
from verifiers._lexicon import ABOUT
from verifiers._ratios import in_common, likeness, numerators, ratios, univariate
from verifiers._statements import Chain, Link
from verifiers._values import PI, UndefinedError, differ, evaluate, midpoint

__all__ = ["judge"]

Judgement = tuple[Verdict, str]
REWRITING = ("factor", "expand", "simplif", "rewrit", "distribut", "multiply out", "rationaliz", "combin")
SOLVING = (
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
)
WINDOW = 14
"""How many words before a chain can announce it."""
LIKE = Fraction(1, 2)
LIKE_IN_CHAIN = Fraction(1, 4)
CLOSE = Fraction(1, 20)
"""Relative error up to which a value with decimals, or a rounded one, is not called false."""
ROUGHLY = Fraction(1, 10)
"""Relative error up to which "about" is not called false."""
ROUNDING = (
    frozenset(["round", "rounded", "rounding", "nearest", "estimate", "estimated", "approximate", "approximation", "decimal"]) | ABOUT
)


def judge(link: Link, chain: Chain, context: Context) -> Judgement | None:
    """The verdict and why; None for a link that states nothing by itself: a name is given a value."""
    left, right = link.left.tree, link.right.tree
    if left is None or right is None:
        return Verdict.UNKNOWN, "not understood"
    if link.relation not in ("=", "≈", "<", ">", "≤", "≥", "≠"):
        return Verdict.UNKNOWN, "a relation that is not understood"
    if _angles_unclear(left, right):
        return Verdict.UNKNOWN, "angles in unlike units"
    if not names(left) and not names(right):
        return _closed(link, left, right, context)
    if names(left) | names(right) == {"i"} and context.is_complex:
        return _complex(left, right)
    if link.relation != "=":
        return Verdict.UNKNOWN, "a condition on variables"
    if isinstance(left, Name) or isinstance(right, Name):
        return None if isinstance(left, Name) or names(left) != names(right) else (Verdict.UNKNOWN, "a condition on variables")
    return _open(link, left, right, chain, context)


def _closed(link: Link, left: Tree, right: Tree, context: Context) -> Judgement | None:
    try:
        a, b = evaluate(left, {}), evaluate(right, {})
    except UndefinedError:
        return Verdict.UNKNOWN, "no value"
    different = differ(a, b)
    if different is None:
        return Verdict.UNKNOWN, "too close to tell"
    a, b = midpoint(a), midpoint(b)
    if link.relation in ("=", "≈"):
        return _valued(link, left, right, (a, b), different, context)
    below, above = different and a < b, different and a > b
    holds = {"<": below, ">": above, "≤": not above, "≥": not below, "≠": below or above}[link.relation]
    if holds:
        return Verdict.CORRECT, ""
    doubt = "it may be tried or denied" if context.is_supposed or link.index else ""
    return (Verdict.UNKNOWN, doubt) if doubt else (Verdict.INCORRECT, f"{_number(a)} against {_number(b)}")


def _valued(link: Link, left: Tree, right: Tree, values: tuple[Fraction, Fraction], different: bool, context: Context) -> Judgement | None:
    """Two values that should be equal; sums and products of plain numbers are arithmetic's to call false."""
    a, b = values
    if not different or _rounds(left, b, a) or _rounds(right, a, b):
        return None if isinstance(left, Number) and isinstance(right, Number) else (Verdict.CORRECT, "")
    relative = abs(a - b) / max(abs(a), abs(b))
    decimal = any(isinstance(part, Number) and part.decimals for side in (left, right) for part in parts(side))
    whole = isinstance(right, Number) and not ROUNDING.isdisjoint(context.claim.step.lower().split())
    if relative <= ROUGHLY and link.relation == "≈":
        return Verdict.UNKNOWN, "off by rounding at most"
    if (decimal or isinstance(right, Number)) and (relative <= CLOSE or whole):
        return Verdict.UNKNOWN, "off by rounding at most"
    if not _is_closed_form(left) and not _is_closed_form(right):
        return Verdict.UNKNOWN, "plain arithmetic"
    if isinstance(left, Minus | Number) and isinstance(right, Minus | Number):
        return Verdict.UNKNOWN, "two numbers"
    return Verdict.INCORRECT, f"the left side is {_number(a)}, the right side {_number(b)}"


def _is_closed_form(tree: Tree) -> bool:
    """Whether there is more to it than the four operations: a root, pi, a function, a factorial."""
    return any((isinstance(part, Call) and part.function != "degrees") or part == Name(PI) for part in parts(tree))


def _rounds(side: Tree, exact: Fraction, shown: Fraction) -> bool:
    """Whether the side is one decimal that shows the other one's value rounded."""
    while isinstance(side, Minus):
        side = side.operand
    return isinstance(side, Number) and side.decimals > 0 and abs(exact - shown) <= Fraction(1, 2 * 10**side.decimals)


def _complex(left: Tree, right: Tree) -> Judgement:
    square = Joined("+", Joined("^", Name("i"), Number(Fraction(2))), Number(Fraction(1)))
    made = ratios(left, right, square)
    if made is None or any(isinstance(part, Call) for side in (left, right) for part in parts(side)):
        return Verdict.UNKNOWN, "not understood"
    a, b = numerators(made[0], made[1])
    if not made[0].below.rem(made[2].above) or not made[1].below.rem(made[2].above):
        return Verdict.UNKNOWN, "no value"
    if not (a - b).rem(made[2].above):
        return Verdict.CORRECT, ""
    if any(isinstance(part, Number) and part.decimals for side in (left, right) for part in parts(side)) or "i" not in names(left):
        return Verdict.UNKNOWN, "off by rounding at most"
    return Verdict.INCORRECT, "the sides differ where i² = -1"


def _open(link: Link, left: Tree, right: Tree, chain: Chain, context: Context) -> Judgement:
    relation = compare(left, right)
    if relation.equality is Equality.ALWAYS:
        return Verdict.CORRECT, ""
    if relation.equality is Equality.NEVER or _radicands_never_equal(left, right):
        doubt = "it may be tried or denied" if context.is_supposed else ""
    elif relation.equality is Equality.NEVER_SEEN:
        doubt = _no_rewriting(link, left, right, relation, chain, context)
    else:
        doubt = "a condition on variables"
    if doubt or any(isinstance(part, Number) and part.decimals for side in (left, right) for part in parts(side)):
        return Verdict.UNKNOWN, doubt or "decimals may be rounded"
    return Verdict.INCORRECT, f"the sides differ{', as at ' if relation.where else ''}{relation.where}"


def _radicands_never_equal(left: Tree, right: Tree) -> bool:
    match left, right:
        case Call("root", (a, n)), Call("root", (b, m)) if n == m:
            return compare(a, b).equality is Equality.NEVER
        case _:
            return False


def _no_rewriting(link: Link, left: Tree, right: Tree, relation: Relation, chain: Chain, context: Context) -> str:
    """Why a link that no sample point satisfies may be a condition; empty when it is a rewriting."""
    if names(left) != names(right):
        return "a condition on variables"
    if relation.left is None or context.is_supposed:
        return "it may be tried or denied"
    if not (_is_announced(chain) if link.index == 0 else _goes_on(left, right, relation)):
        return "a condition on variables"
    if link.index == 0 and likeness(relation.left, relation.right) < LIKE:
        return "a condition on variables"
    return "a condition may make it true" if _may_be_conditioned(left, right, relation, context) else ""


def _is_announced(chain: Chain) -> bool:
    """Whether the words before a chain say that an expression is rewritten, and not an equation."""
    words = chain.before[-WINDOW:]
    text = " ".join(words)
    return any(stem in text for stem in REWRITING) and not any(stem in text for stem in SOLVING)


def _goes_on(left: Tree, right: Tree, relation: Relation) -> bool:
    """Whether the sides look like one expression written twice: they share terms, or are one term with two coefficients."""
    if len(relation.left) == 1 and len(relation.right) == 1:
        return bool(relation.left.monoms() == relation.right.monoms())
    return likeness(relation.left, relation.right) >= LIKE_IN_CHAIN or in_common(relation.left, relation.right) > LIKE


def _may_be_conditioned(left: Tree, right: Tree, relation: Relation, context: Context) -> bool:
    variables = names(left) | names(right)
    for condition in context.conditions:
        if (
            condition.names <= variables
            and {condition.left, condition.right} != {left, right}
            and _bears(condition.left, condition.right, left, right)
        ):
            return True
    return False


def _bears(left: Tree, right: Tree, a: Tree, b: Tree) -> bool:
    """Whether `left = right` restricts the variables so that `a = b` may hold."""
    equality = compare(left, right).equality
    if equality is Equality.ALWAYS:
        return False
    made = ratios(left, right, a, b)
    if made is None:
        return True
    one, other = numerators(made[0], made[1])
    third, fourth = numerators(made[2], made[3])
    condition, difference = one - other, third - fourth
    if not condition or condition.is_ground:
        return False
    if not (univariate(condition) and univariate(difference)):
        return True
    return not condition.gcd(difference).is_ground


def _angles_unclear(left: Tree, right: Tree) -> bool:
    """Whether degrees stand outside a sine on one side only, or beside pi."""
    of_left, of_right = _has_bare_degrees(left), _has_bare_degrees(right)
    return of_left is not of_right or (of_left and any(part == Name(PI) for side in (left, right) for part in parts(side)))


def _has_bare_degrees(tree: Tree) -> bool:
    match tree:
        case Call("degrees", _):
            return True
        case Minus(operand):
            return _has_bare_degrees(operand)
        case Joined(_, left, right):
            return _has_bare_degrees(left) or _has_bare_degrees(right)
        case _:
            return False


def _number(value: Fraction) -> str:
    return str(value) if value.denominator == 1 and abs(value) < 10**15 else f"{float(value):.6g}"
