"""Derivatives of expressions."""

from fractions import Fraction

from verifiers.math.syntax import (
    Call,
    Combined,
    Constant,
    Name,
    Negated,
    Number,
    Tree,
    UnreadError,
    names,
    walk,
)

# What the names of unknown functions begin with; their derivatives have a prime behind it.
UNKNOWN = "?"
ZERO = Number(Fraction(0))
ONE = Number(Fraction(1))
TWO = Number(Fraction(2))
MAX_PARTS = 300


def differentiated(tree: Tree, name: str) -> Tree:
    """Return the derivative by a name. Raises UnreadError for functions without a known one."""
    size = 0
    for _ in walk(tree):
        size += 1
    if size > MAX_PARTS:
        raise UnreadError("too long")
    return _derivative(tree, name)


def _derivative(tree: Tree, name: str) -> Tree:
    match tree:
        case Number() | Constant():
            return ZERO
        case Name(text):
            return ONE if text == name else ZERO
        case Negated(operand):
            return Negated(_derivative(operand, name))
        case Combined(operator, left, right):
            return _of_operation(operator, left, right, name)
        case Call(function, (argument,)) if function.startswith(UNKNOWN):
            outer = Call(function + "'", (argument,))
            return Combined("*", outer, _derivative(argument, name))
        case Call(function, (argument,)):
            return Combined("*", _outer(function, argument), _derivative(argument, name))
        case _:
            raise UnreadError("a function without a known derivative")


def _of_operation(operator: str, left: Tree, right: Tree, name: str) -> Tree:
    first = _derivative(left, name)
    second = _derivative(right, name)
    if operator in "+-":
        return Combined(operator, first, second)
    if operator == "*":
        return Combined("+", Combined("*", first, right), Combined("*", left, second))
    if operator == "/":
        product = Combined("-", Combined("*", first, right), Combined("*", left, second))
        return Combined("/", product, Combined("^", right, TWO))
    if name in names(right):
        raise UnreadError("a function without a known derivative")
    power = Combined("^", left, Combined("-", right, ONE))
    return Combined("*", Combined("*", right, power), first)


def _outer(function: str, argument: Tree) -> Tree:
    """Return the derivative of a function of one argument, at the argument."""
    match function:
        case "sin":
            return Call("cos", (argument,))
        case "cos":
            return Negated(Call("sin", (argument,)))
        case "tan":
            return Combined("/", ONE, Combined("^", Call("cos", (argument,)), TWO))
        case "exp":
            return Call("exp", (argument,))
        case "ln":
            return Combined("/", ONE, argument)
        case "sinh":
            return Call("cosh", (argument,))
        case "cosh":
            return Call("sinh", (argument,))
        case "root":
            return Combined("/", ONE, Combined("*", TWO, Call("root", (argument,))))
        case _:
            raise UnreadError("a function without a known derivative")
