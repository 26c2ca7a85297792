"""Formal checking names the first step that a verifier shows to be false, and clears a trace only when every step is proven."""

from dataclasses import replace

import pytest

from annotators.methods.formal import Formal
from stepmark import plugins
from stepmark.errors import PluginError, UserError
from stepmark.identity import fingerprint
from stepmark.records import NO_ERROR, Trace, Verdict
from tests.annotators.simulated import PROBLEM, done_by, last_sample_solves, trace_of, verdicts
from verifiers.algebra import Algebra
from verifiers.arithmetic import Arithmetic
from verifiers.base import Claim, Finding, StepClaim

PUZZLE = (
    "Everyone who is not busy is generous. Liam is not generous. If Liam is lucky, then Liam is not busy. Hypothesis: Liam is lucky."
    " Is the hypothesis true, false or unprovable?"
)
PROOF = (
    "Step 1: Liam is not generous; everyone who is not busy is generous; therefore, Liam is busy.\n",
    "Step 2: Liam is busy; if Liam is lucky, then Liam is not busy; therefore, Liam is not lucky.\n",
    "The answer is false.",
)
SAID = {"c": Verdict.CORRECT, "i": Verdict.INCORRECT, "u": Verdict.UNKNOWN}


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
async def test_the_first_false_step_is_the_first_error(
    steps: tuple[str, ...], first_error: int | None, said: str
) -> None:
    done = await done_by(Formal(), written(*steps), last_sample_solves)
    assert (done.annotation.first_error, verdicts(done.annotation), done.requests) == (
        first_error,
        said,
        [],
    )


async def test_a_step_is_claimed_with_the_problem_and_the_steps_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claims: list[Claim] = []

    def kept(_self: Arithmetic, claim: Claim) -> Finding:
        claims.append(claim)
        return Finding(verdict=Verdict.UNKNOWN, reason="kept")

    monkeypatch.setattr(Arithmetic, "verify", kept)
    done = await done_by(
        Formal(verifiers=("arithmetic",)), written("a", "b", "c"), last_sample_solves
    )
    assert claims == [
        StepClaim(question="How many?", previous=(), step="a"),
        StepClaim(question="How many?", previous=("a",), step="b"),
        StepClaim(question="How many?", previous=("a", "b"), step="c"),
    ]
    assert [step.rationale for step in done.annotation.steps] == ["arithmetic: kept"] * 3


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
async def test_a_step_is_false_when_one_verifier_says_so_and_right_when_one_does_and_none_objects(
    monkeypatch: pytest.MonkeyPatch, arithmetic: str, algebra: str, verdict: str, rationale: str
) -> None:
    for verifier, said in ((Arithmetic, arithmetic), (Algebra, algebra)):
        monkeypatch.setattr(
            verifier,
            "verify",
            lambda _self, _claim, said=said: Finding(verdict=SAID[said], reason=f"said {said}"),
        )
    done = await done_by(Formal(), written("a"), last_sample_solves)
    assert verdicts(done.annotation) == verdict
    assert done.annotation.steps[0].rationale == rationale


async def test_algebra_is_asked_too() -> None:
    trace = written(
        "We have (x + 1)^2 = x^2 + 2x + 1.", "Expanding, (x + 1)(x + 2) = x^2 + 3x + 3."
    )
    done = await done_by(Formal(), trace, last_sample_solves)
    assert (done.annotation.first_error, verdicts(done.annotation)) == (1, "ci")


@pytest.mark.parametrize(
    ("steps", "verifiers", "first_error"),
    [
        (PROOF, ("entailment",), NO_ERROR),
        (PROOF, ("arithmetic", "entailment"), NO_ERROR),
        (PROOF[:2], ("entailment",), NO_ERROR),  # it stops early, which makes no step wrong
        (PROOF[::2], ("entailment",), None),  # the answer was not shown
        ((PROOF[0], "So it is.\n", *PROOF[1:]), ("entailment",), None),
        ((PROOF[0], PROOF[1].replace("not lucky", "lucky"), PROOF[2]), ("entailment",), 1),
        (PROOF, ("arithmetic",), None),
    ],
)
async def test_a_trace_whose_steps_are_all_proven_has_no_error(
    steps: tuple[str, ...], verifiers: tuple[str, ...], first_error: int | None
) -> None:
    problem = replace(PROBLEM, question=PUZZLE)
    done = await done_by(
        Formal(verifiers=verifiers), written(*steps), last_sample_solves, problem=problem
    )
    assert done.annotation.first_error == first_error


def test_no_verifier_is_refused() -> None:
    with pytest.raises(UserError, match="verifiers: name at least one"):
        Formal(verifiers=())


def test_a_verifier_that_is_none_is_refused_before_anything_starts() -> None:
    with pytest.raises(PluginError, match="verifiers has no 'guess'; it has: "):
        plugins.build("annotators", {"use": "formal", "verifiers": ["arithmetic", "guess"]})


@pytest.mark.parametrize("verifier", [Arithmetic, Algebra])
def test_another_version_of_a_verifier_is_another_method(
    monkeypatch: pytest.MonkeyPatch, verifier: type[Arithmetic | Algebra]
) -> None:
    before = fingerprint(Formal())
    monkeypatch.setattr(verifier, "version", verifier.version + 1)
    assert fingerprint(Formal()) != before
