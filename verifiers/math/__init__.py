"""One lexer, syntax tree, parser and evaluator of mathematical text for all checkers."""
