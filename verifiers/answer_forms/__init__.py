"""Parts of the verifier `answers`: forms of answers, their parsers, and their comparison."""
