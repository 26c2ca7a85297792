"""Decide when a decimal may be a rounded number: then it is neither equal nor wrong."""

# `66.67` may be `66.667`, but `0.1` is not `0.10000001`.
MIN_DECIMALS = 2


def may_round(shown: int, exact: int | None) -> bool:
    """Return whether a number of `shown` decimals may be a rounded one of `exact` decimals.

    `exact` is None for a value that is not a plain number.

    >>> may_round(2, None), may_round(1, None), may_round(2, 3), may_round(1, 8), may_round(0, 2)
    (True, True, True, False, False)
    """
    if exact is None:
        return shown > 0
    return MIN_DECIMALS <= shown < exact
