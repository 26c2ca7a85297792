r"""Compare one number with several numbers, and with an unbounded set: `5` with `\pm 5`, `x > 5`.

They are different answers, unless the text of the several numbers can be read as one number.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeGuard

from stepmark.records import Verdict
from verifiers.answer_forms import forms
from verifiers.answer_forms.forms import Form, Quantity
from verifiers.answer_forms.formulas import compare, judge_quantities
from verifiers.math.findings import Judgement
from verifiers.math.syntax import Call, Combined, Number, Tree, has_decimals, names

# The items of a list are compared in pairs.
MAX_ITEMS = 8
ZERO = Number(Fraction(0))
TWO = Number(Fraction(2))


def is_exact_number(form: Form) -> TypeGuard[Quantity]:
    """Return whether a form is a number without a unit, a percent sign or decimals."""
    if not isinstance(form, Quantity) or form.unit or form.percent:
        return False
    return not names(form.tree) and not has_decimals(form.tree)


def judge_number_and_list(number: Quantity, several: forms.Several) -> Judgement | None:
    """Return that one number is not several different ones; None where it may be."""
    items = [item for item in several.items if is_exact_number(item)]
    if len(items) < len(several.items) or not 1 < len(items) <= MAX_ITEMS:
        return None
    for index, item in enumerate(items):
        if not all(_are_different(item, other) for other in items[:index]):
            return None
    if _may_be_one_number(number, items):
        return None
    verdicts = {judge_quantities(item, number)[0] for item in items}
    if Verdict.UNKNOWN in verdicts:
        return None
    # A reference with `3 or 8` may accept each of them; `3 or -3` are the roots of an equation.
    may_be_alternatives = not several.is_set and not several.ordered and not _are_opposite(items)
    if Verdict.CORRECT in verdicts and may_be_alternatives:
        return None
    return Verdict.INCORRECT, "one number and several"


def judge_number_and_region(number: Quantity, region: forms.Bracketed) -> Judgement | None:
    """Return that a number and an unbounded interval differ; None for the end of the interval."""
    if not any(isinstance(end, forms.Infinite) for end in region.items):
        return None
    for end, bracket in zip(region.items, region.brackets, strict=True):
        # `x \ge 5` may state that 5 is the least value.
        if bracket in "[]" and isinstance(end, Quantity) and not _are_different(end, number):
            return None
    return Verdict.INCORRECT, "one number and an unbounded set"


def _are_different(left: Quantity, right: Quantity) -> bool:
    return judge_quantities(left, right)[0] is Verdict.INCORRECT


def _may_be_one_number(number: Quantity, items: Sequence[Quantity]) -> bool:
    r"""Return whether a list may be a number: `32, 349`, `1, 5`, `3 and 1/2` or `20 \pm 3`."""
    sources = [item.source for item in items]
    if "".join(sources) == number.source:
        return True
    total: Tree = ZERO
    sizes: Tree = ZERO
    for item in items:
        total = Combined("+", total, item.tree)
        sizes = Combined("+", sizes, Call("abs", (item.tree,)))
    readings: list[tuple[Tree, Tree]] = [(sizes, Call("abs", (number.tree,)))]
    if len(items) == 2:
        # A number with a tolerance is the mean of its bounds.
        readings.append((total, Combined("*", TWO, number.tree)))
        if all(source.isdecimal() for source in sources):
            readings.append((Number(Fraction(".".join(sources))), number.tree))
    return any(compare(left, right, {}).equal is not False for left, right in readings)


def _are_opposite(items: Sequence[Quantity]) -> bool:
    if len(items) != 2:
        return False
    total = Combined("+", items[0].tree, items[1].tree)
    return compare(total, ZERO, {}).equal is True
