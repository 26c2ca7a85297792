"""Random hostile texts: powers of powers, deep nesting, code, control characters and macros."""

from collections.abc import Sequence

from hypothesis import strategies as st

__all__ = ["EXECUTION_MARKER", "texts"]

# The name of a file that some of the texts try to create. It must never exist.
EXECUTION_MARKER = "stepmark-was-here"


def _words(text: str) -> Sequence[str]:
    return text.split()


SIGNS = _words(
    r"= == < > ≤ ≈ ≠ + - * / ^ ! | , . ; : & % $ \( \) \[ \] \\ $$ ° √ ² "
    r"so or and if then simplifies to of gives \implies"
)
NUMBERS = _words(
    "0 1 2 7 9 0.1 .5 1e999999999 99999999999999999999 ١٢ ½ ∞ NaN -0 1/0 0^0 0^{-1} "
    # A number with separators, and one with as many digits as a double holds.
    "1,000,000 3.14159265358979"
)
NAMES = _words(r"x y n a_{n+1} i e \pi \theta f(x) f^{-1}(x) P(2) AB \omega x' d dx")
FORMULAS = [
    "(x+y+z+w)^{24}",
    "(a+b)^{64}",
    "(x+1)^{999999999}",
    "x^{y^{z}}",
    "9^{9^{9^{9}}}",
    "9**9**9**9",
    "10000000!",
    "5!!!!",
    "((3!)!)!",
    r"\binom{1000000000}{500000000}",
    r"\sqrt[0]{0}",
    r"\sqrt[99]{-1}",
    r"\log_{0}{0}",
    r"\log_1 5",
    r"\sin^{99} x",
    r"\tan 90^\circ",
    r"\frac{1}{\frac{1}{0}}",
    r"\frac{x-x}{y-y}",
    r"\cos(10^{60})",
    "2^{-99999}",
    "|||x|||",
    "1/2x",
    "<<1+1=3>>",
]
CODE = [
    f"__import__('os').system('touch {EXECUTION_MARKER}')",
    f"open('{EXECUTION_MARKER}', 'w')",
    f"exec(\"open('{EXECUTION_MARKER}','w')\")",
    f"().__class__.__base__.__subclasses__()[0]('{EXECUTION_MARKER}')",
    f"lambda: open('{EXECUTION_MARKER}', 'a')",
    "{0.__class__}",
    "${7*7}",
    "{{7*7}}",
    "%n%s",
    "; rm -rf .",
    "'; DROP TABLE steps; --",
]
MACROS = [
    r"\def\a{\a\a}\a",
    r"\newcommand{\x}{\x\x}\x",
    r"\begin{align*}",
    r"\end{align*}",
    r"\begin{pmatrix} 1 & 2 \\ 3",
    r"\begin{cases}",
    r"\input{/etc/passwd}",
    rf"\write18{{touch {EXECUTION_MARKER}}}",
    r"\text{",
    r"\boxed{",
    r"\left(",
    "[asy]",
    r"\overline{",
]
CHARACTERS = [
    "\0",
    # Surrogates that cannot be encoded as UTF-8.
    "\ud800",
    "\udfff",
    # Characters that change the direction of text or are invisible.
    "\u202e",
    "\u2066",
    "\u200b",
    "\ufeff",
    "\x1b[2J",
    "\r",
    "\x85",
    "é",
    # Many accents on one letter.
    "\u0301" * 40,
    "😀",
]
REPEATED = [
    *_words(r"( ) { } [ - = $ ^ | 9 1+ x \frac{ \sqrt{ x^{ f( \\ << _{"),
    "1 = ",
    "a b ",
    "\n",
    " ",
]


@st.composite
def _repetitions(draw: st.DrawFn) -> str:
    piece = draw(st.sampled_from(REPEATED))
    return piece * draw(st.sampled_from([2, 3, 30, 300]))


@st.composite
def _parentheses(draw: st.DrawFn) -> str:
    depth = draw(st.integers(min_value=1, max_value=300))
    return "(" * depth + "1" + ")" * depth


@st.composite
def _towers(draw: st.DrawFn) -> str:
    base = draw(st.integers(2, 99))
    height = draw(st.integers(2, 60))
    return "^".join([str(base)] * height)


@st.composite
def _joined(draw: st.DrawFn) -> str:
    glue = draw(st.sampled_from([" ", "", " = ", "\n", " so ", "$"]))
    return glue.join(draw(st.lists(pieces, min_size=1, max_size=14)))


atoms = st.sampled_from([*SIGNS, *NUMBERS, *NAMES, *FORMULAS, *CODE, *MACROS, *CHARACTERS])
# Atoms are listed three times to make them more frequent.
pieces = st.one_of(
    atoms, atoms, atoms, _repetitions(), _parentheses(), _towers(), st.text(max_size=20)
)
texts = _joined()
