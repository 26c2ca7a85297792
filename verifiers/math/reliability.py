"""The rules and assumptions that are reliable enough for a verdict, by measurement.

`python -m benchmarks.formal` measures them and writes the table in `docs/methods/formal.md`. A rule
or an assumption is listed here if at least 99 % of its decided alarms were true. Everything that is
not listed gives a suspicion.
"""

from collections.abc import Sequence

RELIABLE_RULES = frozenset(
    [
        "equation",
        "unit conversion",
        "closed form",
        "comparison",
        "complex number",
        "rewriting",
        "no solution",
        "radicands",
        "finite sum",
        "function formula",
        "function value",
        "stated identity",
        "substitution",
        "consequence",
        "reversed inequality",
        "value of a name",
        "number predicate",
        "congruence",
        "divisors",
        "claimed solution",
        "solution sets",
        "linear system",
        "sum or product of roots",
        "count of listed items",
        "sum or product of listed items",
    ]
)
RELIABLE_ASSUMPTIONS = frozenset(
    [
        "words precede it",
        "words follow it",
        "units are skipped",
        "a number before a bracket multiplies",
        "decimals are not rounded further",
        "a remark in brackets is skipped",
        "percent signs are hundredths or units",
        "an equation of the step before still holds",
        "an equation without words follows from the one before it",
    ]
)


def is_reliable(rule: str, assumptions: Sequence[str]) -> bool:
    """Return whether a false statement, read with these assumptions, is a verdict."""
    return rule in RELIABLE_RULES and RELIABLE_ASSUMPTIONS.issuperset(assumptions)
