"""The agreement of a judge's reply with the label of its trace."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from stepmark.records import NO_ERROR, Critique, Verdict
from storage.formats.base import Example, decided_first_error
from storage.formats.solutions.conversations import Turn, user_turn

__all__ = ["Agreement", "agreement_with_label", "request_messages"]

Agreement: TypeAlias = Literal["steps", "first_error", "outcome"]
"""What a reply about all steps must agree on: the verdict of every step with a decided label, the
first error, or that there is none if and only if the final answer is correct. A reply about a
single step must agree with the label of this step; with "outcome" its whole vote is compared."""


def agreement_with_label(critique: Critique, example: Example, agreement: Agreement) -> bool | str:
    """Return whether a reply agrees with the label, or why it cannot be compared or used."""
    if not example.label.steps:
        return "it has no steps"
    if critique.request is None:
        return "its request is not stored: an earlier version made it"
    if critique.finish_reason != "stop":
        return "the reply is truncated"
    if agreement == "outcome":
        return _agrees_on_outcome(critique, example)
    verdicts = [step.label for step in example.label.steps]
    if critique.step is not None:
        return _agrees_on_step(critique, critique.step, verdicts)
    first_error = decided_first_error(example.label)
    if first_error is None:
        return "its first error is undecided"
    if critique.first_error is None:
        return "the reply is undecided"
    if agreement == "first_error":
        return critique.first_error == first_error
    return _agrees_on_steps(critique, verdicts)


def request_messages(critique: Critique) -> Sequence[Turn]:
    """Return the request of a reply as chat messages."""
    assert critique.request is not None, "a reply without its request agrees with no label"
    request = user_turn(critique.request)
    if not critique.system:
        return request
    return [{"role": "system", "content": critique.system}, *request]


def _agrees_on_outcome(critique: Critique, example: Example) -> bool | str:
    if example.trace.outcome is Verdict.UNKNOWN:
        return "its final answer is undecided"
    if critique.first_error is None:
        return "the reply is undecided"
    return (critique.first_error == NO_ERROR) == (example.trace.outcome is Verdict.CORRECT)


def _agrees_on_step(critique: Critique, step: int, verdicts: list[Verdict]) -> bool | str:
    if not 0 <= step < len(verdicts) or verdicts[step] is Verdict.UNKNOWN:
        return "the step of the reply is undecided"
    if len(critique.verdicts) != 1 or critique.verdicts[0] is Verdict.UNKNOWN:
        return "the reply is undecided"
    return critique.verdicts[0] is verdicts[step]


def _agrees_on_steps(critique: Critique, verdicts: list[Verdict]) -> bool | str:
    if len(critique.verdicts) != len(verdicts):
        return "the reply is of another number of steps"
    for reply_verdict, verdict in zip(critique.verdicts, verdicts, strict=True):
        if verdict is not Verdict.UNKNOWN and reply_verdict is not verdict:
            return False
    return True
