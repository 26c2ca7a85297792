"""Judge a linear equation or a value by several earlier ones that leave no common solution.

Example: `3a + 5b = -8` in the step before, and then `a = 4`, `b = -1`. Earlier statements that
contradict each other already decide nothing. The reason names a smallest set of statements that
contradicts the new one.

What is not covered: equations that are not linear, decimals, contradictions of two statements in
one name (see `claimed_solutions` and `solution_sets`), coordinates of lines and points.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from verifiers.algebra_rules.contexts import ONE_CASE, Context
from verifiers.algebra_rules.stated_equations import (
    Stated,
    StatedEquation,
    in_line,
    is_supposed,
)
from verifiers.math.findings import StepJudgement, false
from verifiers.math.syntax import Combined, Name, Negated, Number, Tree

LINEAR_SYSTEM = "linear system"
# In these texts, x and y are the coordinates of several lines and points.
COORDINATES = re.compile(
    r"\b(?:lines?|graphs?|slopes?|curves?|tangents?|points?|intersect\w*|intercepts?|planes?|axis"
    r"|axes|coordinates?|parabolas?|circles?|vertex|vertices|functions?)\b",
    re.IGNORECASE,
)
ARE_NUMBERS = "the letters are numbers, not coordinates"
MAX_STATEMENTS = 48
# A linear form: coefficients by name, and the constant under the empty name.
Form = Mapping[str, Fraction]
CONSTANT = ""


def linear_systems(stated: Stated) -> Iterator[tuple[str, StepJudgement]]:
    """Yield the first statement of the step that has no common solution with those before it."""
    if not stated.here or len(stated.here) + len(stated.before) > MAX_STATEMENTS:
        return
    system = _System()
    statements = list[StatedEquation]()
    for statement in (*stated.before, *stated.here):
        form = _form_of(statement)
        if form is None:
            continue
        if not system.contradicts(form):
            system.add(form)
            statements.append(statement)
            continue
        core = _core(statements, form)
        is_new = any(statement is other for other in stated.here)
        if is_new and len(core) > 1:
            yield statement.chain.text, _judgement(statement, core, stated.context)
        return


def _judgement(
    statement: StatedEquation, core: Sequence[StatedEquation], context: Context
) -> StepJudgement:
    texts = (context.claim.question, context.claim.step)
    are_coordinates = any(map(COORDINATES.search, texts))
    has_cases = context.cases or any(map(is_supposed, context.chains))
    involved = [statement.chain, *[other.chain for other in core]]
    return false(
        LINEAR_SYSTEM,
        "it contradicts " + " and ".join([other.chain.text for other in core]),
        *dict.fromkeys([other.assumption for other in core]),
        ARE_NUMBERS if are_coordinates else "",
        in_line(*involved),
        ONE_CASE if has_cases else "",
    )


def _form_of(statement: StatedEquation) -> Form | None:
    """Return the linear form that a statement says is zero, or None if it is not linear."""
    left = _linear(statement.left)
    right = _linear(statement.right)
    if left is None or right is None:
        return None
    return _sum(left, right, Fraction(-1))


def _linear(tree: Tree) -> Form | None:
    match tree:
        case Number(value):
            return None if tree.percent else {CONSTANT: value}
        case Name(text):
            return {text: Fraction(1)}
        case Negated(operand):
            form = _linear(operand)
            return None if form is None else _sum({}, form, Fraction(-1))
        case Combined(operator, first, second):
            left = _linear(first)
            right = _linear(second)
            if left is not None and right is not None:
                return _combined(operator, left, right)
    return None


def _combined(operator: str, left: Form, right: Form) -> Form | None:
    match operator:
        case "+":
            return _sum(left, right, Fraction(1))
        case "-":
            return _sum(left, right, Fraction(-1))
        case "*" if left.keys() <= {CONSTANT}:
            return _sum({}, right, left.get(CONSTANT, Fraction(0)))
        case "*" if right.keys() <= {CONSTANT}:
            return _sum({}, left, right.get(CONSTANT, Fraction(0)))
        case "/" if right.keys() <= {CONSTANT} and right.get(CONSTANT):
            return _sum({}, left, 1 / right[CONSTANT])
    return None


def _sum(left: Form, right: Form, factor: Fraction) -> Form:
    """Return `left + factor · right` without zero coefficients."""
    total = dict(left)
    for name, coefficient in right.items():
        total[name] = total.get(name, Fraction(0)) + factor * coefficient
    return {name: coefficient for name, coefficient in total.items() if coefficient}


class _System:
    """Linear equations without contradiction, each solved for another name."""

    def __init__(self) -> None:
        self.solved = dict[str, Form]()

    def contradicts(self, form: Form) -> bool:
        """Return whether an equation has no common solution with the system."""
        return self._reduced(form).keys() == {CONSTANT}

    def add(self, form: Form) -> None:
        """Add an equation."""
        reduced = self._reduced(form)
        for name in reduced:
            if name != CONSTANT:
                solved = _sum({}, reduced, 1 / reduced[name])
                for other, before in self.solved.items():
                    factor = -before.get(name, Fraction(0))
                    self.solved[other] = _sum(before, solved, factor)
                self.solved[name] = solved
                return

    def _reduced(self, form: Form) -> Form:
        """Return an equation with the solved names replaced."""
        for name, solved in self.solved.items():
            if name in form:
                form = _sum(form, solved, -form[name])
        return form


def _core(statements: Sequence[StatedEquation], form: Form) -> Sequence[StatedEquation]:
    """Return a smallest part of the statements that contradicts a form."""
    core = list(statements)
    for statement in statements:
        smaller = [other for other in core if other is not statement]
        system = _System()
        for other in smaller:
            other_form = _form_of(other)
            if other_form is not None:
                system.add(other_form)
        if system.contradicts(form):
            core = smaller
    return core
