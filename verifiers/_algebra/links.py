"""One link of a chain, judged by what it is about: numbers, complex numbers, or expressions with variables."""

from stepmark.records import Verdict
from verifiers._algebra.closed_forms import Judgement, judge_closed, judge_complex
from verifiers._algebra.contexts import Context
from verifiers._algebra.formulas import Call, Joined, Minus, Name, Tree, names, parts
from verifiers._algebra.rewritings import judge_open
from verifiers._algebra.statements import Chain, Link
from verifiers._algebra.substitutions import judge_called, judge_substituted
from verifiers._algebra.values import PI

__all__ = ["judge"]

RELATIONS = ("=", "≈", "<", ">", "≤", "≥", "≠")


def judge(link: Link, chain: Chain, context: Context) -> Judgement | None:
    """The verdict and why; None for a link that states nothing by itself: a name is given a value."""
    left, right = link.left.tree, link.right.tree
    if left is None or right is None or link.relation not in RELATIONS:
        return Verdict.UNKNOWN, "not understood"
    if _angles_unclear(left, right):
        return Verdict.UNKNOWN, "angles in unlike units"
    if not names(left) and not names(right):
        return judge_closed(link, left, right, context)
    if link.relation != "=":
        return Verdict.UNKNOWN, "a condition on variables"
    if isinstance(left, Name):
        return judge_called(left, right, context) if left.argument is not None else None
    if names(left) | names(right) == {"i"} and context.is_complex:
        return judge_complex(left, right)
    if not names(right):
        return judge_substituted(link, left, right, context)
    return (Verdict.UNKNOWN, "a condition on variables") if isinstance(right, Name) else judge_open(link, left, right, chain, context)


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
