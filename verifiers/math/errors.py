"""Errors of reading and evaluating mathematical text."""


class UnreadError(Exception):
    """The text is not understood, is ambiguous, or exceeds a bound; the message says why."""


class UndefinedError(Exception):
    """The expression has no value, for instance because it divides by zero."""
