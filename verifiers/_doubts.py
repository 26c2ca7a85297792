"""Why an equation whose numbers disagree may be right all the same: its units, its percent signs, the way people write chains.

What is not covered: conversions between units that are not listed in the lexicon, where only the names tell the sides apart.
"""

from verifiers._equations import Equation
from verifiers._expressions import Combined, Literal, Node, bare, leaves, value
from verifiers._lexicon import FAMILIES

__all__ = ["doubt_of", "mixes_percentages", "says_nothing"]

COMPARING = frozenset(["more", "less", "fewer"])


def doubt_of(equation: Equation, left: Node, right: Node) -> str:
    """Why an equation whose numbers disagree need not be false."""
    if bare(left) is not None and bare(right) is not None:
        return "two numbers, no arithmetic"
    if any(mixes_percentages(side) for side in (left, right)):
        return "a percentage is added to a number"
    if any(bare(a) is not None and not _is_percentage(a) and _is_percentage(b) for a, b in ((left, right), (right, left))):
        return "a percentage of something"
    if value(left) == -(value(right) or 0) and not COMPARING.isdisjoint(equation.text.split()):
        return "a difference without its sign"
    if equation.runs_on and next(leaves(right)).value == value(left):
        return "a running calculation"
    units = [set(literal.unit) for literal in (*leaves(left), *leaves(right))]
    families = [FAMILIES[unit] for unit in set().union(*units) if unit in FAMILIES]
    if len(families) > len(set(families)):
        return "units that convert into one another"
    if not _adds_like(left) or not _adds_like(right):
        return "different units are added"
    of_left, of_right = _units(left), _units(right)
    return "the sides have different units" if of_left and of_right and not of_left & of_right else ""


def says_nothing(left: Node, right: Node) -> bool:
    """`5 = 5`, and `1 hour = 1 minute`: two plain numbers."""
    return all(literal is not None and not literal.percent for literal in (bare(left), bare(right)))


def mixes_percentages(node: Node) -> bool:
    """Whether, as in `$100 - 20%`, a percentage and a plain number are added."""
    match node:
        case Literal():
            return False
        case Combined(operator, left, right):
            mixed = operator in "+-" and _is_percentage(left) is not _is_percentage(right)
            return mixed or mixes_percentages(left) or mixes_percentages(right)
        case _:
            return mixes_percentages(node.operand)


def _is_percentage(node: Node) -> bool:
    return all(literal.percent for literal in leaves(node))


def _adds_like(node: Node) -> bool:
    """Whether the terms of every sum share a unit, where they name one."""
    match node:
        case Literal():
            return True
        case Combined(operator, left, right):
            of_left, of_right = _units(left), _units(right)
            unlike = operator in "+-" and of_left and of_right and not of_left & of_right
            return not unlike and _adds_like(left) and _adds_like(right)
        case _:
            return _adds_like(node.operand)


def _units(node: Node) -> set[str]:
    return set[str]().union(*(literal.unit for literal in leaves(node)))
