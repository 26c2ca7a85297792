"""Labels of people as the ground truth: those of one rater, or those on which all agree."""

from collections import defaultdict
from collections.abc import Mapping
from typing import TypeAlias

from storage.dataset.dataset import Dataset
from storage.dataset.tables import HUMAN
from storage.labelling.drafts import BAD_PROBLEM
from storage.labelling.raters import ADJUDICATED
from storage.labelling.side_labels import SideLabels
from storage.queries.render import values
from storage.queries.sql import query

__all__ = ["agreed_first_errors", "labels_of_people", "rater_first_errors"]

# The method is a person: `is_human`.
OF_PEOPLE = f"""
SELECT trace_id, method, first_error, error FROM annotations
WHERE method = '{HUMAN}' OR starts_with(method, '{HUMAN}_')
"""

Answer: TypeAlias = int | str | None
"""What a person says about a trace: its first error, or that its problem is bad; None if unsure."""
LabelsOfPeople: TypeAlias = Mapping[str, Mapping[str, Answer]]
"""By trace id and method."""


def labels_of_people(
    dataset: Dataset, side_labels: SideLabels | None, gold: str = HUMAN
) -> LabelsOfPeople:
    """Return the labels of people by trace id and method; those beside a dataset are newer.

    Args:
        dataset: The dataset.
        side_labels: The labels beside it; None if there are none.
        gold: The only method whose labels beside the dataset are read; `human` for all of them.
    """
    answers = defaultdict[str, dict[str, Answer]](dict)
    for trace_id, method, first_error, error in values(query(dataset, OF_PEOPLE)):
        answers[trace_id][method] = _answer(first_error, error)
    if side_labels is None:
        return answers
    for method in side_labels.methods():
        if gold not in (HUMAN, method):
            # A damaged part of another rater must not stop this one.
            continue
        fitted = side_labels.fitted(method)
        for trace_id in fitted.unusable:
            answers[trace_id].pop(method, None)
        for trace_id, label in fitted.usable.items():
            answers[trace_id][method] = _answer(label.first_error, label.error)
    return answers


def _answer(first_error: int | None, error: str | None) -> Answer:
    return BAD_PROBLEM if error == BAD_PROBLEM else first_error


def rater_first_errors(answers: LabelsOfPeople, method: str) -> Mapping[str, int]:
    """Return the first errors by one rater, by trace id."""
    gold = dict[str, int]()
    for trace_id, by_method in answers.items():
        answer = by_method.get(method)
        if isinstance(answer, int):
            gold[trace_id] = answer
    return gold


def agreed_first_errors(answers: LabelsOfPeople) -> Mapping[str, int]:
    """Return the first errors on which people agree, by trace id.

    An adjudicated label counts, then an imported one, then what all raters say who are not unsure.
    A trace whose adjudicated label is undecided has no gold first error.
    """
    gold = dict[str, int]()
    for trace_id, by_method in answers.items():
        answer: Answer = None
        if ADJUDICATED in by_method:
            answer = by_method[ADJUDICATED]
        elif isinstance(by_method.get(HUMAN), int):
            answer = by_method[HUMAN]
        else:
            different = set(by_method.values()) - {None}
            if len(different) == 1:
                answer = different.pop()
        if isinstance(answer, int):
            gold[trace_id] = answer
    return gold
