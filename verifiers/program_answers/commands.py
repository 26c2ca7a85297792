"""Functions and commands of computer algebra systems, applied while a text is read.

Known functions become calls of `verifiers.math.syntax`; `sum` with whole bounds is written out.
Commands that rewrite a value without changing it, such as `expand`, are left out. The names of
unknown functions begin with `UNKNOWN`.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import factorial

from verifiers.math.lexicon import words
from verifiers.math.syntax import (
    Call,
    Combined,
    I,
    Name,
    Negated,
    Number,
    Tree,
    UnreadError,
    map_names,
    names,
    walk,
)
from verifiers.program_answers.derivatives import UNKNOWN, differentiated
from verifiers.program_answers.number_functions import computed, number_tree
from verifiers.program_answers.statements import (
    ELEMENT,
    INDEX,
    STATEMENTS,
    Collection,
    Form,
    Region,
    Relation,
    Statement,
    Truth,
    junction,
)

SUM = "sum"
MAX_TERMS = 100
MAX_PARTS = 600
# The order of derivatives.
MAX_ORDER = 3
ONE = Number(Fraction(1))
TEN = Number(Fraction(10))
UNCHANGED = words(
    "expand factor simplify ratsimp fullratsimp radcan trigsimp trigrat trigreduce trigexpand"
    " rectform polarform logcontract together partfrac apart cancel nsimplify boolean_form"
    " stackeq"
)
KNOWN = words("sin cos tan cot sec csc exp abs sinh cosh tanh ln log")
# Functions of one argument by the names that the evaluation of trees uses.
FUNCTIONS: Mapping[str, str] = {
    **{name: name for name in KNOWN},
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan")},
    **{f"arc{name}": f"arc{name}" for name in ("sin", "cos", "tan")},
    "Abs": "abs",
    "factorial": "!",
    "cosec": "csc",
}
RECIPROCALS = {"sech": "cosh", "csch": "sinh", "cosech": "sinh"}
INFINITE = {"inf": 1, "oo": 1, "minf": -1}
# The brackets of intervals by the functions that build them.
INTERVALS = {"oo": "()", "oc": "(]", "co": "[)", "cc": "[]"}
INTERVALS |= {"Interval": "[]", "Interval.open": "()"}
INTERVALS |= {"Interval.Lopen": "(]", "Interval.Ropen": "[)"}


def apply(name: str, arguments: Sequence[Form]) -> Form:
    """Return the value of an application. Raises UnreadError for wrong arguments."""
    if name in UNCHANGED and len(arguments) == 1:
        return arguments[0]
    # `ev(expression, flag)`
    if name == "ev" and all(type(flag) is Name for flag in arguments[1:]):
        return arguments[0]
    if name in ("FiniteSet", "set"):
        return Collection("{", tuple(arguments))
    if name in INTERVALS and len(arguments) == 2:
        return _interval(INTERVALS[name], *arguments)
    if name in ("Union", "%union", "Intersection"):
        return _joined([_region(item) for item in arguments], is_and=name == "Intersection")
    trees = list[Tree]()
    for argument in arguments:
        if isinstance(argument, (*STATEMENTS, Collection, Region)):
            raise UnreadError("a statement in an expression")
        trees.append(argument)
    if not trees:
        raise UnreadError("a function without arguments")
    number = computed(name, trees)
    if number is None:
        return _value(name, trees)
    return number


def _value(name: str, trees: Sequence[Tree]) -> Tree:
    """Return the value of a function of expressions."""
    if len(trees) == 1:
        if name in FUNCTIONS:
            return Call(FUNCTIONS[name], tuple(trees))
        if name in RECIPROCALS:
            return Combined("/", ONE, Call(RECIPROCALS[name], tuple(trees)))
    build = SPECIAL.get((name, len(trees)))
    if build is not None:
        return build(*trees)
    if name in FUNCTIONS or "." in name or "%" in name:
        raise UnreadError("a function with other arguments")
    return Call(UNKNOWN + name, tuple(trees))


def _sqrt(radicand: Tree) -> Tree:
    return Call("root", (radicand,))


def _root(radicand: Tree, degree: Tree) -> Tree:
    return Combined("^", radicand, Combined("/", ONE, degree))


def _log(argument: Tree, base: Tree) -> Tree:
    return Combined("/", Call("ln", (argument,)), Call("ln", (base,)))


def _binomial(upper: Tree, lower: Tree) -> Tree:
    return Call("binom", (upper, lower))


def _product(number: Tree, unit: Tree) -> Tree:
    return Combined("*", number, unit)


def summation(body: Tree, index: Tree, low: Tree, high: Tree) -> Tree:
    """Return a sum: written out if its bounds are whole numbers. Raises UnreadError."""
    if not isinstance(index, Name) or type(index) is not Name:
        raise UnreadError("a sum without an index")
    first = _whole(low)
    last = _whole(high)
    if first is None or last is None:
        bound = Name(INDEX + index.text)
        return Call(SUM, (substituted(body, index.text, bound), bound, low, high))
    if last < first - 1:
        raise UnreadError("a sum whose sign depends on the convention")
    return _written_out("+", body, index.text, range(first, last + 1))


def finite_product(body: Tree, index: Tree, low: Tree, high: Tree) -> Tree:
    """Return a product with whole bounds, written out. Raises UnreadError."""
    first = _whole(low)
    last = _whole(high)
    if type(index) is not Name or first is None or last is None or last < first - 1:
        raise UnreadError("a product without whole bounds")
    return _written_out("*", body, index.text, range(first, last + 1))


def _written_out(operator: str, body: Tree, index: str, numbers: range) -> Tree:
    # Sums in sums multiply.
    size = 0
    for _ in walk(body):
        size += 1
    if len(numbers) > MAX_TERMS or size * len(numbers) > MAX_PARTS:
        raise UnreadError("too many terms")
    total: Tree = Number(Fraction(operator == "*"))
    for number in numbers:
        term = substituted(body, index, number_tree(Fraction(number)))
        total = Combined(operator, total, term)
    return total


def derivative(body: Tree, name: Tree, order: Tree = ONE) -> Tree:
    """Return the derivative of an expression. Raises UnreadError for unknown functions."""
    count = _whole(order)
    if type(name) is not Name or count is None or not 0 <= count <= MAX_ORDER:
        raise UnreadError("a derivative that is not understood")
    # In `diff(y,x)`, y may depend on x.
    if names(body) and name.text not in names(body):
        raise UnreadError("a derivative by a name that does not occur")
    for _ in range(count):
        body = differentiated(body, name.text)
    return body


def taylor(body: Tree, name: Tree, point: Tree, order: Tree) -> Tree:
    """Return the Taylor polynomial of an expression. Raises UnreadError."""
    count = _whole(order)
    if type(name) is not Name or count is None or not 0 <= count <= MAX_ORDER:
        raise UnreadError("a Taylor polynomial that is not understood")
    total: Tree = Number(Fraction(0))
    for power in range(count + 1):
        value = substituted(body, name.text, point)
        distance = Combined("^", Combined("-", name, point), Number(Fraction(power)))
        term = Combined("*", value, distance if power else ONE)
        total = Combined("+", total, Combined("/", term, Number(Fraction(factorial(power)))))
        if power < count:
            body = differentiated(body, name.text)
    return total


SPECIAL: Mapping[tuple[str, int], Callable[..., Tree]] = {
    ("sqrt", 1): _sqrt,
    ("root", 1): _sqrt,
    ("root", 2): _root,
    ("cbrt", 1): lambda radicand: _root(radicand, Number(Fraction(3))),
    ("lg", 1): lambda argument: _log(argument, TEN),
    ("lg", 2): _log,
    ("log", 2): _log,
    ("log10", 1): lambda argument: _log(argument, TEN),
    ("log2", 1): lambda argument: _log(argument, Number(Fraction(2))),
    ("binomial", 2): _binomial,
    ("stackunits", 2): _product,
    ("sum", 4): summation,
    ("product", 4): finite_product,
    ("taylor", 4): taylor,
    ("diff", 2): derivative,
    ("diff", 3): derivative,
    ("conjugate", 1): lambda argument: Call(UNKNOWN + "conjugate", (argument,)),
    ("complex", 2): lambda re, im: Combined("+", re, Combined("*", im, I)),
}


def substituted(tree: Tree, name: str, value: Tree) -> Tree:
    """Return the tree with a value for a name."""

    def change(part: Name) -> Tree:
        if part.text == name:
            return value
        return part

    return map_names(tree, change)


def _whole(tree: Tree) -> int | None:
    match tree:
        case Number(value, 0) if value.denominator == 1:
            return int(value)
        case Negated(Number(value, 0)) if value.denominator == 1:
            return -int(value)
        case _:
            return None


def _end(form: Form) -> tuple[Tree | None, int]:
    """Return an end of an interval, or None and the sign of an infinite one."""
    match form:
        case Name(text) if text in INFINITE:
            return None, INFINITE[text]
        case Negated(Name(text)) if text in INFINITE:
            return None, -INFINITE[text]
        case Number() | Negated() | Combined() | Call() | Name():
            return form, 0
        case _:
            raise UnreadError("an end that is no number")


def _interval(brackets: str, low: Form, high: Form) -> Region:
    start, sign = _end(low)
    items = list[Statement]()
    if start is not None:
        items.append(Relation("<" if brackets[0] == "(" else "<=", start, ELEMENT))
    elif sign > 0:
        raise UnreadError("an interval that begins at infinity")
    end, sign = _end(high)
    if end is not None:
        items.append(Relation("<" if brackets[1] == ")" else "<=", ELEMENT, end))
    elif sign < 0:
        raise UnreadError("an interval that ends at infinity")
    return Region(junction(True, items) if items else Truth(True))


def _region(form: Form) -> Statement:
    """Return the statement about the elements of a set."""
    match form:
        case Region(statement):
            return statement
        case Collection("{", items):
            values = list[Statement]()
            for item in items:
                end = _end(item)[0]
                if end is None:
                    raise UnreadError("an infinite element")
                values.append(Relation("=", ELEMENT, end))
            return junction(False, values)
        case _:
            raise UnreadError("not a set of numbers")


def _joined(items: list[Statement], *, is_and: bool) -> Region:
    if not items:
        raise UnreadError("a union of nothing")
    return Region(junction(is_and, items))


def region_of(form: Form) -> Region | None:
    """Return a set of numbers as a region, or None for another form."""
    if isinstance(form, Region):
        return form
    if isinstance(form, Collection) and form.kind == "{":
        return Region(_region(form))
    return None
