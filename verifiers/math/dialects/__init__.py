r"""The dialects: what differs between running text, formulas with variables, and final answers.

Everything that is not listed here is the same for all three: see `verifiers.math.lexer` and
`verifiers.math.parser`.

    rule                   arithmetic              algebra                  answers
    ---------------------  ----------------------  -----------------------  ----------------------
    unknown text           token OTHER             token OTHER              error
    letters                words, never names      names in mathematics     names, products `xy`
    units, %, currency     part of a number        not read                 read by `answer_forms`
    end of expression      longest prefix          all tokens               all tokens
    juxtaposition          glued "(" only          glued, or in `$…$`       always
    `2 1/2`                not read                not read                 mixed number
    `-2^2`                 not read                not read                 -(2^2)
    `--2`                  read                    read                     read before a term only
    `-x^2`                 no names                -(x^2)                   -(x^2)
    `f(3)`                 no names                unknown function         not read
    `\sin x`               no functions            degrees or radians       radians, `°` converts
    `\sin^2 x`             no functions            trigonometric only       all functions
    `e`, `i`               no names                names                    constants
    `\sqrt12`              root of 12              root of 12               not read (one digit)
    `x!`, `|x|`            not read                read                     `|` not nested
    leading zeros          read                    read                     not read (number bases)
"""
