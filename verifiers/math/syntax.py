"""The syntax tree of a mathematical expression, the same for every dialect, and its errors.

Nodes are immutable and compare by structure.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeGuard


class UnreadError(Exception):
    """The text is not understood, is ambiguous, or exceeds a bound; the message says why."""


class UndefinedError(Exception):
    """The expression has no value, for instance because it divides by zero."""


# A number with fewer decimals is not taken for a rounded one.
MIN_ROUNDED_DECIMALS = 2


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written.

    `value` is the number before its percent sign, `decimals` counts the digits after the decimal
    point, and `unit` contains the words of the unit, singular and in lower case. `has_commas` says
    whether commas group the digits.
    """

    value: Fraction
    decimals: int = 0
    percent: bool = False
    unit: tuple[str, ...] = ()
    has_commas: bool = field(default=False, compare=False)

    @property
    def last_digit(self) -> Fraction:
        """The value of one unit in the last decimal place."""
        return Fraction(1, 10**self.decimals)

    def may_round(self, exact: "Tree | None") -> bool:
        """Return whether this decimal may be `exact`, rounded: then it is neither equal nor wrong.

        `66.67` may be `66.667`, but `0.1` is not `0.10000001`.
        """
        if isinstance(exact, Number):
            return MIN_ROUNDED_DECIMALS <= self.decimals < exact.decimals
        return self.decimals > 0


@dataclass(frozen=True, slots=True)
class Mixed:
    """A whole number before a proper fraction: usually their sum, sometimes their product."""

    integer: Number
    part: Fraction


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or an unknown function with its `argument`, such as `f(3)`."""

    text: str
    argument: "Tree | None" = None


@dataclass(frozen=True, slots=True)
class Constant(Name):
    r"""A name with a fixed value: `\pi`, `e` or `i`."""


@dataclass(frozen=True, slots=True)
class Negated:
    """Unary minus."""

    operand: "Tree"


@dataclass(frozen=True, slots=True)
class Combined:
    """`left operator right`, where the operator is one of `+ - * / ^`."""

    operator: str
    left: "Tree"
    right: "Tree"


@dataclass(frozen=True, slots=True)
class Call:
    """A known function and its arguments.

    Functions of one argument are `sin`, `ln`, `exp` and the like, `abs`, `degrees` and `!`.
    `binom` has two arguments. `root` has the radicand and, unless it is 2, the degree. `log` has
    the argument and, if it is written, the base.
    """

    function: str
    arguments: tuple["Tree", ...]


Tree = Number | Mixed | Name | Negated | Combined | Call

PI = Constant("\\pi")
E = Constant("e")
I = Constant("i")  # noqa: E741 - the mathematical name
# Names that the dialect of running text reads as variables, and that are usually constants.
MAYBE_CONSTANT = frozenset([E.text, I.text])
# A logarithm without a base, among the names of functions.
BARE_LOG = "log without base"
TRIGONOMETRIC = frozenset(["sin", "cos", "tan", "cot", "sec", "csc"])


def walk(tree: Tree) -> Iterator[Tree]:
    """Yield the tree and all its descendants, parents first, from left to right."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        match node:
            case Combined():
                pending += (node.right, node.left)
            case Call():
                pending += reversed(node.arguments)
            case Negated():
                pending.append(node.operand)


def numbers(tree: Tree) -> list[Number]:
    """Return the numbers from left to right."""
    return [part for part in walk(tree) if isinstance(part, Number)]


def terms(tree: Tree) -> Iterator[Tree]:
    """Yield the terms of a sum or difference, without their signs, from left to right."""
    match tree:
        case Negated(operand):
            yield from terms(operand)
        case Combined("+" | "-", left, right):
            yield from terms(left)
            yield from terms(right)
        case _:
            yield tree


def map_numbers(tree: Tree, change: Callable[[Number], Tree]) -> Tree:
    """Return the tree with every number replaced by `change(number)`."""
    match tree:
        case Number():
            return change(tree)
        case Negated(operand):
            return Negated(map_numbers(operand, change))
        case Combined(operator, left, right):
            return Combined(operator, map_numbers(left, change), map_numbers(right, change))
        case Call(function, arguments):
            changed = [map_numbers(argument, change) for argument in arguments]
            return Call(function, tuple(changed))
        case _:
            return tree


def map_names(tree: Tree, change: Callable[[Name], Tree]) -> Tree:
    """Return the tree with every name that is no constant replaced by `change(name)`."""
    match tree:
        case Constant():
            return tree
        case Name():
            return change(tree)
        case Negated(operand):
            return Negated(map_names(operand, change))
        case Combined(operator, left, right):
            return Combined(operator, map_names(left, change), map_names(right, change))
        case Call(function, arguments):
            changed = [map_names(argument, change) for argument in arguments]
            return Call(function, tuple(changed))
        case _:
            return tree


def map_calls(tree: Tree, change: Callable[[Call], Tree]) -> Tree:
    """Return the tree with every call replaced by `change(call)`, inner calls first."""
    match tree:
        case Negated(operand):
            return Negated(map_calls(operand, change))
        case Combined(operator, left, right):
            return Combined(operator, map_calls(left, change), map_calls(right, change))
        case Call(function, arguments):
            changed = [map_calls(argument, change) for argument in arguments]
            return change(Call(function, tuple(changed)))
        case _:
            return tree


def functions(tree: Tree) -> set[str]:
    """Return the names of all known functions; a logarithm may be `BARE_LOG`."""
    called = set[str]()
    for part in walk(tree):
        if isinstance(part, Call):
            is_bare_log = part.function == "log" and len(part.arguments) == 1
            called.add(BARE_LOG if is_bare_log else part.function)
    return called


def has_decimals(*trees: Tree) -> bool:
    """Return whether any number has decimals."""
    for tree in trees:
        if any(number.decimals > 0 for number in numbers(tree)):
            return True
    return False


def names(tree: Tree) -> frozenset[str]:
    """Return the variables and unknown functions; constants are not included."""
    variables = set[str]()
    for part in walk(tree):
        if isinstance(part, Name) and not isinstance(part, Constant):
            variables.add(part.text)
    return frozenset(variables)


def signed_number(tree: Tree) -> Number | None:
    """Return the number if the tree is one number with or without signs, else None."""
    while isinstance(tree, Negated):
        tree = tree.operand
    return tree if isinstance(tree, Number) else None


def is_power(tree: Tree) -> TypeGuard[Combined]:
    """Return whether the outermost operation is a power."""
    return isinstance(tree, Combined) and tree.operator == "^"
