"""Formulas that may be equal in another sense than as functions of their names.

`pi/2 + k*pi` and `k*pi - pi/2` are the same numbers for all whole k, `C*e^x` and `2*C*e^x` the same
functions for all C, and `A + B*C` and `(A + B)*(A + C)` the same circuit.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

from verifiers.answer_forms.formulas import rational_values
from verifiers.math.syntax import PI, Call, Combined, Negated, Tree, names, walk
from verifiers.program_answers.statements import Form, names_in, trees
from verifiers.program_answers.whole_exponents import WHOLE

# Constants of integration.
ARBITRARY = re.compile(r"[cC](?:_?\d+|\[\d+\])?|[kK](?:_?\d+|\[\d+\])")
MAX_SWITCHES = 4


def may_be_families(left: Form, right: Form) -> bool:
    """Return whether a name may have all values, so that other formulas are equal too."""
    variables = names_in(left) | names_in(right)
    if any(ARBITRARY.fullmatch(name) for name in variables):
        return True
    expressions = [*trees(left), *trees(right)]
    has_angle = any(PI in walk(tree) for tree in expressions)
    for name in variables & WHOLE:
        if has_angle or all(_is_linear(tree, name) for tree in expressions):
            return True
    return False


def _is_linear(tree: Tree, name: str) -> bool:
    """Return whether a name occurs only in sums and products with other factors."""
    if name not in names(tree):
        return True
    match tree:
        case Negated(operand):
            return _is_linear(operand, name)
        case Combined("+" | "-", left, right):
            return _is_linear(left, name) and _is_linear(right, name)
        case Combined("*", left, right):
            has_one = name not in names(left) or name not in names(right)
            return has_one and _is_linear(left, name) and _is_linear(right, name)
        case Combined("/", left, right):
            return name not in names(right) and _is_linear(left, name)
        case Combined() | Call():
            return False
        case _:
            return True


def may_be_circuits(left: Tree, right: Tree, variables: Sequence[str]) -> bool:
    """Return whether sums and products of capitals are equal as `or` and `and`."""
    are_switches = 0 < len(variables) <= MAX_SWITCHES and "".join(variables).isupper()
    if not are_switches:
        return False
    points = list[dict[str, Fraction]]()
    for values in product((Fraction(0), Fraction(1)), repeat=len(variables)):
        points.append(dict(zip(variables, values, strict=True)))
    first = rational_values(left, points)
    second = rational_values(right, points)
    if first is None or second is None:
        return False
    return [value != 0 for value in first] == [value != 0 for value in second]
