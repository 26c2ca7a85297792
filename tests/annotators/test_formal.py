"""Formal checking names the first step that a verifier shows to be false, and clears no trace."""

from dataclasses import replace

import pytest

from annotators.formal import Formal
from stepmark import plugins
from stepmark.errors import PluginError
from stepmark.identity import fingerprint
from stepmark.records import Trace, Verdict
from tests.annotators.simulated import done_by, last_sample_solves, trace_of, verdicts
from verifiers.arithmetic import Arithmetic
from verifiers.base import AnswerClaim, Finding, StepClaim


def written(*steps: str) -> Trace:
    return replace(trace_of(len(steps)), steps=steps)


@pytest.mark.parametrize(
    ("steps", "first_error", "said"),
    [
        (("2 + 2 = 4\n", "3 + 3 = 7\n", "1 + 1 = 3\n"), 1, "cii"),
        (("words\n", "2 * 3 = 5\n"), 1, "ui"),
        (("2 + 2 = 4\n", "so 4\n"), None, "cu"),
        (("2 + 2 = 4\n", "4 * 2 = 8\n"), None, "cc"),
        (("words",), None, "u"),
    ],
)
async def test_the_first_false_step_is_the_first_error(steps: tuple[str, ...], first_error: int | None, said: str) -> None:
    done = await done_by(Formal(), written(*steps), last_sample_solves)
    assert (done.annotation.first_error, verdicts(done.annotation), done.requests) == (first_error, said, [])


async def test_a_step_is_claimed_with_the_problem_and_the_steps_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    claims: list[AnswerClaim | StepClaim] = []

    def kept(_self: Arithmetic, claim: AnswerClaim | StepClaim) -> Finding:
        claims.append(claim)
        return Finding(verdict=Verdict.UNKNOWN, reason="kept")

    monkeypatch.setattr(Arithmetic, "verify", kept)
    done = await done_by(Formal(), written("a", "b", "c"), last_sample_solves)
    assert claims == [
        StepClaim(question="How many?", previous=(), step="a"),
        StepClaim(question="How many?", previous=("a",), step="b"),
        StepClaim(question="How many?", previous=("a", "b"), step="c"),
    ]
    assert [step.rationale for step in done.annotation.steps] == ["kept"] * 3


def test_a_verifier_that_is_none_is_refused_before_anything_starts() -> None:
    with pytest.raises(PluginError, match="verifiers has no 'guess'; it has: "):
        plugins.build("annotators", {"use": "formal", "verifier": "guess"})


def test_another_version_of_the_verifier_is_another_method(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(Formal())
    monkeypatch.setattr(Arithmetic, "version", Arithmetic.version + 1)
    assert fingerprint(Formal()) != before
