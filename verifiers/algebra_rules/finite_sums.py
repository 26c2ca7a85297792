r"""Judge what is stated about finite sums and products: `\sum_{k=1}^{5} k^2 = 55`.

How they are read, also those with dots, is described in `verifiers.math.series`. Closed ones are
evaluated term by term, within a bound. A sum up to a name, such as `1 + 2 + \cdots + n`, is
compared with a formula in the same name at natural numbers.

Whichever rule finds a statement about a series false, it gives a suspicion: in "the sum of the
divisors of 24 is 1 + 2 + 3 + … + 24", the dots do not stand for all numbers.
"""

from verifiers.algebra_rules.identities import Equality, compare
from verifiers.math.findings import StepJudgement, false
from verifiers.math.series import SERIES
from verifiers.math.syntax import Call, Tree, functions, names

FINITE_SUM = "finite sum"
ALL_TERMS = "a series has all terms that its dots or its index suggest"
FOR_ALL = "a formula for a sum holds for all values of its names"


def has_series(*trees: Tree) -> bool:
    """Return whether a sum or a product over an index occurs."""
    return any(not SERIES.isdisjoint(functions(tree)) for tree in trees)


def all_terms_of(*trees: Tree) -> str:
    """Return the assumption that series are read with all their terms; empty without series."""
    return ALL_TERMS if has_series(*trees) else ""


def judge_sum_formula(left: Tree, right: Tree) -> StepJudgement | None:
    """Judge a formula for a sum or a product; None if it is none that is false everywhere."""
    if not isinstance(left, Call) or left.function not in SERIES or has_series(right):
        return None
    _, lower, upper, _ = left.arguments
    has_open_end = bool(names(lower) | names(upper))
    # Otherwise a name in the terms may be the one that is sought.
    if not has_open_end or names(left) != names(right):
        return None
    relation = compare(left, right)
    if relation.equality not in (Equality.NEVER, Equality.NEVER_SEEN):
        return None
    reason = f"the sides differ, as at {relation.counterexample}"
    return false(FINITE_SUM, reason, FOR_ALL)
