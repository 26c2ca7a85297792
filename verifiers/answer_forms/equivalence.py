"""Decide whether two answers are equal, form by form.

    equal      forms that are equal part by part, options with the same letter, the same words
    different  parts in the same place that differ, options, days, yes and no
    unknown    everything else: different forms, a list in another order

Expressions and equations are compared by `verifiers.answer_forms.formulas`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stepmark.records import Verdict
from verifiers.answer_forms import forms, real_sets
from verifiers.answer_forms.forms import Form
from verifiers.answer_forms.formulas import has_value, judge_equations, judge_quantities
from verifiers.answer_forms.labels import have_different_labels
from verifiers.answer_forms.single_numbers import (
    is_exact_number,
    judge_number_and_list,
    judge_number_and_region,
)
from verifiers.math.findings import Judgement
from verifiers.math.lexicon import VOCABULARIES
from verifiers.math.syntax import UnreadError, names

MAX_PARTS = 64
# In lists and sets, every part is compared with every part.
MAX_LISTED = 24
# Names of whole numbers, for which n > 1 is n >= 2.
WHOLE_NUMBERS = frozenset("ijklmnpqNMK")
# Different names of the same function.
FUNCTION_OF_X = frozenset(["y", "f(x)", "g(x)", "h(x)", "p(x)", "P(x)", "y(x)"])
CORRECT = Verdict.CORRECT
INCORRECT = Verdict.INCORRECT
UNKNOWN = Verdict.UNKNOWN
DIFFERENT_KINDS: Judgement = (UNKNOWN, "different kinds of answers")


def equivalent(left: Form, right: Form) -> Judgement:
    """Compare two forms, symmetrically. Raises UnreadError for answers that are too large."""
    for form, other in ((left, right), (right, left)):
        if isinstance(form, forms.Option):
            return _judge_option(form, other)
    for form, other in ((left, right), (right, left)):
        if isinstance(form, forms.Assigned):
            return _judge_assigned(form, other)
        if isinstance(form, forms.Infinite) and isinstance(other, forms.Quantity):
            if names(other.tree):
                return UNKNOWN, "different variables"
            if not has_value(other.tree):
                return UNKNOWN, "no value"
            return INCORRECT, "infinity and a number"
    judgement = _judge_sets(left, right)
    if judgement is not None:
        return judgement
    if type(left) is type(right):
        return JUDGES[type(left)](left, right)
    return _judge_kinds(left, right) or _judge_kinds(right, left) or DIFFERENT_KINDS


def _judge_kinds(left: Form, right: Form) -> Judgement | None:
    """Compare forms of different types, where the right one has the meaning of the left one."""
    match left, right:
        case forms.Assignments(), forms.Several() | forms.Bracketed():
            return _judge_tuple(left, right)
        case forms.Union(), forms.Bracketed():
            if _is_unbounded(left) and not _is_unbounded(right):
                return INCORRECT, "an unbounded set and a bounded one"
        case forms.Several(), _ if is_exact_number(right):
            return judge_number_and_list(right, left)
        case forms.Bracketed(bounds=True), _ if is_exact_number(right):
            return judge_number_and_region(right, left)
    return None


def _judge_sets(left: Form, right: Form) -> Judgement | None:
    """Compare two sets of real numbers, of which one is a union; None for other forms."""
    if not isinstance(left, forms.Union) and not isinstance(right, forms.Union):
        return None
    if isinstance(left, forms.Quantity) or isinstance(right, forms.Quantity):
        return None
    left_set = real_sets.set_of(left)
    right_set = real_sets.set_of(right)
    if left_set is None or right_set is None:
        return None
    if len(left_set.items) == len(right_set.items):
        return _judge_in_order(left_set.items, right_set.items)
    if real_sets.may_be_rounded(left_set) or real_sets.may_be_rounded(right_set):
        return UNKNOWN, "sets with decimals"
    return INCORRECT, "different sets"


def all_have_values(form: Form) -> bool:
    """Return whether every expression has a value. Raises UnreadError for too large answers."""
    match form:
        case forms.Quantity():
            return has_value(form.tree)
        case forms.Composite():
            return all(all_have_values(item) for item in form.items)
        case forms.Assigned():
            return all_have_values(form.form)
        case forms.Option(content=Form() as content):
            return all_have_values(content)
        case _:
            return True


def _judge_option(left: forms.Option, right: Form) -> Judgement:
    if not isinstance(right, forms.Option):
        if left.content is None:
            return UNKNOWN, "an option and another kind of answer"
        return equivalent(left.content, right)
    if left.letter != right.letter:
        return INCORRECT, "different options"
    if left.content is None or right.content is None:
        return CORRECT, "the same option"
    if equivalent(left.content, right.content)[0] is INCORRECT:
        return UNKNOWN, "one option with two contents"
    return CORRECT, "the same option"


def _judge_assigned(left: forms.Assigned, right: Form) -> Judgement:
    judgement = _judge_named(left, right)
    if judgement[0] is INCORRECT and isinstance(left.form, forms.Bracketed | forms.Union):
        is_whole = left.name in WHOLE_NUMBERS
        if isinstance(right, forms.Assigned):
            is_whole |= real_sets.have_same_whole_numbers(left.form, right.form)
        if is_whole:
            return UNKNOWN, "possibly a set of whole numbers"
    return judgement


def _judge_named(left: forms.Assigned, right: Form) -> Judgement:
    if isinstance(right, forms.Assigned):
        if left.name == right.name:
            return equivalent(left.form, right.form)
        if "y" in (left.name, right.name) and FUNCTION_OF_X.issuperset((left.name, right.name)):
            judgement = equivalent(left.form, right.form)
            if judgement[0] is CORRECT:
                return judgement
        return _judge_as_equations(left.equation, right.equation, "different names")
    if isinstance(right, forms.Equation):
        return _judge_as_equations(left.equation, right, "an equation and a value")
    return equivalent(left.form, right)


def _judge_as_equations(
    left: forms.Equation | None, right: forms.Equation | None, reason: str
) -> Judgement:
    """Compare assignments of different names: they may be the same line."""
    if left is None or right is None:
        return UNKNOWN, reason
    if len(names(left.difference)) < 2 and len(names(right.difference)) < 2:
        return UNKNOWN, reason
    return judge_equations(left, right)


def _judge_in_order(left: Sequence[Form], right: Sequence[Form]) -> Judgement:
    """Compare as many parts on both sides, each with the part in the same place."""
    if len(left) > MAX_PARTS:
        raise UnreadError("too many parts")
    judgements = [equivalent(a, b) for a, b in zip(left, right, strict=True)]
    for verdict in (INCORRECT, UNKNOWN):
        for judgement in judgements:
            if judgement[0] is verdict:
                return judgement
    return CORRECT, "equal in all parts"


def _judge_lists(left: forms.Several, right: forms.Several) -> Judgement:
    left = _without_repeated_points(left)
    right = _without_repeated_points(right)
    if max(len(left.items), len(right.items)) > MAX_LISTED:
        raise UnreadError("too many parts")
    if left.items and right.items:
        return _judge_items(left, right)
    if left.items == right.items:
        return CORRECT, "the empty set"
    are_sets = left.is_set and right.is_set
    return INCORRECT if are_sets else UNKNOWN, "the empty set and another set"


def _judge_items(left: forms.Several, right: forms.Several) -> Judgement:
    """Compare two lists or sets that are not empty."""
    if have_different_labels(_parts_of(left), _parts_of(right)):
        return INCORRECT, "different names"
    are_sets = left.is_set and right.is_set
    rows = _verdicts(left.items, right.items)
    lines = [*rows, *zip(*rows, strict=True)]
    have_same_length = len(left.items) == len(right.items)
    if any(set(line) == {INCORRECT} for line in lines) and (are_sets or have_same_length):
        return INCORRECT, "a value that is missing on one side"
    if not are_sets and not have_same_length:
        return UNKNOWN, "lists of different lengths"
    if not all(CORRECT in line for line in lines):
        return UNKNOWN, "parts that cannot be matched"
    if are_sets:
        return CORRECT, "the same values"
    are_equal_in_order = all(row[index] is CORRECT for index, row in enumerate(rows))
    # Three points or more are the solutions of an equation, in any order; two may have names.
    are_points = len(left.items) > 2
    are_points &= all(isinstance(item, forms.Bracketed) for item in (*left.items, *right.items))
    if left.ordered and right.ordered and not are_points and not are_equal_in_order:
        return UNKNOWN, "the same values in another order"
    if not are_equal_in_order and any(row.count(CORRECT) != 1 for row in rows):
        return UNKNOWN, "values that repeat"
    return CORRECT, "the same values"


def _parts_of(several: forms.Several) -> Sequence[object]:
    """Return the items, of which those without a unit are expressions."""
    parts = list[object]()
    for item in several.items:
        if isinstance(item, forms.Quantity) and not item.unit:
            parts.append(item.tree)
        else:
            parts.append(item)
    return parts


def _without_repeated_points(several: forms.Several) -> forms.Several:
    if not all(isinstance(item, forms.Bracketed) for item in several.items):
        return several
    return replace(several, items=tuple(dict.fromkeys(several.items)))


def _verdicts(left: Sequence[Form], right: Sequence[Form]) -> Sequence[Sequence[Verdict]]:
    """Return, for every part on the left, the verdicts of its comparisons with all on the right."""
    rows = list[Sequence[Verdict]]()
    for form in left:
        rows.append([equivalent(form, other)[0] for other in right])
    return rows


def _judge_brackets(left: forms.Bracketed, right: forms.Bracketed) -> Judgement:
    if len(left.items) != len(right.items):
        return INCORRECT, "tuples of different lengths"
    judgement = _judge_in_order(left.items, right.items)
    if judgement[0] is not CORRECT:
        return judgement
    is_interval = left.is_interval or right.is_interval
    if is_interval and _included_ends(left) != _included_ends(right):
        return INCORRECT, "an end that belongs to one interval only"
    if left.is_interval is not right.is_interval:
        # An inequality has the meaning of an interval, so the same ends are not a point.
        if left.bounds or right.bounds:
            return CORRECT, "the same interval"
        return UNKNOWN, "an interval and possibly a point"
    if not is_interval and left.brackets != right.brackets:
        return UNKNOWN, "an interval and possibly a point"
    return judgement


def _included_ends(interval: forms.Bracketed) -> tuple[bool, bool]:
    """Return which ends belong to an interval; an infinite end never does."""
    low, high = interval.items
    includes_low = interval.brackets[0] == "[" and not isinstance(low, forms.Infinite)
    includes_high = interval.brackets[1] == "]" and not isinstance(high, forms.Infinite)
    return includes_low, includes_high


def _is_unbounded(form: Form) -> bool:
    if isinstance(form, forms.Union):
        return any(_is_unbounded(piece) for piece in form.items)
    if not isinstance(form, forms.Bracketed):
        return False
    return any(isinstance(end, forms.Infinite) for end in form.items)


def _judge_unions(left: forms.Union, right: forms.Union) -> Judgement:
    if len(left.items) == len(right.items) <= MAX_LISTED:
        rows = _verdicts(left.items, right.items)
        if all(CORRECT in line for line in (*rows, *zip(*rows, strict=True))):
            return CORRECT, "the same pieces"
    return UNKNOWN, "unions of different pieces"


def _judge_matrices(left: forms.Matrix, right: forms.Matrix) -> Judgement:
    rows = len(left.items) // left.columns
    if len(left.items) == len(right.items) and left.columns == right.columns:
        return _judge_in_order(left.items, right.items)
    if len(left.items) == len(right.items) and rows == right.columns:
        return UNKNOWN, "a row and a column"
    return INCORRECT, "different shapes"


def _judge_assignments(left: forms.Assignments, right: forms.Assignments) -> Judgement:
    if left.names != right.names:
        return UNKNOWN, "different names"
    return _judge_in_order(left.items, right.items)


def _judge_tuple(left: forms.Assignments, right: forms.Several | forms.Bracketed) -> Judgement:
    """Compare `x = 5, y = 2` with `(5, 2)`, whose values are in the order of the names."""
    is_interval = isinstance(right, forms.Bracketed) and right.is_interval
    is_set = isinstance(right, forms.Several) and right.is_set
    if is_interval or is_set or len(left.items) != len(right.items):
        return DIFFERENT_KINDS
    judgement = _judge_in_order(left.items, right.items)
    if judgement[0] is CORRECT:
        return judgement
    rows = _verdicts(left.items, right.items)
    if any(set(line) == {INCORRECT} for line in (*rows, *zip(*rows, strict=True))):
        return INCORRECT, "a value that is missing on one side"
    return UNKNOWN, "values that may belong to other names"


def _judge_inequalities(left: forms.Inequality, right: forms.Inequality) -> Judgement:
    names = {name for name, _ in left.terms}
    if names != {name for name, _ in right.terms}:
        return UNKNOWN, "different variables"
    if left == right:
        return CORRECT, "the same inequality"
    # The last term is the constant: m + n > 3 is m + n >= 4 for whole numbers.
    differ_in_constant = left.terms != right.terms and left.terms[:-1] == right.terms[:-1]
    if differ_in_constant and left.is_strict is not right.is_strict:
        return UNKNOWN, "possibly an inequality of whole numbers"
    return INCORRECT, "different linear inequalities"


def _judge_cases(left: forms.Cases, right: forms.Cases) -> Judgement:
    """Compare cases in any order; different rows may describe the same function or system."""
    if len(left.rows) != len(right.rows) or len(left.rows) > MAX_LISTED:
        return UNKNOWN, "other cases"
    unmatched = list(right.rows)
    for row in left.rows:
        match = _find_case(row, unmatched)
        if match is None:
            return UNKNOWN, "other cases"
        unmatched.remove(match)
    return CORRECT, "the same cases"


def _find_case(
    row: tuple[Form, Form], rows: Sequence[tuple[Form, Form]]
) -> tuple[Form, Form] | None:
    for other in rows:
        judgements = [equivalent(a, b) for a, b in zip(row, other, strict=True)]
        if all(verdict is CORRECT for verdict, _ in judgements):
            return other
    return None


def _judge_words(left: forms.Words, right: forms.Words) -> Judgement:
    if left == right:
        return CORRECT, "the same words"
    # The capitals matter: `A and b` may be two points.
    pairs = {tuple(sorted(form.words.split(" and "))) for form in (left, right)}
    if len(pairs) == 1 and len(pairs.pop()) == 2:
        return CORRECT, "the same two names"
    words = {left.words.lower(), right.words.lower()}
    if len(words) == 2 and any(words <= choice for choice in VOCABULARIES):
        return INCORRECT, "different words"
    return UNKNOWN, "different words"


def _judge_infinities(left: forms.Infinite, right: forms.Infinite) -> Judgement:
    if left == right:
        return CORRECT, "the same infinity"
    return INCORRECT, "opposite infinities"


# How two forms of the same type are compared.
JUDGES: Mapping[type[Form], Callable[[Any, Any], Judgement]] = {
    forms.Quantity: judge_quantities,
    forms.Equation: judge_equations,
    forms.Infinite: _judge_infinities,
    forms.Several: _judge_lists,
    forms.Bracketed: _judge_brackets,
    forms.Union: _judge_unions,
    forms.Matrix: _judge_matrices,
    forms.Assignments: _judge_assignments,
    forms.Words: _judge_words,
    forms.Inequality: _judge_inequalities,
    forms.Cases: _judge_cases,
}
