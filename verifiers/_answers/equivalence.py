"""Whether two answers are equal, form by form; a leaf that is not a rational number is equal only when math-verify says so too.

    equal      rational numbers that are equal, formulas written alike, options of one letter, words that are the same
               formulas whose values agree here, at every point tried and to hundreds of digits, and according to math-verify
    different  closed values that differ, in the same place of the same form; formulas in one variable that differ wherever both have a
               value; options, days, yes and no
    unknown    all else: forms that differ, names that differ, formulas in several variables or in a name that may be a parameter
               (`n`, `k`, `C`), a list in another order, rounded decimals, units that convert, logarithms without a base

What is not covered: equivalence under what the problem says of its variables.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from random import Random

from stepmark.records import Verdict
from verifiers._answers import second_opinion
from verifiers._answers.forms import (
    Assigned,
    Assignments,
    Bracketed,
    Endless,
    Equation,
    Form,
    Matrix,
    Option,
    Quantity,
    Several,
    Union,
    Words,
)
from verifiers._answers.formulas import (
    Binomial,
    Call,
    Combined,
    Constant,
    Factorial,
    Mixed,
    Negated,
    Node,
    Number,
    names,
    walk,
)
from verifiers._answers.rounding import may_round
from verifiers._answers.tokens import UnreadError
from verifiers._answers.values import UndefinedError, compare, exact_value, within
from verifiers._answers.words import PARAMETERS, VOCABULARIES
from verifiers.math.lexicon import FAMILIES

__all__ = ["equivalent"]

C, I, U = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN  # noqa: E741
Judged = tuple[Verdict, str]

POINTS = 6
"""As many positive ones and as many of mixed signs, half of them below 1; or twice as many whole ones where only those will do."""
FEWEST_POINTS = 3
"""At which both formulas must have a value."""
MAX_ITEMS = 64
MAX_LISTED = 24
"""Of a list or set, where every part is compared with every part."""


def equivalent(one: Form, other: Form) -> Judged:
    """The verdict on two forms and the reason; symmetric. Raises `UnreadError` for what is too large."""
    if isinstance(one, Option) or isinstance(other, Option):
        return _options(one, other)
    if isinstance(one, Assigned) or isinstance(other, Assigned):
        return _assigned(one, other)
    match one, other:
        case Quantity(), Quantity():
            return _quantities(one, other)
        case Equation(), Equation():
            return _equations(one, other)
        case Endless(), Endless():
            return (C, "the same infinity") if one == other else (I, "opposite infinities")
        case (Endless(), Quantity(node=node)) | (Quantity(node=node), Endless()):
            return (U, "different variables") if names(node) else (I, "infinity and a number")
        case Words(), Words():
            return _words(one.words, other.words)
        case _:
            return _of_parts(one, other)


def _of_parts(one: Form, other: Form) -> Judged:
    match one, other:
        case Several(), Several():
            return _lists(one, other)
        case Bracketed(), Bracketed():
            return _brackets(one, other)
        case Union(), Union():
            return _unions(one, other)
        case Matrix(), Matrix():
            return _matrices(one, other)
        case Assignments(), Assignments():
            return _all_named(one, other)
        case _:
            return U, "different kinds of answers"


def has_value(form: Form) -> bool:
    """Whether something can be compared with it: every expression in it has a value somewhere. Raises `UnreadError`."""
    match form:
        case Quantity():
            points = _points(sorted(names(form.node)), form.node)
            return any(_at_point(form.node, form.node, point) for point in points)
        case Several(items=parts) | Bracketed(items=parts) | Union(pieces=parts) | Assignments(parts=parts):
            return all(map(has_value, parts))
        case Matrix():
            return all(has_value(cell) for row in form.rows for cell in row)
        case Assigned():
            return has_value(form.form)
        case Option():
            return form.said is None or has_value(form.said)
        case _:
            return True


def _options(one: Form, other: Form) -> Judged:
    if isinstance(one, Option) and isinstance(other, Option):
        if one.letter != other.letter:
            return I, "different options"
        if one.said and other.said and equivalent(one.said, other.said)[0] is I:
            return U, "one option that says two things"
        return C, "the same option"
    option, said = (one, other) if isinstance(one, Option) else (other, one)
    assert isinstance(option, Option)
    return equivalent(option.said, said) if option.said else (U, "an option and what is none")


def _assigned(one: Form, other: Form) -> Judged:
    if isinstance(one, Assigned) and isinstance(other, Assigned):
        if one.name != other.name:
            return _of_equations(one.equation, other.equation, "different names")
        return equivalent(one.form, other.form)
    named, said = (one, other) if isinstance(one, Assigned) else (other, one)
    assert isinstance(named, Assigned)
    if isinstance(said, Equation):
        return _of_equations(named.equation, said, "an equation and a value")
    return equivalent(named.form, said)


def _of_equations(one: Equation | None, other: Equation | None, why: str) -> Judged:
    """Different at first sight, and the same line perhaps."""
    if one is None or other is None or not (len(names(one.difference)) > 1 or len(names(other.difference)) > 1):
        return U, why
    return _equations(one, other)


def _all_named(one: Assignments, other: Assignments) -> Judged:
    if [part.name for part in one.parts] != [part.name for part in other.parts]:
        return U, "different names"
    return _each([part.form for part in one.parts], [part.form for part in other.parts])


def _each(ones: Sequence[Form], others: Sequence[Form]) -> Judged:
    """Place by place, as many on both sides."""
    if len(ones) > MAX_ITEMS:
        raise UnreadError("too many parts")
    judged = [equivalent(a, b) for a, b in zip(ones, others, strict=True)]
    for verdict in (I, U):
        for found, reason in judged:
            if found is verdict:
                return verdict, reason
    return C, "equal in all parts"


def _lists(one: Several, other: Several) -> Judged:
    if max(len(one.items), len(other.items)) > MAX_LISTED:
        raise UnreadError("too many parts")
    braces = one.is_set and other.is_set
    if not one.items or not other.items:
        return (C, "the empty set") if one.items == other.items else (I if braces else U, "an empty set and another")
    table = [[equivalent(a, b)[0] for b in other.items] for a in one.items]
    across = [list(column) for column in zip(*table, strict=True)]
    if any(set(row) <= {I} for row in (*table, *across)) and (braces or len(one.items) == len(other.items)):
        return I, "a value that the other has not"
    if not braces and len(one.items) != len(other.items):
        return U, "lists of different lengths"
    if not all(C in row for row in (*table, *across)):
        return U, "parts that cannot be told apart"
    if one.ordered and other.ordered and any(table[at][at] is not C for at in range(len(table))):
        return U, "the same values in another order"
    if not braces and not _pairs_off(table):
        return U, "values that repeat"
    return C, "the same values"


def _pairs_off(table: Sequence[Sequence[Verdict]]) -> bool:
    """Whether every value has exactly one that equals it."""
    return all(row.count(C) == 1 for row in table) or all(table[at][at] is C for at in range(len(table)))


def _brackets(one: Bracketed, other: Bracketed) -> Judged:
    if len(one.items) != len(other.items):
        return I, "tuples of different lengths"
    judged = _each(one.items, other.items)
    if judged[0] is not C:
        return judged
    certain = one.is_interval or other.is_interval
    if certain and _ends(one) != _ends(other):
        return I, "an end that belongs to one only"
    if one.is_interval is not other.is_interval or (not certain and one.brackets != other.brackets):
        return U, "an interval and what may be a point"
    return judged


def _ends(interval: Bracketed) -> tuple[bool, ...]:
    """Which ends belong to it, an infinite one never."""
    closed = (interval.brackets[0] == "[", interval.brackets[1] == "]")
    return tuple(ends and not isinstance(item, Endless) for ends, item in zip(closed, interval.items, strict=True))


def _unions(one: Union, other: Union) -> Judged:
    if len(one.pieces) != len(other.pieces) or len(one.pieces) > MAX_LISTED:
        return U, "unions of different pieces"
    table = [[equivalent(a, b)[0] for b in other.pieces] for a in one.pieces]
    same = all(C in row for row in table) and all(C in column for column in zip(*table, strict=True))
    return (C, "the same pieces") if same else (U, "unions of different pieces")


def _matrices(one: Matrix, other: Matrix) -> Judged:
    shapes = [(len(matrix.rows), len(matrix.rows[0])) for matrix in (one, other)]
    if shapes[0] != shapes[1]:
        return (U, "a row and a column") if shapes[0] == shapes[1][::-1] else (I, "different shapes")
    return _each([cell for row in one.rows for cell in row], [cell for row in other.rows for cell in row])


def _words(one: str, other: str) -> Judged:
    if one == other:
        return C, "the same words"
    apart = any(one.lower() in vocabulary and other.lower() in vocabulary for vocabulary in VOCABULARIES) and one.lower() != other.lower()
    return (I, "different words") if apart else (U, "different words")


def _quantities(one: Quantity, other: Quantity) -> Judged:
    if not (one.unit <= other.unit or other.unit <= one.unit):
        return U, "different units"
    if one.percent is other.percent:
        return _nodes(one, other, one.node, other.node)
    percentage, plain = (one, other) if one.percent else (other, one)
    hundred = Number(Fraction(100))
    readings = [
        (percentage.node, plain.node),
        (Combined("/", percentage.node, hundred), plain.node),
        (percentage.node, Combined("*", plain.node, hundred)),  # the same again: a decimal is known as rounded only where it stands alone
    ]
    judged = [_nodes(percentage, plain, left, right) for left, right in readings]
    equal = next((found for found in judged if found[0] is C), None)
    return equal or (judged[0] if {verdict for verdict, _ in judged} == {I} else (U, "a percentage perhaps"))


def _nodes(one: Quantity, other: Quantity, left: Node, right: Node) -> Judged:
    if one.source == other.source and left == right:
        return C, "the same formula"
    variables = names(left) | names(right)
    if names(left) != names(right) and names(left) and names(right):
        return U, "different variables"
    if variables:
        return _open(one, other, left, right)
    try:
        found = compare(left, right, {})
    except UndefinedError:
        return U, "no value"
    if found.equal is None:
        return U, "too close to tell apart"
    if found.equal:
        return (C, "equal numbers") if found.exact else _seconded(one, other, left, right)
    return _different(one, other, left, right)


def _different(one: Quantity, other: Quantity, left: Node, right: Node) -> Judged:
    """Closed values that differ; what might make them agree all the same is unknown."""
    if any(isinstance(node, Mixed) for node in (*walk(left), *walk(right))) and compare(left, right, {}, products=True).equal is not False:
        return U, "a mixed number or a product"
    if _lacks_base(left) or _lacks_base(right):
        return U, "a logarithm without a base"
    if one.unit != other.unit and (one.unit | other.unit) & FAMILIES.keys():
        return U, "a unit that may be another"
    if one.unit | other.unit and compare(left, Negated(right), {}).equal is not False:
        return U, "the opposite sign, and words"
    if any(_may_be_rounded(*pair) for pair in ((left, right), (right, left))):
        return U, "equal when rounded"
    return I, "different numbers"


def _lacks_base(node: Node) -> bool:
    return any(isinstance(part, Call) and part.function == "log" and part.base is None for part in walk(node))


def _may_be_rounded(shown: Node, exact: Node) -> bool:
    """Whether one is a decimal, and the other, which is no number of as few digits, rounds to it or is cut off there."""
    while isinstance(shown, Negated):
        shown, exact = shown.operand, exact.operand if isinstance(exact, Negated) else Negated(exact)
    if not isinstance(shown, Number) or not may_round(shown.decimals, exact.decimals if isinstance(exact, Number) else None):
        return False
    return within(shown, exact, Fraction(1, 10**shown.decimals))


def _open(one: Quantity, other: Quantity, left: Node, right: Node) -> Judged:
    """Formulas with variables, at points: equal at all that both are defined at, different at all, or unknown."""
    variables = sorted(names(left) | names(right))
    found = [_at_point(left, right, point) for point in _points(variables, left, right)]
    decided = [equal for equal in found if equal is not None]
    if len(decided) < FEWEST_POINTS:
        return U, "hardly a value in common"
    if all(decided):
        return _seconded(one, other, left, right)
    if any(decided):
        return U, "equal for some values"
    if _lacks_base(left) or _lacks_base(right):
        return U, "a logarithm without a base"
    if len(variables) > 1 or not PARAMETERS.isdisjoint(variables) or names(left) != names(right):
        return U, "formulas that differ, of variables that may be bound"
    return I, "different formulas"


def _at_point(left: Node, right: Node, point: Mapping[str, Fraction]) -> bool | None:
    imaginary = any(part == Constant("i") for node in (left, right) for part in walk(node))
    try:
        return compare(left, right, point, real=not imaginary).equal
    except UndefinedError:
        return None


def _points(variables: Sequence[str], *nodes: Node) -> Sequence[Mapping[str, Fraction]]:
    """Positive ones first, then ones of mixed signs; whole ones for factorials and binomials. The same for the same names."""
    random = Random(" ".join(variables))
    if any(isinstance(part, Factorial | Binomial) for node in nodes for part in walk(node)):
        return [{name: Fraction(random.randint(2, 40)) for name in variables} for _ in range(2 * POINTS)]
    return [{name: _fraction(random, at) for name in variables} for at in range(2 * POINTS)]


def _fraction(random: Random, at: int) -> Fraction:
    """Between 1/3 and 10 at even places, below 1 at odd ones, of either sign from the middle on."""
    size = Fraction(random.randint(1_000, 9_999), random.randint(1_000, 3_000)) / (1 if at % 2 == 0 else 16)
    return size if at < POINTS else size * random.choice((1, -1))


def _seconded(one: Quantity, other: Quantity, left: Node, right: Node) -> Judged:
    """Equal here; math-verify is asked where the formulas are compared as they are written."""
    if (left, right) != (one.node, other.node):
        return U, "a percentage perhaps"
    return _confirmed(one.source, other.source)


def _confirmed(one: str, other: str) -> Judged:
    return (C, "equal formulas") if second_opinion.says_equal(one, other) else (U, "equal here, not so for math-verify")


def _equations(one: Equation, other: Equation) -> Judged:
    """One a multiple of the other, at rational points; two that are linear and no multiples are different."""
    variables = sorted(names(one.difference) | names(other.difference))
    if names(one.difference) != names(other.difference) or not variables:
        return U, "different variables"
    if one.source == other.source:
        return C, "the same equation"
    points = _points(variables, one.difference, other.difference)
    ones, others = (_rational_values(equation.difference, points) for equation in (one, other))
    if ones is None or others is None or not all((*ones, *others)):
        return U, "no rational value"
    if len({a / b for a, b in zip(ones, others, strict=True)}) == 1:
        return _confirmed(one.source, other.source)
    if all(_is_linear(equation.difference, variables) for equation in (one, other)):
        return I, "different linear equations"
    return U, "equations that are no multiples"


def _rational_values(node: Node, points: Sequence[Mapping[str, Fraction]]) -> Sequence[Fraction] | None:
    try:
        values = [exact_value(node, point) for point in points]
    except UndefinedError:
        return None
    rational = [value for value in values if value is not None]
    return rational if len(rational) == len(points) else None


def _is_linear(node: Node, variables: Sequence[str]) -> bool:
    """Whether the value is a sum of multiples of the variables and a constant: f(p + q) + f(0) = f(p) + f(q), at random points."""
    first, second, *_ = _points(variables)
    both = {name: first[name] + second[name] for name in variables}
    values = _rational_values(node, (first, second, both, dict.fromkeys(variables, Fraction(0))))
    return values is not None and values[0] + values[1] == values[2] + values[3]
