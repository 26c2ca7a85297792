"""Signs: what other methods say of each step of a trace, as evidence on its first error, at rates that are learned.

A step stands before the first error, is it, or comes after it; in each of the three states a method gives each of its signs (its verdict,
and by how many quarters its value falls from the step before) at a rate of its own. Given the first error, signs are taken to be
independent, step by step. What is not decided is a sign too: a checker that sees errors only tells much by it. But a last step that is
neither decided nor valued says nothing: it often only repeats a result, right or wrong, and would speak for whatever comes last.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from stepmark.records import Annotation, StepAnnotation, Verdict

__all__ = ["SILENT", "Floats", "Signs", "met", "normal", "prior", "signs_of", "told"]

Floats: TypeAlias = npt.NDArray[np.float64]
Signs: TypeAlias = npt.NDArray[np.intp]
"""[source, step]: the number of the sign; every source has numbers of its own."""

QUARTERS = 4
VERDICTS = (Verdict.CORRECT, Verdict.UNKNOWN, Verdict.INCORRECT)
OF_A_METHOD = len(VERDICTS) * QUARTERS
SILENT = -1
"""In place of a sign's number."""
STATES = ("before", "at", "after")
# Before anything is learned: how often each verdict is given of a step before the first error, of it, and after it.
LIKELY = ((0.70, 0.27, 0.03), (0.25, 0.35, 0.40), (0.40, 0.35, 0.25))
STRENGTH = 30.0
"""Of these beside what is learned, in steps."""


def signs_of(steps: int, said: Sequence[Annotation | None]) -> Signs:
    """What each method says of a trace's steps."""
    if not said:  # as in most runs, and then there is nothing to reckon
        return np.empty((0, steps), dtype=np.intp)
    rows = [_of_a_method(annotation.steps if annotation else [StepAnnotation()] * steps) for annotation in said]
    signs = np.array(rows, dtype=np.intp).reshape(len(rows), steps)
    offsets = OF_A_METHOD * np.arange(len(rows), dtype=np.intp)[:, None]
    return np.where(signs == SILENT, SILENT, signs + offsets)


def prior(methods: int) -> Floats:
    """Counts of each sign (columns) in each state (rows), before any was met."""
    verdicts = np.repeat(np.array(LIKELY), QUARTERS, axis=1) / QUARTERS
    counts: Floats = STRENGTH * np.tile(verdicts, methods)
    return counts


def normal(counts: Floats) -> Floats:
    """The logarithms of the rates: of each source's signs, in each state, they sum to 1."""
    of_each = counts.reshape(len(LIKELY), -1, OF_A_METHOD)
    rates: Floats = np.log(of_each / of_each.sum(axis=2, keepdims=True)).reshape(counts.shape)
    return rates


def told(rates: Floats, methods: Sequence[str]) -> Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]:
    """The rates in words: of each method, of a step in each state, of each verdict, by how many quarters the value falls with it."""
    found = np.exp(rates).reshape(len(STATES), len(methods), len(VERDICTS), QUARTERS).round(4)
    return {
        method: {
            state: {verdict.value: found[row, number, column].tolist() for column, verdict in enumerate(VERDICTS)}
            for row, state in enumerate(STATES)
        }
        for number, method in enumerate(methods)
    }


def met(signs: Signs) -> Floats:
    """[first error, sign in each state]: how often each is met in a trace of T steps, given each first error, the last row for none.

    Its product with the rates is the log-likelihood of all signs; the chances of the first errors with it are the counts of what was met.
    """
    if not len(signs):  # as in most runs, and then there is nothing to reckon
        return np.empty((signs.shape[1] + 1, 0))
    numbers = np.arange(OF_A_METHOD * len(signs))
    met_at = (signs[:, :, None] == numbers).sum(axis=0)  # [step, sign]
    states = np.zeros((len(met_at) + 1, len(STATES), len(numbers)))
    np.cumsum(met_at, axis=0, out=states[1:, 0])
    states[:-1, 1] = met_at
    states[:, 2] = states[-1, 0] - states[:, 0] - states[:, 1]
    return states.reshape(len(states), -1)


def _of_a_method(steps: Sequence[StepAnnotation]) -> Sequence[int]:
    values = [1.0, *(1.0 if step.value is None else step.value for step in steps)]
    falls = (min(int(QUARTERS * max(0.0, earlier - later)), QUARTERS - 1) for earlier, later in pairwise(values))
    signs = [VERDICTS.index(step.verdict) * QUARTERS + fall for step, fall in zip(steps, falls, strict=True)]
    if steps and steps[-1].verdict is Verdict.UNKNOWN and steps[-1].value is None:
        signs[-1] = SILENT
    return signs
