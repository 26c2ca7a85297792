"""When a decimal may stand for a number with more digits: it is neither equal to it nor wrong."""

__all__ = ["may_round"]

FEWEST_DECIMALS = 2
"""Of a decimal that may be a longer decimal rounded: `66.67` for `66.667`, but not `0.1` for `0.10000001`."""


def may_round(shown: int, exact: int | None) -> bool:
    """Whether a number of `shown` decimals may be meant for one of `exact` decimals; None where that is no plain number.

    >>> may_round(2, None), may_round(1, None), may_round(2, 3), may_round(1, 8), may_round(0, 2)
    (True, True, True, False, False)
    """
    return shown > 0 if exact is None else FEWEST_DECIMALS <= shown < exact
