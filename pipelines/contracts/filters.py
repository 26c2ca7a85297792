"""The contract of filters."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from filters.base import Candidate, Filter, HasExternalInput
from pipelines.contracts.base import Check, Subject, require
from pipelines.contracts.samples import HOSTILE_TEXTS, PROBLEM, label_of, traces
from stepmark.records import NO_ERROR

__all__ = ["CHECKS"]


def _candidates() -> Sequence[Candidate]:
    """Return candidates with all labels and questions, though not in all combinations."""
    questions = (PROBLEM.question, *HOSTILE_TEXTS)
    candidates = list[Candidate]()
    for trace in traces():
        for first_error in (NO_ERROR, None, 0):
            number = len(candidates) % len(questions)
            problem = replace(PROBLEM, problem_id=f"problem {number}", question=questions[number])
            sample = replace(
                trace, trace_id=f"trace {len(candidates)}", problem_id=problem.problem_id
            )
            candidates.append(Candidate(problem, sample, label_of(sample, first_error, value=0.5)))
    return candidates


def _drop(plugin: Filter, candidates: Sequence[Candidate]) -> Mapping[str, str]:
    return plugin.drop(lambda: iter(candidates))


def _reasons_are_valid(subject: Subject) -> None:
    plugin: Filter = subject.build()
    candidates = _candidates()
    ids = {candidate.trace.trace_id for candidate in candidates}
    for trace_id, reason in _drop(plugin, candidates).items():
        require(trace_id in ids, f"it drops {trace_id!r}, which is no candidate")
        require(reason and "\n" not in reason, f"the reason {reason!r} is not one line")
    require(_drop(plugin, []) == {}, "it drops traces although there are none")


def _order_is_irrelevant(subject: Subject) -> None:
    plugin: Filter = subject.build()
    candidates = list(_candidates())
    expected = _drop(plugin, candidates)
    random.Random(1).shuffle(candidates)
    require(_drop(plugin, candidates) == expected, "another order of the traces drops others")
    require(_drop(subject.build(), candidates) == expected, "another instance drops others")


def _digest_is_stable(subject: Subject) -> None:
    plugin = subject.build()
    if isinstance(plugin, HasExternalInput):
        require(plugin.digest() == subject.build().digest(), "`digest` is not stable")


CHECKS: Sequence[Check] = (
    Check(what="gives a reason for each dropped trace", run=_reasons_are_valid),
    Check(what="depends on the set of traces, not on their order", run=_order_is_irrelevant),
    Check(what="has a stable digest of its files", run=_digest_is_stable),
)
