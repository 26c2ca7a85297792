"""Judge two answers in the notation of programs and computer algebra systems.

Correct: a proof in normal forms (`normal_forms`) that is confirmed by values, the same solutions
(`solution_sets`), relations that are multiples, equal truth tables, and collections of equal parts.

Incorrect: formulas in the same names that differ at all points of a sample, each in exact or
interval arithmetic; statements in one name with different solutions, or in several names with a
point that only one of them has; different truth tables; collections with parts that differ.

Everything else is undecided, among it all texts that are not completely in this notation, and
formulas in different names: one may be the other with a new name, or equal under a condition.
Formulas for all whole numbers or with arbitrary constants are never incorrect (`families`).
"""

from collections.abc import Iterator, Sequence
from itertools import product

from stepmark.records import Verdict
from verifiers.answer_forms.formulas import in_degrees
from verifiers.answer_forms.labels import have_different_labels
from verifiers.math.findings import Judgement
from verifiers.math.lexicon import PARAMETERS
from verifiers.math.syntax import (
    Call,
    Combined,
    Constant,
    E,
    I,
    Name,
    Number,
    Tree,
    UndefinedError,
    UnreadError,
    has_decimals,
    map_calls,
    map_names,
)
from verifiers.program_answers import equations, reading, values
from verifiers.program_answers.commands import INFINITE, TEN, region_of
from verifiers.program_answers.families import may_be_circuits, may_be_families
from verifiers.program_answers.normal_forms import NormalForms
from verifiers.program_answers.solution_sets import have_same_solutions, is_always
from verifiers.program_answers.statements import (
    ELEMENT,
    STATEMENTS,
    Collection,
    Form,
    Junction,
    Proposition,
    Region,
    Relation,
    Statement,
    Truth,
    free_names,
    holds,
    leaves,
    names_in,
    renamed,
    size,
    trees,
)
from verifiers.program_answers.whole_exponents import whole_exponents, with_joined_exponents

MAX_ITEMS = 12
# The product of the sizes of two collections, whose items are compared in pairs.
MAX_PAIRED_PARTS = 4_000
MAX_PROPOSITIONS = 6
# Readings of the names that may be constants; the last one is that of SymPy.
READINGS: Sequence[dict[str, Constant]] = ({}, {"e": E, "i": I}, {"e": E, "i": I, "E": E, "I": I})


def judge_programs(answer: str, reference: str) -> Judgement | None:
    """Return the judgement of two texts in the notation of programs, or None."""
    if not (reading.is_readable(answer) and reading.is_readable(reference)):
        return None
    is_marked = reading.is_marked(answer) or reading.is_marked(reference)
    is_compared = reading.is_compared(answer) or reading.is_compared(reference)
    try:
        left, right = _read_both(answer, reference, is_plain=not is_marked)
        # `3-1` and `A-B` in plain text need not be formulas.
        if not (is_marked or is_compared or (names_in(left) and names_in(right))):
            return None
        equal = _are_equal(left, right)
    except (UnreadError, UndefinedError, ArithmeticError, RecursionError):
        return None
    if equal:
        return Verdict.CORRECT, "equal in the notation of programs"
    if equal is None or not (is_marked or _are_plain_differences(left, right)):
        return None
    if may_be_families(left, right):
        return None
    return Verdict.INCORRECT, "different in the notation of programs"


def is_program(text: str) -> bool:
    """Return whether a text is completely in the notation of programs, and shows that it is."""
    if not (reading.is_readable(text) and reading.is_marked(text)):
        return False
    try:
        form = reading.read_signs(text)
    except (UnreadError, ArithmeticError, RecursionError):
        return False
    return INFINITE.keys().isdisjoint(names_in(form))


def _are_plain_differences(left: Form, right: Form) -> bool:
    """Return whether different statements in plain text are different answers.

    Several names, and names of parameters, may be restricted by a condition.
    """
    if not (isinstance(left, STATEMENTS) and isinstance(right, STATEMENTS)):
        return False
    variables = names_in(left) | names_in(right)
    return len(variables) < 2 and PARAMETERS.isdisjoint(variables)


def _read_both(answer: str, reference: str, *, is_plain: bool) -> tuple[Form, Form]:
    """Return both forms; words such as `all` are read if the other text is a statement."""
    forms = list[Form]()
    for text, other in ((answer, reference), (reference, answer)):
        word = reading.read_word(text) if reading.is_compared(other) else None
        forms.append(word or reading.read_signs(text, is_plain=is_plain))
    if any(not INFINITE.keys().isdisjoint(names_in(form)) for form in forms):
        raise UnreadError("infinity in an expression")
    return forms[0], forms[1]


def _are_equal(left: Form, right: Form) -> bool | None:
    """Return whether two forms are equal; None if that is not decided."""
    if isinstance(left, Collection) and isinstance(right, Collection):
        return _are_equal_collections(left, right)
    if isinstance(left, (Region, Collection)) or isinstance(right, (Region, Collection)):
        return _are_equal_regions(left, right)
    if isinstance(left, STATEMENTS) and isinstance(right, STATEMENTS):
        return _are_equal_statements(left, right)
    if isinstance(left, STATEMENTS) or isinstance(right, STATEMENTS):
        return _are_equal_propositions(left, right)
    return _are_equal_expressions(left, right)


