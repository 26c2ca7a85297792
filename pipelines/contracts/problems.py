"""The contract of problem sources."""

from collections.abc import Sequence
from itertools import islice

from pipelines.contracts.base import Check, Subject, require
from problems.base import Oracle, Source
from stepmark.records import Problem, Rejected

__all__ = ["CHECKS"]

# A source can have millions.
READ_PROBLEMS = 200


def _first(subject: Subject) -> Sequence[Problem | Rejected]:
    source: Source = subject.build()
    return list(islice(source.problems(), READ_PROBLEMS))


def _problems_are_valid(subject: Subject) -> None:
    ids = set[str]()
    for item in _first(subject):
        if isinstance(item, Rejected):
            require(item.reason, "a rejected row has no reason")
            continue
        require(isinstance(item, Problem), f"it yields a {type(item).__name__}")
        require(item.question.strip(), f"problem {item.problem_id} has no question")
        require(item.problem_id not in ids, f"two problems have the id {item.problem_id}")
        ids.add(item.problem_id)
    require(ids, "there are no problems")


def _order_is_stable(subject: Subject) -> None:
    require(_first(subject) == _first(subject), "two passes yield different problems")


def _oracle_judges_each_step(subject: Subject) -> None:
    source = subject.build()
    if not isinstance(source, Oracle):
        return
    for item in _first(subject)[:3]:
        if isinstance(item, Problem):
            steps = ("no step of any language\n", "\0\u202e{question}")
            require(len(source.judge(item, steps)) == len(steps), "`judge` returns other steps")


CHECKS: Sequence[Check] = (
    Check(what="yields problems with different ids", run=_problems_are_valid),
    Check(what="yields them in a stable order", run=_order_is_stable),
    Check(what="judges every step, if it is an oracle", run=_oracle_judges_each_step),
)
