r"""The forms of answers.

x = 5, x \in [0, 1)              Assigned         x > 2, 1 < x \le 3     Assigned, an interval
1, 2    3 or 4    2\pm\sqrt3     Several          \{1, 2\}               Several, a set
(1, 2)    [0, \infty)            Bracketed        (0, 1) \cup (4, 5)     Union
\begin{pmatrix} … \end{pmatrix}  Matrix           2x + 3y = 7            Equation
(A)    B.    (C) 5               Option           Sunday                 Words
x < 1 or x > 3                   Assigned, Union  2x + 3y < 7            Inequality
\begin{cases} … \end{cases}      Cases
"""

from dataclasses import dataclass
from fractions import Fraction

from verifiers.math.syntax import Tree


@dataclass(frozen=True, slots=True)
class Form:
    """The form of an answer."""


@dataclass(frozen=True, slots=True)
class Quantity(Form):
    """An expression, its LaTeX source, and the words of the unit after it."""

    tree: Tree
    source: str
    unit: frozenset[str] = frozenset()
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Infinite(Form):
    """Plus or minus infinity."""

    positive: bool


@dataclass(frozen=True, slots=True)
class Composite(Form):
    """A form that consists of others."""

    items: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class Several(Composite):
    """A list without brackets, or a set; `ordered` means that the order may matter."""

    is_set: bool
    ordered: bool


@dataclass(frozen=True, slots=True)
class Bracketed(Composite):
    """A tuple or an interval; `bounds` means that the context requires an interval."""

    brackets: str
    bounds: bool = False

    @property
    def is_interval(self) -> bool:
        """Whether it must be an interval."""
        if len(self.items) != 2:
            return False
        if self.bounds or self.brackets in ("(]", "[)"):
            return True
        return any(isinstance(item, Infinite) for item in self.items)


@dataclass(frozen=True, slots=True)
class Union(Composite):
    """A union of intervals or sets."""


@dataclass(frozen=True, slots=True)
class Matrix(Composite):
    """The cells of rows of equal length, row by row."""

    columns: int


@dataclass(frozen=True, slots=True)
class Equation(Form):
    """An equation: the difference of its sides, and its LaTeX source."""

    difference: Tree
    source: str


@dataclass(frozen=True, slots=True)
class Inequality(Form):
    """A linear inequality in several variables.

    The sum of all terms is positive, or not negative unless `is_strict`. The terms are names in
    alphabetical order with their coefficients, of which the first is 1 or -1; the last term is the
    constant, whose name is "".
    """

    terms: tuple[tuple[str, Fraction], ...]
    is_strict: bool


@dataclass(frozen=True, slots=True)
class Cases(Form):
    """A function in cases: pairs of a value and the condition under which it is taken."""

    rows: tuple[tuple[Form, Form], ...]


@dataclass(frozen=True, slots=True)
class Assigned(Form):
    """`name = …`, or an inequality that bounds a name; `equation` if it is also an equation."""

    name: str
    form: Form
    equation: Equation | None = None


@dataclass(frozen=True, slots=True)
class Assignments(Composite):
    """`x = 1, y = 2`: different `names` in alphabetical order, and their values."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Option(Form):
    """A letter of a multiple choice, and the answer behind it, if there is one."""

    letter: str
    content: Form | None = None


@dataclass(frozen=True, slots=True)
class Words(Form):
    """An answer in words."""

    words: str
