"""Formal checking: the first false step is the first error, and only proofs clear a trace."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from annotators.methods.formal import CONTEXT_CHARS, CONTEXT_STEPS, FIRST_STEPS, Formal
from stepmark import plugins
from stepmark.errors import PluginError, UserError
from stepmark.identity import fingerprint
from stepmark.records import NO_ERROR, Trace, Verdict
from tests.annotators.simulated import (
    PROBLEM,
    annotate_trace,
    last_sample_solves,
    trace_of,
    verdicts,
)
from tests.columns import column
from verifiers.algebra import Algebra
from verifiers.arithmetic import Arithmetic
from verifiers.base import Claim, Finding, StepClaim

PUZZLE = (
    "Everyone who is not busy is generous. Liam is not generous. If Liam is lucky, then Liam is not"
    " busy. Hypothesis: Liam is lucky. Is the hypothesis true, false or unprovable?"
)
PROOF = (
    (
        "Step 1: Liam is not generous; everyone who is not busy is generous;"
        " therefore, Liam is busy.\n"
    ),
    (
        "Step 2: Liam is busy; if Liam is lucky, then Liam is not busy;"
        " therefore, Liam is not lucky.\n"
    ),
    "The answer is false.",
)
VERDICT_OF_INITIAL = {"c": Verdict.CORRECT, "i": Verdict.INCORRECT, "u": Verdict.UNKNOWN}


def trace_with(*steps: str) -> Trace:
    return replace(trace_of(len(steps)), steps=steps)


def constant_verifier(initial: str) -> Callable[[object, Claim], Finding]:
    """Return a `verify` method that gives the same verdict on every claim."""
    finding = Finding(verdict=VERDICT_OF_INITIAL[initial], reason=f"said {initial}")
    return lambda _self, _claim: finding


@pytest.mark.parametrize(
    ("steps", "first_error", "expected"),
    [
        (("2 + 2 = 4\n", "3 + 3 = 7\n", "1 + 1 = 3\n"), 1, "uii"),
        (("words\n", "2 * 3 = 5\n"), 1, "ui"),
        # Equations that hold do not make a step correct.
        (("2 + 2 = 4\n", "so 4\n"), None, "uu"),
        (("2 + 2 = 4\n", "4 * 2 = 8\n"), None, "uu"),
        (("words",), None, "u"),
    ],
)
async def test_first_false_step_is_first_error(
    steps: tuple[str, ...], first_error: int | None, expected: str
) -> None:
    done = await annotate_trace(Formal(), trace_with(*steps), last_sample_solves)
    assert done.annotation.first_error == first_error
    assert verdicts(done.annotation) == expected
    assert done.requests == []


async def test_claims_contain_earlier_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    claims: list[Claim] = []

    def record_claim(_self: Arithmetic, claim: Claim) -> Finding:
        claims.append(claim)
        return Finding(verdict=Verdict.UNKNOWN, reason="recorded")

    monkeypatch.setattr(Arithmetic, "verify", record_claim)
    method = Formal(verifiers=("arithmetic",))
    done = await annotate_trace(method, trace_with("a", "b", "c"), last_sample_solves)
    assert claims == [
        StepClaim(question="How many?", previous=(), step="a"),
        StepClaim(question="How many?", previous=("a",), step="b"),
        StepClaim(question="How many?", previous=("a", "b"), step="c"),
    ]
    assert column(done.annotation.steps, "rationale") == ["arithmetic: recorded"] * 3


@pytest.mark.parametrize(
    ("arithmetic", "algebra", "verdict", "rationale"),
    [
        ("c", "u", "c", "arithmetic: said c"),
        ("u", "c", "c", "algebra: said c"),
        ("c", "c", "c", "arithmetic: said c; algebra: said c"),
        ("c", "i", "i", "algebra: said i"),
        ("i", "u", "i", "arithmetic: said i"),
        ("u", "u", "u", "arithmetic: said u; algebra: said u"),
    ],
)
async def test_incorrect_outweighs_correct(
    monkeypatch: pytest.MonkeyPatch, arithmetic: str, algebra: str, verdict: str, rationale: str
) -> None:
    monkeypatch.setattr(Arithmetic, "verify", constant_verifier(arithmetic))
    monkeypatch.setattr(Algebra, "verify", constant_verifier(algebra))
    done = await annotate_trace(Formal(), trace_with("a"), last_sample_solves)
    assert verdicts(done.annotation) == verdict
    assert done.annotation.steps[0].rationale == rationale


async def test_algebra_is_a_default_verifier() -> None:
    trace = trace_with(
        "We have (x + 1)^2 = x^2 + 2x + 1.", "Expanding, (x + 1)(x + 2) = x^2 + 3x + 3."
    )
    done = await annotate_trace(Formal(), trace, last_sample_solves)
    assert (done.annotation.first_error, verdicts(done.annotation)) == (1, "ui")


async def test_statements_are_counted() -> None:
    trace = trace_with("2 + 2 = 4 and 3 + 3 = 6\n", "words\n", "We suppose this: 1 + 1 = 3.")
    method = Formal(verifiers=("arithmetic",))
    annotation = (await annotate_trace(method, trace, last_sample_solves)).annotation
    assert (annotation.claims_checked, annotation.claims_holding) == (3, 2)
    assert column(annotation.steps, "trials") == [2, 0, 1]
    assert column(annotation.steps, "successes") == [2, 0, 0]
    rationales = column(annotation.steps, "rationale")
    assert rationales[0] == "arithmetic: holds: 2 of 2 equations"
    assert rationales[2].startswith("arithmetic: suspicion (equation; ")
    assert verdicts(annotation) == "uuu"


async def test_claims_of_long_traces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    claims: list[StepClaim] = []

    def record_claim(_self: Arithmetic, claim: StepClaim) -> Finding:
        claims.append(claim)
        return Finding(verdict=Verdict.UNKNOWN, reason="recorded")

    monkeypatch.setattr(Arithmetic, "verify", record_claim)
    steps = tuple(f"{number}\n" for number in range(300))
    await annotate_trace(Formal(verifiers=("arithmetic",)), trace_with(*steps), last_sample_solves)
    last = claims[-1]
    assert last.previous == steps[:FIRST_STEPS] + steps[299 - CONTEXT_STEPS : 299]
    assert last.omitted + len(last.previous) == 299


async def test_context_is_bounded_by_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    claims: list[StepClaim] = []

    def record_claim(_self: Arithmetic, claim: StepClaim) -> Finding:
        claims.append(claim)
        return Finding(verdict=Verdict.UNKNOWN, reason="recorded")

    monkeypatch.setattr(Arithmetic, "verify", record_claim)
    steps = tuple(f"{number} " + "a" * CONTEXT_CHARS for number in range(5))
    await annotate_trace(Formal(verifiers=("arithmetic",)), trace_with(*steps), last_sample_solves)
    assert claims[-1].previous == steps[3:4]
    assert claims[-1].omitted == 3


@pytest.mark.parametrize(
    ("steps", "verifiers", "first_error"),
    [
        (PROOF, ("entailment",), NO_ERROR),
        (PROOF, ("arithmetic", "entailment"), NO_ERROR),
        # An early end makes no step incorrect.
        (PROOF[:2], ("entailment",), NO_ERROR),
        # The answer does not follow from the first step alone.
        (PROOF[::2], ("entailment",), None),
        ((PROOF[0], "So it is.\n", *PROOF[1:]), ("entailment",), None),
        ((PROOF[0], PROOF[1].replace("not lucky", "lucky"), PROOF[2]), ("entailment",), 1),
        (PROOF, ("arithmetic",), None),
    ],
)
async def test_proven_trace_has_no_error(
    steps: tuple[str, ...], verifiers: tuple[str, ...], first_error: int | None
) -> None:
    problem = replace(PROBLEM, question=PUZZLE)
    method = Formal(verifiers=verifiers)
    done = await annotate_trace(method, trace_with(*steps), last_sample_solves, problem=problem)
    assert done.annotation.first_error == first_error


def test_empty_verifier_list_is_rejected() -> None:
    with pytest.raises(UserError, match="verifiers: name at least one"):
        Formal(verifiers=())


def test_unknown_verifier_is_rejected() -> None:
    with pytest.raises(PluginError, match="verifiers has no 'guess'; it has: "):
        plugins.build("annotators", {"use": "formal", "verifiers": ["arithmetic", "guess"]})


@pytest.mark.parametrize("verifier", [Arithmetic, Algebra])
def test_verifier_version_changes_fingerprint(
    monkeypatch: pytest.MonkeyPatch, verifier: type[Arithmetic | Algebra]
) -> None:
    before = fingerprint(Formal())
    monkeypatch.setattr(verifier, "version", verifier.version + 1)
    assert fingerprint(Formal()) != before
