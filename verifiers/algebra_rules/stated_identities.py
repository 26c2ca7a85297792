r"""Find identities of known functions that are stated and false: `\tan(180° - x) = \cot x`.

An equation in names, such as `\sin x = 2\cos x`, may be a condition. It is stated as an identity if
the words directly before it say so ("we know that", "recall that", "by the formula") and both sides
contain the same names. It is false if it fails at all sample points and for all common bases of
logarithms. Signs and ranges may make it true in some places only: then it is not decided.

What is not covered: identities of other names than those of one formula, such as the law of
cosines.
"""

import re
from collections.abc import Iterator

from verifiers.algebra_rules.contexts import Condition, Context
from verifiers.algebra_rules.identities import Equality, compare
from verifiers.algebra_rules.rewritings import condition_on
from verifiers.algebra_rules.statements import Link
from verifiers.math.findings import StepJudgement, false
from verifiers.math.syntax import (
    BARE_LOG,
    MAYBE_CONSTANT,
    TRIGONOMETRIC,
    Tree,
    functions,
    names,
)

IDENTITY = "stated identity"
KNOWN_TO_HOLD = "what is known is an identity"
ANNOUNCED = re.compile(
    r"\b(?:identit\w*|recall\w*|fact that|formulas?|propert\w+|for (?:all|any|every)|laws?"
    r"|rules?)\b"
)
# An equation of the problem is known as well.
KNOWN_BEFORE = re.compile(r"\b(?:know|known)\b")
# Words that make the equation one of the problem.
GIVEN = re.compile(
    r"\b(?:given|equations?|solve|solving|conditions?|problem|becomes?|into|simplif\w+|this"
    r"|gives?|get|have|obtain)\b"
)
# How many words before an equation may announce it.
WORDS_BEFORE = 9
KNOWN = TRIGONOMETRIC | {"ln", "log", "exp", "root"}


def judge_stated_identity(
    link: Link, left: Tree, right: Tree, context: Context
) -> StepJudgement | None:
    """Judge an equation that is not true; None if it is no identity that is false everywhere."""
    variables = names(left)
    called = functions(left) | functions(right)
    if variables != names(right) or variables & MAYBE_CONSTANT or called.isdisjoint(KNOWN):
        return None
    words = " ".join(link.before[-WORDS_BEFORE:])
    # A bare logarithm may have any base, and another one may make the equation true.
    if link.index > 0 or BARE_LOG in called or GIVEN.search(words):
        return None
    if not (ANNOUNCED.search(words) or KNOWN_BEFORE.search(words)):
        return None
    relation = compare(left, right)
    if relation.equality not in (Equality.NEVER, Equality.NEVER_SEEN):
        return None
    reason = f"the sides differ, as at {relation.counterexample}"
    return false(
        IDENTITY,
        reason,
        "" if ANNOUNCED.search(words) else KNOWN_TO_HOLD,
        condition_on(variables, _other_conditions((left, right), context)),
    )


def _other_conditions(sides: tuple[Tree, Tree], context: Context) -> Iterator[Condition]:
    """Yield the conditions without the equation itself, unless it is stated several times."""
    is_first = True
    for condition in context.conditions:
        if is_first and {condition.left, condition.right} == set(sides):
            is_first = False
        else:
            yield condition
