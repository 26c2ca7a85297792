"""Judge one link of a chain by its topic: numbers, complex numbers, or formulas with variables."""

from stepmark.records import Verdict
from verifiers.algebra_rules.closed_forms import Judgement, judge_closed, judge_complex
from verifiers.algebra_rules.contexts import Context
from verifiers.algebra_rules.rewritings import CONDITION, judge_rewriting
from verifiers.algebra_rules.statements import Chain, Link
from verifiers.algebra_rules.substitutions import judge_function_value, judge_substitution
from verifiers.math.syntax import PI, Call, Combined, Name, Negated, Tree, names, walk

RELATIONS = ("=", "≈", "<", ">", "≤", "≥", "≠")


def judge(link: Link, chain: Chain, context: Context) -> Judgement | None:
    """Return the verdict and the reason; None for a link that only gives a name a value."""
    left = link.left.tree
    right = link.right.tree
    if left is None or right is None or link.relation not in RELATIONS:
        return Verdict.UNKNOWN, "not understood"
    if _mixes_angle_units(left, right):
        return Verdict.UNKNOWN, "angles in different units"
    if not names(left) and not names(right):
        return judge_closed(link, left, right, context)
    if link.relation != "=":
        return Verdict.UNKNOWN, CONDITION
    if isinstance(left, Name):
        return None if left.argument is None else judge_function_value(left, right, context)
    if names(left) | names(right) == {"i"} and context.is_complex:
        return judge_complex(left, right)
    if not names(right):
        return judge_substitution(link, left, right, context)
    if isinstance(right, Name):
        return Verdict.UNKNOWN, CONDITION
    return judge_rewriting(link, left, right, chain, context)


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
