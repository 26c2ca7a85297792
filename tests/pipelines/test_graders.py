"""Grading: only an answer that a complete solution states and that is comparable is graded."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from annotators.context import Grade
from pipelines.run.graders import grade, grade_answer, grader_named, why_ungradable
from stepmark.errors import ConfigError
from stepmark.records import Verdict
from verifiers.answers import Answers
from verifiers.base import AnswerClaim, Claim, Finding, ReferenceClaim
from verifiers.isolation.pool import VerifierPool

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN

pytestmark = pytest.mark.asyncio(loop_scope="module")


class NoWorkers(VerifierPool):
    """A pool that must not be used."""

    async def verify(self, verifier_id: str, claim: Claim) -> Finding:
        raise AssertionError("a worker was used")


NO_WORKERS = NoWorkers()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool(workers=1) as pool:
        yield pool


@pytest.mark.parametrize(
    ("text", "finish_reason", "reference", "answer", "outcome", "reason"),
    [
        ("2 + 2 = 4\nThe answer is 4.", "stop", "4", "4", C, "equal numbers"),
        (r"so \boxed{\frac{1}{2}}", "stop", "0.5", r"\frac{1}{2}", C, "equal numbers"),
        ("The answer is 5.", "stop", "4", "5", I, "different numbers"),
        ("The answer is 4.", "length", "4", "4", U, "truncated"),
        ("The answer is 5.", "length", "4", "5", U, "truncated"),
        ("", "error: the prompt is too long", "4", None, U, "error: the prompt is too long"),
        ("2 + 2 = 4", "stop", "4", None, U, "no final answer"),
        ("", "stop", "4", None, U, "no final answer"),
        ("The answer is 4.", "stop", None, "4", U, "no reference answer"),
        ("The answer is x + 1.", "stop", "1 + y", "x + 1", U, "different variables"),
        (
            r"\boxed{x = 1 \text{ or } x = 2}",
            "stop",
            "2 or 1",
            r"x = 1 \text{ or } x = 2",
            C,
            "the same values",
        ),
        ("The correct answer is (B).", "stop", "(C)", "(B)", I, "different options"),
    ],
)
async def test_grade_of_a_solution(
    workers: VerifierPool,
    text: str,
    finish_reason: str,
    reference: str | None,
    answer: str | None,
    outcome: Verdict,
    reason: str,
) -> None:
    result = await grade(workers, text, finish_reason, reference)
    assert (result.final_answer, result.outcome) == (answer, outcome)
    assert result.reason == reason or (outcome is C and result.reason)


async def test_final_answer_is_graded_directly(workers: VerifierPool) -> None:
    result = await grade_answer(workers, "4", "5")
    assert result == Grade(final_answer="4", outcome=I, reason="different numbers")
    assert (await grade_answer(workers, None, "5")).outcome is U


MAX_INTEGER = 10**18 - 1


@given(
    st.integers(-MAX_INTEGER, MAX_INTEGER),
    st.integers(-9, 9),
    st.sampled_from([0, 1, 9, 10, 100, 10**6]),
)
async def test_integers_need_no_worker(number: int, factor: int, scale: int) -> None:
    """The grade of two integers is that of the verifier."""
    answer = str(number)
    reference = str(max(-MAX_INTEGER, min(MAX_INTEGER, number + factor * scale)))
    finding = Answers().verify(AnswerClaim(answer=answer, reference=reference))
    assert await grade_answer(NO_WORKERS, answer, reference) == Grade(
        final_answer=answer, outcome=finding.verdict, reason=finding.reason
    )
    assert Answers().verify(ReferenceClaim(reference=reference)).verdict is C
    assert await why_ungradable(NO_WORKERS, reference) == ""


@pytest.mark.parametrize("answer", ["-0", "04", "4.0", "4 ", "+4", "٤", "4" * 19])
async def test_other_spellings_need_the_verifier(answer: str) -> None:
    with pytest.raises(AssertionError, match="a worker was used"):
        await grade_answer(NO_WORKERS, answer, "4")


@pytest.mark.parametrize(
    "reference", ["18", r"\frac{1}{2}", "x + 1", "(C)", "Friday", r"\{1, 2\}", "[0, 1)"]
)
async def test_plain_reference_is_gradable(workers: VerifierPool, reference: str) -> None:
    assert await why_ungradable(workers, reference) == ""


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("", "no answer could be compared with it: empty"),
        (
            r"1, 2, \ldots",
            r"no answer could be compared with it: not understood: \ldots is not understood",
        ),
        ("5" * 2_001, "no answer could be compared with it: too long"),
        ("1/0", "no answer could be compared with it: no value"),
        ("5 }", "no answer could be compared with it: not understood: unbalanced"),
        (
            "it is shown above, in which there is none",
            "no answer could be compared with it: not understood: words in a formula",
        ),
    ],
)
async def test_ungradable_reference_has_a_reason(
    workers: VerifierPool, reference: str, reason: str
) -> None:
    assert await why_ungradable(workers, reference) == reason


async def test_ambiguous_answer_has_a_reason(workers: VerifierPool) -> None:
    text = "So it is \\boxed{6}.\nCheck: 2 * 6 + 1 = \\boxed{13}."
    result = await grade(workers, text, "stop", "6")
    assert result == Grade(final_answer=None, outcome=U, reason="a check states another value")


async def test_chain_uses_first_deciding_grader(workers: VerifierPool) -> None:
    chain = grader_named(["code", "answers"])
    assert (await grade(workers, "The answer is 4.", "stop", "4", grader=chain)).outcome is C
    assert (await grade(workers, "The answer is 5.", "stop", "4", grader=chain)).outcome is I
    undecided = await grade(workers, "Nothing.", "stop", "4", grader=chain)
    assert (undecided.outcome, undecided.final_answer) == (U, None)
    assert await why_ungradable(workers, "1/2", grader=chain) == ""


async def test_chain_of_one_is_the_grader() -> None:
    assert grader_named(["answers"]) == grader_named("answers")
    with pytest.raises(ConfigError, match="at least one grader"):
        grader_named([])
