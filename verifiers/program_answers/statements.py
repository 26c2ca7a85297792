"""The forms of answers in the notation of programs, besides expressions.

x^2 - 1 = 0, x # 1          Relation          x < 1 or x > 3      Junction
not (x < 1)                 Negation          true, 1 = 1         Truth, Relation
A                           Proposition       [1, 2], {1, 2}      Collection
Interval.open(0, 1)         Region
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from verifiers.math.syntax import Name, Tree, map_names, names, walk

# The name of the numbers in a region, which no text can contain.
ELEMENT = Name("")
# What the names of the indices of sums begin with.
INDEX = "@"


@dataclass(frozen=True, slots=True)
class Relation:
    """A comparison of two expressions by one of `=`, `#` (not equal), `<` and `<=`."""

    operator: str
    left: Tree
    right: Tree


@dataclass(frozen=True, slots=True)
class Truth:
    """A statement that always holds, or never."""

    value: bool


@dataclass(frozen=True, slots=True)
class Proposition:
    """The name of a statement."""

    name: str


@dataclass(frozen=True, slots=True)
class Negation:
    """The opposite of a statement."""

    item: "Statement"


@dataclass(frozen=True, slots=True)
class Junction:
    """Statements that all hold, or of which at least one holds."""

    is_and: bool
    items: tuple["Statement", ...]


Statement = Relation | Truth | Proposition | Negation | Junction


@dataclass(frozen=True, slots=True)
class Collection:
    """A list, a tuple or a set: `kind` is the opening bracket."""

    kind: str
    items: tuple["Form", ...]


@dataclass(frozen=True, slots=True)
class Region:
    """A set of real numbers: a statement about `ELEMENT`."""

    statement: Statement


Form = Tree | Statement | Collection | Region
STATEMENTS = (Relation, Truth, Proposition, Negation, Junction)


def junction(is_and: bool, items: list[Statement]) -> Statement:
    """Return the junction of one or more statements."""
    return items[0] if len(items) == 1 else Junction(is_and, tuple(items))


def leaves(statement: Statement) -> Iterator[Relation | Truth | Proposition]:
    """Yield the relations, truth values and propositions, from left to right."""
    match statement:
        case Negation(item):
            yield from leaves(item)
        case Junction(_, items):
            for item in items:
                yield from leaves(item)
        case _:
            yield statement


def relations(statement: Statement) -> list[Relation]:
    """Return the relations, from left to right."""
    return [leaf for leaf in leaves(statement) if isinstance(leaf, Relation)]


def trees(form: Form) -> Iterator[Tree]:
    """Yield all expressions in a form."""
    match form:
        case Relation(_, left, right):
            yield left
            yield right
        case Junction(_, items) | Collection(_, items):
            for item in items:
                yield from trees(item)
        case Negation(item):
            yield from trees(item)
        case Region(statement):
            yield from trees(statement)
        case Truth() | Proposition():
            return
        case _:
            yield form


def names_in(form: Form) -> frozenset[str]:
    """Return the names of variables in a form, without propositions and indices of sums."""
    found = set[str]()
    for tree in trees(form):
        found |= free_names(tree)
    return frozenset(found)


def free_names(tree: Tree) -> frozenset[str]:
    """Return the names of variables in an expression, without the indices of sums."""
    return frozenset([name for name in names(tree) if not name.startswith(INDEX)])


def holds(statement: Statement, truths: Mapping[Statement, bool]) -> bool:
    """Return the truth of a statement from the truths of its relations and propositions."""
    match statement:
        case Truth(value):
            return value
        case Negation(item):
            return not holds(item, truths)
        case Junction(is_and, items):
            values = [holds(item, truths) for item in items]
            return all(values) if is_and else any(values)
        case _:
            return truths[statement]


def renamed(statement: Statement, old: str, new: Name) -> Statement:
    """Return the statement with another name for a variable."""

    def change(name: Name) -> Tree:
        return new if name.text == old and name.argument is None else name

    match statement:
        case Relation(operator, left, right):
            return Relation(operator, map_names(left, change), map_names(right, change))
        case Negation(item):
            return Negation(renamed(item, old, new))
        case Junction(is_and, items):
            return Junction(is_and, tuple([renamed(item, old, new) for item in items]))
        case _:
            return statement


def size(form: Form) -> int:
    """Return the number of parts of all expressions in a form."""
    count = 0
    for tree in trees(form):
        for _ in walk(tree):
            count += 1
    return count
