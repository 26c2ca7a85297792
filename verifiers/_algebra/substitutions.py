"""What is known of names by value or by definition, put into a formula: `x = 3` and `x² + 2x = 9 + 6`; `f(x) = x² + 1` and `f(3) = 10`.

A name has a value when one number and no other is stated of it, up to and in this step; a function when the problem defines it by one
formula. An equation between a formula in known names and a number is called false where the right side still shows the arithmetic, as a
substitution does, or where the problem itself states the values and a chain goes on with the number.

What is not covered: decimals, values that a case or a supposition gives, functions by cases or of several variables.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from stepmark.records import Verdict
from verifiers._algebra.closed_forms import Judgement, has_decimals
from verifiers._algebra.contexts import Context
from verifiers._algebra.formulas import TRIGONOMETRIC, Call, Joined, Name, Tree, names, parts
from verifiers._algebra.statements import Chain, Link
from verifiers._algebra.values import UndefinedError, Value, evaluate, order

__all__ = ["judge_called", "judge_substituted"]

ASKING = frozenset(["such", "satisfies", "satisfy", "satisfying", "solve", "find", "which", "equation", "when"])
"""Before `f(x) = …`: it is no definition."""
SUPPOSING = frozenset(["if", "suppose", "assume", "case", "when", "try", "let's", "say", "consider"])
WINDOW = 3
"""How many words before a statement can make it a supposition."""
CONSTANTS = frozenset(["e", "i"])
CONDITION = (Verdict.UNKNOWN, "a condition on variables")


def judge_substituted(link: Link, left: Tree, right: Tree, context: Context) -> Judgement:
    """The verdict on a formula in names that is said to be a number."""
    variables, shows_work = names(left), any(isinstance(part, Joined | Call) for part in parts(right))
    if variables & CONSTANTS or has_decimals(left, right) or not (shows_work or link.index):
        return CONDITION
    given = _values(context.given, supposed=True)
    known = _values((*context.given, *context.before, *context.chains), supposed=False, given=given)
    if not variables <= known.keys() or not (shows_work or variables <= given.keys()):
        return CONDITION
    return _compared(left, right, known, context, ", ".join(f"{name} = {known[name]}" for name in sorted(variables)))


def judge_called(left: Name, right: Tree, context: Context) -> Judgement | None:
    """The verdict on `f(3) = 10`; None where f is not known."""
    letter = left.text.partition("(")[0]
    bodies = _bodies(letter, (*context.given, *context.before, *context.chains))
    if left.argument is None or names(left.argument) or names(right) or len(bodies) != 1 or has_decimals(left.argument, right):
        return None
    variable, body = bodies.pop()
    if body is None or names(body) != {variable} or not _is_defined(letter, context.given):
        return None
    try:
        known = {variable: evaluate(left.argument, {})}
    except UndefinedError:
        return None
    return _compared(body, right, known, context, f"{letter}({variable}) is defined")


def _compared(left: Tree, right: Tree, known: Mapping[str, Value], context: Context, why: str) -> Judgement:
    try:
        ordered = order(evaluate(left, known), evaluate(right, {}))
    except UndefinedError:
        return Verdict.UNKNOWN, "no value"
    if ordered == 0:
        return Verdict.CORRECT, ""
    if ordered is None or context.is_supposed or context.has_cases or has_decimals(left) or _has_angles(left):
        return Verdict.UNKNOWN, "it may be tried or denied"
    return Verdict.INCORRECT, f"it is another number where {why}"


def _has_angles(tree: Tree) -> bool:
    """Whether a name may be an angle, of whatever unit."""
    return any(isinstance(part, Call) and part.function in TRIGONOMETRIC for part in parts(tree))


def _is_defined(letter: str, given: Sequence[Chain]) -> bool:
    """Whether the problem defines the function, rather than asking where it has a value or stating an equation that it satisfies."""
    defining = [chain for chain in given if _bodies(letter, (chain,))]
    called = [part for chain in given for side in chain.sides if side.parsed for part in parts(side.parsed) if isinstance(part, Name)]
    others = [part for part in called if part.text.startswith(f"{letter}(") and part.argument is not None]
    plain = all(isinstance(part.argument, Name) or not names(part.argument) for part in others if part.argument is not None)
    return bool(defining) and plain and all(ASKING.isdisjoint(chain.before) for chain in defining)


def _values(chains: Iterable[Chain], *, supposed: bool, given: Mapping[str, Fraction] | None = None) -> Mapping[str, Fraction]:
    """The names of which one number is stated. A supposition is a statement in a problem (`supposed`), and elsewhere it spoils the name."""
    told: dict[str, set[Fraction | None]] = {name: {value} for name, value in (given or {}).items()}
    for chain in chains:
        name = chain.sides[0].parsed
        if isinstance(name, Name) and chain.relations[0] == "=":
            value = _number(chain)
            doubtful = not supposed and not SUPPOSING.isdisjoint(chain.before[-WINDOW:]) and told.get(name.text) != {value}
            told.setdefault(name.text, set()).add(None if doubtful or "or" in chain.after[:1] else value)
    return {name: value for name, (value, *others) in told.items() if value is not None and not others}


def _number(chain: Chain) -> Fraction | None:
    """The exact number that a chain ends with."""
    tree = chain.sides[-1].tree
    if tree is None or names(tree) or has_decimals(tree) or {*chain.relations} != {"="}:
        return None
    try:
        value = evaluate(tree, {})
    except UndefinedError:
        return None
    return value if isinstance(value, Fraction) else None


def _bodies(letter: str, chains: Iterable[Chain]) -> set[tuple[str, Tree | None]]:
    """The formulas that are said to be the function's value at a variable."""
    found = set[tuple[str, Tree | None]]()
    for chain in chains:
        name = chain.sides[0].parsed
        if isinstance(name, Name) and isinstance(name.argument, Name) and name.text.partition("(")[0] == letter:
            found.add((name.argument.text, chain.sides[1].tree if chain.relations[0] == "=" else None))
    return found
