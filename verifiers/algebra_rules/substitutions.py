"""Judge formulas whose names have known values: `x = 3` and `x² + 2x = 9 + 6`.

A name has a value if exactly one number is stated for it, up to and including this step. An
unknown function is known if the question defines it by one formula: `f(x) = x² + 1`, and then
`f(3) = 10`. An equation between a formula in known names and a number is false only if the right
side still shows the arithmetic, as a substitution does, or if the question states the values and a
chain continues with the number. What is false is a suspicion: in "x = 3 at t = 0. At t = 1,
2x + 1 = 2 · 5 + 1", the name has another value.

What is not covered: decimals, values that a case or a supposition gives, functions that are
defined by cases or have several variables.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from stepmark.records import Verdict
from verifiers.algebra_rules.contexts import Context
from verifiers.algebra_rules.finite_sums import all_terms_of
from verifiers.algebra_rules.rewritings import CONDITION
from verifiers.algebra_rules.statements import Chain, Link
from verifiers.algebra_rules.values import evaluate, order, rational_value
from verifiers.math import syntax
from verifiers.math.findings import HOLDS, StepJudgement, false, undecided
from verifiers.math.intervals import Real
from verifiers.math.lexicon import words
from verifiers.math.syntax import (
    MAYBE_CONSTANT,
    Name,
    Tree,
    UndefinedError,
    functions,
    has_decimals,
    names,
    walk,
)

# Words before `f(x) = …` that make it an equation and not a definition.
ASKING = words("such satisfies satisfy satisfying solve find which equation when")
SUPPOSING = words("if suppose assume case when try let's say consider")
# How many words before a statement may make it a supposition.
WORDS_BEFORE = 3
SUBSTITUTION = "substitution"
FUNCTION_VALUE = "function value"
STILL_HOLDS = "a value that was stated before still holds"
Equation = tuple[Tree, Tree]


def judge_substitution(link: Link, left: Tree, right: Tree, context: Context) -> StepJudgement:
    """Judge a formula in names that is said to be a number."""
    variables = names(left)
    shows_work = any(isinstance(part, syntax.Combined | syntax.Call) for part in walk(right))
    is_claimed = shows_work or link.index > 0
    if variables & MAYBE_CONSTANT or has_decimals(left, right) or not is_claimed:
        return undecided(CONDITION)
    stated = _stated_values(context.question, is_question=True, initial={})
    values = _stated_values(context.all_chains, is_question=False, initial=stated)
    if not variables <= values.keys() or not (shows_work or variables <= stated.keys()):
        return undecided(CONDITION)
    reason = ", ".join([f"{name} = {values[name]}" for name in sorted(variables)])
    of_step = _stated_values(context.chains, is_question=False, initial={})
    is_carried = not variables <= of_step.keys()
    judgement = _compare(SUBSTITUTION, (left, right), values, context, reason)
    if is_carried and judgement.verdict is Verdict.INCORRECT:
        return judgement._replace(assumptions=(*judgement.assumptions, STILL_HOLDS))
    return judgement


def judge_function_value(left: Name, right: Tree, context: Context) -> StepJudgement | None:
    """Judge `f(3) = 10`; None if the function is not known."""
    if left.argument is None:
        return None
    letter = left.text.partition("(")[0]
    stated = definitions(letter, context.all_chains)
    if names(left.argument) or names(right) or len(stated) != 1:
        return None
    variable, body = stated.pop()
    if body is None or names(body) != {variable} or has_decimals(left.argument, right):
        return None
    if not is_defined(letter, context.question):
        return None
    try:
        values = {variable: evaluate(left.argument, {})}
    except UndefinedError:
        return None
    reason = f"{letter}({variable}) is defined"
    return _compare(FUNCTION_VALUE, (body, right), values, context, reason)


def _compare(
    rule: str, sides: Equation, values: Mapping[str, Real], context: Context, reason: str
) -> StepJudgement:
    left, right = sides
    try:
        sign = order(left, right, values)
    except UndefinedError:
        return undecided("no value")
    if sign == 0:
        return HOLDS
    # A name inside a sine may be an angle in any unit.
    if sign is None or has_decimals(left) or functions(left) & syntax.TRIGONOMETRIC:
        return undecided("off by rounding, or an angle")
    reason = f"it is another number where {reason}"
    return false(rule, reason, context.cases, all_terms_of(left, right))


def is_defined(letter: str, question: Sequence[Chain]) -> bool:
    """Return whether the question defines the function.

    It may instead ask where the function has a value, or state an equation that it satisfies.
    """
    is_defined = False
    for chain in question:
        if definitions(letter, (chain,)):
            is_defined = True
            if not ASKING.isdisjoint(chain.before):
                return False
        for side in chain.sides:
            if side.parsed is not None and _is_applied_to_formula(letter, side.parsed):
                return False
    return is_defined


def _is_applied_to_formula(letter: str, tree: Tree) -> bool:
    """Return whether the function has an argument that is neither a name nor a number."""
    for part in walk(tree):
        if not isinstance(part, Name) or part.argument is None:
            continue
        is_formula = bool(names(part.argument)) and not isinstance(part.argument, Name)
        if is_formula and part.text.startswith(f"{letter}("):
            return True
    return False


def _stated_values(
    chains: Iterable[Chain], *, is_question: bool, initial: Mapping[str, Fraction]
) -> Mapping[str, Fraction]:
    """Return the names for which exactly one number is stated.

    In a question, a supposition is a statement. In a step, it makes the value unknown.
    """
    values = dict[str, set[Fraction | None]]()
    for name, value in initial.items():
        values[name] = {value}
    for chain in chains:
        subject = chain.sides[0].parsed
        if not isinstance(subject, Name) or chain.relations[0] != "=":
            continue
        number = _final_number(chain)
        words = chain.before[-WORDS_BEFORE:]
        # "Find x when y = 3" asks about another moment than the one that the values are of.
        is_supposed = "when" in words or (not is_question and not SUPPOSING.isdisjoint(words))
        if is_supposed and values.get(subject.text) != {number}:
            number = None
        if "or" in chain.after[:1]:
            number = None
        values.setdefault(subject.text, set()).add(number)
    single = dict[str, Fraction]()
    for name, stated in values.items():
        number = next(iter(stated))
        if len(stated) == 1 and number is not None:
            single[name] = number
    return single


def _final_number(chain: Chain) -> Fraction | None:
    """Return the exact number at the end of a chain of equations."""
    tree = chain.sides[-1].tree
    if tree is None or set(chain.relations) != {"="}:
        return None
    return rational_value(tree)


def definitions(letter: str, chains: Iterable[Chain]) -> set[tuple[str, Tree | None]]:
    """Return the variables and formulas that are stated as the value of a function."""
    stated = set[tuple[str, Tree | None]]()
    for chain in chains:
        name = chain.sides[0].parsed
        if not isinstance(name, Name) or not isinstance(name.argument, Name):
            continue
        if name.text.partition("(")[0] == letter:
            body = chain.sides[1].tree if chain.relations[0] == "=" else None
            stated.add((name.argument.text, body))
    return stated