def _are_equal_collections(left: Collection, right: Collection) -> bool | None:
    if left.kind != right.kind or max(len(left.items), len(right.items)) > MAX_ITEMS:
        return None
    if size(left) * size(right) > MAX_PAIRED_PARTS:
        return None
    # Whether statements in a collection are the same if they are equivalent is not agreed on.
    if any(isinstance(leaf, Proposition) for leaf in _all_leaves(left, right)):
        return None
    if left.kind == "{":
        return _are_equal_sets(left.items, right.items)
    if len(left.items) != len(right.items):
        return None
    results = [_are_equal(a, b) for a, b in zip(left.items, right.items, strict=True)]
    if all(results):
        return True
    # In a list of solutions, the order does not matter.
    is_different = False in results and _are_equal_sets(left.items, right.items) is False
    if is_different:
        return False
    return None


def _all_leaves(*collections: Collection) -> Iterator[Statement]:
    for collection in collections:
        for item in collection.items:
            if isinstance(item, STATEMENTS):
                yield from leaves(item)


def _are_equal_sets(left: Sequence[Form], right: Sequence[Form]) -> bool | None:
    """Match the items of two sets; an item that differs from all others makes them different."""
    if have_different_labels(left, right):
        return False
    table = [[_are_equal(a, b) for b in right] for a in left]
    rows = [True in row for row in table]
    columns = [any(row[index] is True for row in table) for index in range(len(right))]
    if all(rows) and all(columns):
        return True
    is_alone = any(all(result is False for result in row) for row in table)
    for index in range(len(right)):
        is_alone = is_alone or all(row[index] is False for row in table)
    if is_alone:
        return False
    return None


def _are_equal_regions(left: Form, right: Form) -> bool | None:
    """Compare two sets of numbers, or a set with a statement in one name."""
    statements = list[Statement]()
    for form, other in ((left, right), (right, left)):
        region = region_of(form)
        if region is not None:
            statements.append(region.statement)
        elif (
            isinstance(form, STATEMENTS) and isinstance(other, Region) and len(names_in(form)) == 1
        ):
            [name] = names_in(form)
            statements.append(renamed(form, name, ELEMENT))
        else:
            return None
    return _are_equal_statements(*statements)


def _are_equal_statements(left: Statement, right: Statement) -> bool | None:
    """Compare two statements by their solutions, as multiples, or by a witness."""
    items = [*leaves(left), *leaves(right)]
    if any(isinstance(item, Proposition) for item in items):
        return _have_equal_tables(left, right)
    if not any(isinstance(item, Relation) for item in items):
        return holds(left, {}) is holds(right, {})
    # `0 < 1` and `1 < 2` are computations and not answers.
    for statement, other in ((left, right), (right, left)):
        is_closed = not isinstance(statement, Truth) and not names_in(statement)
        if is_closed and not isinstance(other, Truth):
            if _is_identity(statement) and _is_equation(other):
                return False
            return None
    variables = names_in(left) | names_in(right)
    if len(variables) > 1 and len(names_in(left)) == len(names_in(right)) == 1:
        return _are_both_constant(left, right)
    if len(variables) < 2:
        same = _attempt_solutions(left, right)
        if same is not None:
            return same
    return _compare_readings(left, right)


def _is_identity(statement: Statement) -> bool:
    """Return whether a statement is a number that equals itself, as in `1 = 1`."""
    if not isinstance(statement, Relation) or statement.operator != "=":
        return False
    return isinstance(statement.left, Number) and statement.left == statement.right


def _is_equation(statement: Statement) -> bool:
    """Return whether a statement is an equation that holds for some values of its names only."""
    if not isinstance(statement, Relation) or statement.operator != "=":
        return False
    return _attempt_solutions(statement, Truth(True)) is False


def _are_both_constant(left: Statement, right: Statement) -> bool | None:
    """Compare statements in different names, which are equal if both hold always, or never."""
    first = is_always(left)
    if first is not None and first is is_always(right):
        return True
    return None


def _attempt_solutions(left: Statement, right: Statement) -> bool | None:
    try:
        if has_decimals(*_all_trees(left, right)):
            return None
        same = have_same_solutions(left, right)
    except UnreadError:
        return None
    # `(x-1)^2 = 0` has a double root.
    is_equation = [isinstance(form, Relation) and form.operator == "=" for form in (left, right)]
    if same and all(is_equation):
        return None
    return same


def _all_trees(left: Form, right: Form) -> Sequence[Tree]:
    return [*trees(left), *trees(right)]


def _compare_readings(left: Statement, right: Statement) -> bool | None:
    """Compare relations as multiples in one reading, or by a witness in all readings."""
    if isinstance(left, Truth) or isinstance(right, Truth):
        return None
    differ = list[bool]()
    for a, b in _readings(left, right):
        assert isinstance(a, STATEMENTS), "readings keep statements"
        assert isinstance(b, STATEMENTS), "readings keep statements"
        if equations.are_equivalent(a, b):
            return True
        differ.append(equations.are_different(a, b))
    if all(differ):
        return False
    return None


