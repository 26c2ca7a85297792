"""The words and LaTeX commands that decide how an answer is read; what a list lacks makes an answer unknown."""

__all__ = [
    "COMMANDS",
    "COUNTING",
    "FUNCTIONS",
    "GREEK",
    "MATRICES",
    "NO_PRODUCTS",
    "NUMBER_WORDS",
    "PARAMETERS",
    "PRODUCTS",
    "SYNONYMS",
    "VOCABULARIES",
]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FUNCTIONS = frozenset(_words("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp"))

GREEK = frozenset(
    _words(
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau phi varphi chi psi"
        " omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega"
    )
)

COMMANDS = frozenset(_words(r"frac sqrt pi infty times cdot div pm mp le ge cup in binom begin end circ { } % $ \ |"))
"""Understood, beside functions and Greek letters."""

SYNONYMS = {
    "leq": "le", "leqslant": "le", "geq": "ge", "geqslant": "ge", "lt": "<", "gt": ">", "land": "and", "lor": "or", "imath": "i",
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "tbinom": "binom", "dbinom": "binom", "ast": "cdot",
    "lbrace": "{", "rbrace": "}", "lvert": "|", "rvert": "|", "vert": "|",
}  # fmt: skip
"""Commands that are spelled otherwise."""

MATRICES = frozenset(_words("pmatrix bmatrix matrix Bmatrix"))

PRODUCTS = frozenset(_words("abc xyz pqr"))
"""Words of three letters that are products of names; those of two are, when all letters are names."""

NO_PRODUCTS = frozenset(_words("am an as at by my us up cm mm km ms pm mt"))

COUNTING = frozenset(
    _words(
        "am pm base binary octal hexadecimal below under ago bc ad loss debt least most and or tenth tenths hundredth hundredths thousandth"
        " thousandths millionth millionths lakh lakhs crore crores grand bn mn more less fewer"
    )
)
"""Words after a number that change what it says."""

NUMBER_WORDS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
    " twenty"
)
"""At the place that they name."""

PARAMETERS = frozenset(_words(r"c C k K n m N M j l t \lambda \alpha \theta"))
"""Names that may stand for any constant or any whole number: families of answers can be written in many ways."""

VOCABULARIES = tuple(
    frozenset(_words(words))
    for words in (
        "yes no",
        "true false unprovable",
        "odd even neither",
        "always sometimes never",
        "monday tuesday wednesday thursday friday saturday sunday",
        "january february march april may june july august september october november december",
    )
)
"""Of the words of one of them only one can be right."""
