r"""Read inequalities of one variable as sets: `x > 2`, `1 < 2x + 1 \le 3`, `|x| < 2`, `x \ne 3`.

Linear inequalities are solved exactly. Those of several variables stay inequalities.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from verifiers.answer_forms import forms, real_sets
from verifiers.answer_forms.forms import Form
from verifiers.answer_forms.quantities import read_quantity
from verifiers.answer_forms.sequences import Tokens, cut, outside_brackets
from verifiers.math.dialects.answers import parse
from verifiers.math.lexer import Kind
from verifiers.math.syntax import Call, Combined, Negated, Tree, UnreadError, names


class _Sign(NamedTuple):
    """The meaning of an inequality sign."""

    includes_bound: bool
    is_ascending: bool
    """Whether the greater side is on the right."""


INEQUALITIES = {
    "<": _Sign(includes_bound=False, is_ascending=True),
    "\\le": _Sign(includes_bound=True, is_ascending=True),
    ">": _Sign(includes_bound=False, is_ascending=False),
    "\\ge": _Sign(includes_bound=True, is_ascending=False),
}


def read_inequality(sequence: Tokens) -> Form:
    r"""Read `x > 2`, `1 < x \le 3` and other linear inequalities, also in a chain."""
    sides = list(cut(sequence, tuple(INEQUALITIES)))
    outer = [token.text for token in outside_brackets(sequence)]
    signs = [text for text in outer if text in INEQUALITIES]
    directions = {INEQUALITIES[sign].is_ascending for sign in signs}
    if len(directions) > 1 or len(sides) > 3:
        raise UnreadError("an inequality that is not understood")
    if directions == {False}:
        sides.reverse()
        signs.reverse()
    return _bounds(sides, signs) or _solved(sides, signs)


def _bounds(sides: Sequence[Tokens], signs: Sequence[str]) -> Form | None:
    r"""Return the interval of a variable with one or two bounds, such as `1 < x \le \sqrt{3}`.

    The sides ascend. None for other inequalities: without a side that is only a variable, or with a
    bound that contains a variable.
    """
    positions = [index for index, side in enumerate(sides) if _is_name(side)]
    if len(positions) != 1 or (len(sides) == 3 and positions != [1]):
        return None
    position = positions[0]
    low: Form = forms.Infinite(False)
    high: Form = forms.Infinite(True)
    opening = "("
    closing = ")"
    # The sign of index i is between the sides i and i + 1.
    for index, sign in enumerate(signs):
        includes_bound = INEQUALITIES[sign].includes_bound
        is_low = index < position
        bound = read_quantity(sides[index if is_low else index + 1])
        if names(bound.tree):
            return None
        if is_low:
            low = bound
            opening = "[" if includes_bound else "("
        else:
            high = bound
            closing = "]" if includes_bound else ")"
    variable = sides[position][0].text
    interval = forms.Bracketed((low, high), opening + closing, bounds=True)
    return forms.Assigned(variable, interval)


def _is_name(side: Tokens) -> bool:
    return len(side) == 1 and side[0].kind is Kind.NAME and side[0].text not in ("e", "i")


def _solved(sides: Sequence[Tokens], signs: Sequence[str]) -> Form:
    """Solve linear inequalities in a chain, whose sides ascend."""
    total = real_sets.REALS
    variables = set[str]()
    for (low, high), sign in zip(pairwise(sides), signs, strict=True):
        lower = parse(low)[0]
        upper = parse(high)[0]
        variables |= names(lower) | names(upper)
        part = _solution(lower, upper, is_strict=not INEQUALITIES[sign].includes_bound)
        if isinstance(part, forms.Inequality):
            if len(signs) > 1:
                raise UnreadError("several inequalities in several variables")
            return part
        total = real_sets.intersection(total, part)
    if len(variables) != 1:
        raise UnreadError("inequalities in several variables")
    return _assigned_set(variables.pop(), total)


def _solution(lower: Tree, upper: Tree, *, is_strict: bool) -> forms.Union | forms.Inequality:
    """Return where `lower` is less than `upper`; either may be an absolute value."""
    match lower, upper:
        case Call("abs", (inner,)), _ if not names(upper):
            # |a| < c means a < c and -a < c.
            parts = (Combined("-", upper, inner), Combined("+", upper, inner))
        case _, Call("abs", (inner,)) if not names(lower):
            # c < |a| means c < a or c < -a.
            parts = (Combined("-", inner, lower), Combined("-", Negated(inner), lower))
        case _:
            return real_sets.solution(Combined("-", upper, lower), is_strict=is_strict)
    first, second = [real_sets.solution(part, is_strict=is_strict) for part in parts]
    if isinstance(first, forms.Inequality) or isinstance(second, forms.Inequality):
        raise UnreadError("an absolute value of several variables")
    if names(lower):
        return real_sets.intersection(first, second)
    return real_sets.union([*first.items, *second.items])


def read_unequal(sequence: Tokens) -> Form:
    r"""Read `x \ne 3` as all real numbers except one."""
    sides = cut(sequence, ("\\ne",))
    if len(sides) != 2:
        raise UnreadError("several values are excluded")
    if not _is_name(sides[0]):
        sides = sides[::-1]
    value = read_quantity(sides[1])
    if not _is_name(sides[0]) or names(value.tree):
        raise UnreadError("an inequality that is not understood")
    return forms.Assigned(sides[0][0].text, real_sets.without_point(value))


def combined_sets(items: Sequence[Form], separators: Sequence[str]) -> forms.Assigned | None:
    """Return the set that several inequalities of one variable describe, such as `x > 1, x < 3`.

    None if an item is not a set of real numbers, if variables differ, or if all items are points.
    """
    assigned = [item for item in items if isinstance(item, forms.Assigned)]
    variables = {item.name for item in assigned}
    if len(assigned) < len(items) or len(variables) > 1:
        return None
    if not any(_is_region(item.form) for item in assigned):
        return None
    sets = [real_sets.set_of(item.form) for item in assigned]
    known_sets = [real_set for real_set in sets if real_set is not None]
    if len(known_sets) < len(sets):
        return None
    total = known_sets[0]
    for real_set in known_sets[1:]:
        if "or" in separators:
            total = real_sets.union([*total.items, *real_set.items])
        else:
            total = real_sets.intersection(total, real_set)
    # `x < 1, x > 3` means either of them.
    if "or" not in separators and not total.items:
        raise UnreadError("inequalities without a common value")
    return _assigned_set(variables.pop(), total)


def _is_region(form: Form) -> bool:
    """Return whether a form is a set of real numbers, and no point."""
    if isinstance(form, forms.Bracketed):
        return form.is_interval
    return isinstance(form, forms.Union)


def _assigned_set(variable: str, real_set: forms.Union) -> forms.Assigned:
    """Return a set of values of a variable, as an interval or a value where it is only one."""
    if len(real_set.items) == 1:
        value = real_sets.only_value(real_set)
        if value is not None:
            return forms.Assigned(variable, value)
        return forms.Assigned(variable, real_set.items[0])
    return forms.Assigned(variable, real_set)
