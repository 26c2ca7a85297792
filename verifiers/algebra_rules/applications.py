"""Unknown functions in formulas: each application of one becomes a variable.

`f(x + 1)` and `f(1 + x)` become the same variable, `f(x)` becomes another one. Formulas that are
equal with these variables are equal for every function. Formulas without a common value have none
for any function, because the variables may have any values.
"""

from collections.abc import Sequence

from verifiers.algebra_rules.ratios import difference, ratios
from verifiers.math.syntax import Name, Tree, UnreadError, map_names, walk

# All pairs of applications are compared.
MAX_APPLICATIONS = 8


def function_letter(name: Name) -> str:
    """Return the letter of an applied function, with its index and primes: `f` for `f(x + 1)`."""
    return name.text.partition("(")[0].partition("[")[0]


def applied_letters(*trees: Tree) -> frozenset[str]:
    """Return the letters of all unknown functions that are applied, also inside arguments."""
    letters = set[str]()
    pending = list(trees)
    while pending:
        for part in walk(pending.pop()):
            if isinstance(part, Name) and part.argument is not None:
                letters.add(function_letter(part))
                pending.append(part.argument)
    return frozenset(letters)


def without_applications(*trees: Tree) -> Sequence[Tree]:
    """Return the trees with a variable for every application of an unknown function.

    Raises UnreadError if there are too many.
    """
    variables = _Variables()
    return [map_names(tree, variables.replace) for tree in trees]


class _Variables:
    """The variables of the applications so far, with the letter and the argument of each."""

    def __init__(self) -> None:
        self.applications = list[tuple[str, Tree]]()

    def replace(self, name: Name) -> Tree:
        """Return a variable for an application, and every other name as it is."""
        if name.argument is None:
            return name
        letter = function_letter(name)
        # The inner applications come first: `f(f(x))` is an application to a variable.
        argument = map_names(name.argument, self.replace)
        for index, (other_letter, other) in enumerate(self.applications):
            if letter == other_letter and _are_equal(argument, other):
                return Name(f"{letter}#{index}")
        if len(self.applications) == MAX_APPLICATIONS:
            raise UnreadError("too many functions")
        self.applications.append((letter, argument))
        return Name(f"{letter}#{len(self.applications) - 1}")


def _are_equal(first: Tree, second: Tree) -> bool:
    if first == second:
        return True
    fractions = ratios(first, second)
    return fractions is not None and not difference(*fractions)
