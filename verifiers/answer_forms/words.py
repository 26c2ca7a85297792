"""Words that decide how an answer is read; a missing word makes the verdict unknown."""

# LaTeX environments of matrices.
MATRICES = frozenset("pmatrix bmatrix matrix Bmatrix".split())

# Words after a number that change its value.
COUNTING = frozenset(
    (
        "am pm base binary octal hexadecimal below under ago bc ad loss debt least most and or"
        " tenth tenths hundredth hundredths thousandth thousandths millionth millionths"
        " lakh lakhs crore crores grand bn mn more less fewer"
    ).split()
)

# The names of the numbers from 0.
NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty"
).split()

# Names of arbitrary constants or integers: a family of answers can be written in many ways.
PARAMETERS = frozenset(r"c C k K n m N M j l t \lambda \alpha \theta".split())

# Sets of words of which only one can be the right answer.
VOCABULARIES = tuple(
    frozenset(words.split())
    for words in (
        "yes no",
        "true false unprovable",
        "odd even neither",
        "always sometimes never",
        "monday tuesday wednesday thursday friday saturday sunday",
        "january february march april may june july august september october november december",
    )
)