def _readings(left: Form, right: Form) -> Iterator[tuple[Form, Form]]:
    """Yield both forms with the names that may be constants as names, and as constants."""
    present = names_in(left) | names_in(right)
    seen = list[dict[str, Constant]]()
    for constants in READINGS:
        used = {name: value for name, value in constants.items() if name in present}
        if used in seen or {"e", "E"} <= used.keys() or {"i", "I"} <= used.keys():
            continue
        seen.append(used)
        yield _with_constants(left, used), _with_constants(right, used)


def _with_constants(form: Form, constants: dict[str, Constant]) -> Form:
    if not constants:
        return form

    def change(name: Name) -> Tree:
        return constants.get(name.text, name)

    if isinstance(form, STATEMENTS):
        for name, value in constants.items():
            form = renamed(form, name, value)
        return form
    if isinstance(form, (Collection, Region)):
        return form
    return map_names(form, change)


def _are_equal_propositions(left: Form, right: Form) -> bool | None:
    """Compare a statement with a name that may be a proposition."""
    try:
        return _have_equal_tables(reading.as_statement(left), reading.as_statement(right))
    except UnreadError:
        return None


def _have_equal_tables(left: Statement, right: Statement) -> bool | None:
    """Compare truth tables; relations in them may depend on each other."""
    if not (_is_logical(left) or _is_logical(right)):
        return None
    atoms = list[Statement]()
    for item in (*leaves(left), *leaves(right)):
        atom = _normalized(item)
        if not isinstance(atom, Truth) and atom not in atoms:
            atoms.append(atom)
    if len(atoms) > MAX_PROPOSITIONS:
        return None
    for truth_values in product((True, False), repeat=len(atoms)):
        truths = dict(zip(atoms, truth_values, strict=True))
        for item in (*leaves(left), *leaves(right)):
            if isinstance(item, Relation):
                truths[item] = truths[_normalized(item)]
        if holds(left, truths) is not holds(right, truths):
            if all(isinstance(atom, Proposition) for atom in atoms):
                return False
            return None
    return True


def _is_logical(statement: Statement) -> bool:
    """Return whether a statement is more than a list of names, which may be options: `A or B`."""
    match statement:
        case Proposition():
            return False
        case Junction(_, items):
            return not all(isinstance(item, Proposition) for item in items)
        case _:
            return True


def _normalized(statement: Statement) -> Statement:
    """Return an equation with its sides in one order."""
    if isinstance(statement, Relation) and statement.operator in ("=", "#"):
        first, second = sorted((statement.left, statement.right), key=repr)
        return Relation(statement.operator, first, second)
    return statement


def _are_equal_expressions(left: Tree, right: Tree) -> bool | None:
    """Compare two expressions in all readings of the names that may be constants."""
    differ = list[bool]()
    for a, b in _readings(left, right):
        assert not isinstance(a, (*STATEMENTS, Collection, Region)), "readings keep expressions"
        assert not isinstance(b, (*STATEMENTS, Collection, Region)), "readings keep expressions"
        if _is_proven(a, b):
            return True
        differ.append(_is_refuted(a, b))
    if all(differ):
        return False
    return None


def _is_proven(left: Tree, right: Tree) -> bool:
    if left == right:
        return True
    variables = sorted(free_names(left) | free_names(right))
    whole = whole_exponents(left, right)
    if whole:
        left = with_joined_exponents(left, whole)
        right = with_joined_exponents(right, whole)
    forms = NormalForms(left, right)
    try:
        if not forms.are_equal(left, right):
            return False
    except (UnreadError, RecursionError):
        return False
    return forms.is_plain or values.agree(left, right, variables)


def _is_refuted(left: Tree, right: Tree) -> bool:
    if free_names(left) != free_names(right) or has_decimals(left, right):
        return False
    if values.has_unknown_function(left, right):
        return False
    variables = sorted(free_names(left))
    if may_be_circuits(left, right, variables):
        return False
    seen = list[tuple[Tree, Tree]]()
    # A plain angle may be in degrees, and a logarithm without a base has any base.
    for change in (_unchanged, in_degrees, _natural, _decimal):
        pair = (map_calls(left, change), map_calls(right, change))
        if pair not in seen and not values.differ(*pair, variables):
            return False
        seen.append(pair)
    return True


def _unchanged(call: Call) -> Tree:
    return call


def _natural(call: Call) -> Tree:
    """Return a logarithm without a base as a natural one."""
    is_bare = call.function == "log" and len(call.arguments) == 1
    if is_bare:
        return Call("ln", call.arguments)
    return call


def _decimal(call: Call) -> Tree:
    """Return a logarithm without a base as a decimal one."""
    if call.function != "log" or len(call.arguments) != 1:
        return call
    return Combined("/", Call("ln", call.arguments), Call("ln", (TEN,)))
