"""The probe names the sharpest fall of the reference's likelihood, in wrong traces, and writes nothing."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.context import AnnotationContext
from annotators.methods.answer_likelihood import AnswerLikelihood
from annotators.running import run
from engines.base import Prompt
from engines.scripted import NEVER, Scripted
from stepmark.errors import ConfigError
from stepmark.records import Annotation, Problem, Trace, Verdict
from tests.annotators.simulated import PROBLEM, C, I, U, family, services, trace_of, verdicts


async def probed(
    trace: Trace,
    replies: Mapping[str, tuple[str, ...]],
    *,
    problem: Problem = PROBLEM,
    probe: str = "",
    fall: float = 1.0,
) -> tuple[Annotation, AnnotationContext]:
    context = AnnotationContext(
        services(Scripted(replies=replies)), "simulated", problem, trace, family(trace, (C, I))
    )
    return await run(
        AnswerLikelihood(probe=probe, fall=fall), "method", "fingerprint", problem, trace, context
    ), context


async def test_the_value_is_the_likelihood_and_the_fall_is_named() -> None:
    replies = {
        "": ("4.", "5."),
        "sound 0\n": ("4.",) * 9 + ("5.",),
        "sound 0\nwrong 1\n": ("4.",) + ("5.",) * 99,
    }
    annotation, context = await probed(trace_of(2, 1), replies)
    assert annotation.first_error == 1
    assert verdicts(annotation) == "ui"
    assert [step.value for step in annotation.steps] == pytest.approx([0.9, 0.01])
    assert [step.rationale for step in annotation.steps] == [
        "+0.588 nats per token",
        "-4.500 nats per token",
    ]
    assert (context.cost.generated_tokens, context.cost.rollouts, context.sampled_rollouts) == (
        0,
        0,
        [],
    )


async def test_what_is_paid_is_all_that_was_read() -> None:
    seen: list[Prompt] = []

    def respond(prompt: Prompt, *_: object) -> str:
        seen.append(prompt)
        return "4."

    trace = trace_of(3, 1)
    context = AnnotationContext(
        services(Scripted(respond=respond)), "simulated", PROBLEM, trace, family(trace, (C, I))
    )
    await run(AnswerLikelihood(), "method", "fingerprint", PROBLEM, trace, context)
    assert [prompt.prefix for prompt in seen] == [
        "".join(trace.steps[:t]) + "The answer is " for t in range(4)
    ]
    assert context.cost.prompt_tokens == sum(len((prompt.text + "4.").split()) for prompt in seen)


@pytest.mark.parametrize(("outcome", "named"), [(I, 1), (C, None), (U, None)])
async def test_only_in_a_wrong_trace_something_is_named(
    outcome: Verdict, named: int | None
) -> None:
    replies = {"": ("4.",), "wrong 1\n": ("5.",)}
    annotation, _ = await probed(trace_of(3, 1, outcome), replies)
    assert annotation.first_error == named
    assert [step.value for step in annotation.steps] == pytest.approx(
        [1.0, math.exp(NEVER), math.exp(NEVER)]
    )


async def test_a_fall_below_the_threshold_is_no_error() -> None:
    replies = {"": ("4.",), "wrong 1\n": ("4.", "5.", "6.")}
    assert (await probed(trace_of(3, 1), replies, fall=1.2))[0].first_error is None
    assert (await probed(trace_of(3, 1), replies, fall=1.0))[0].first_error == 1


async def test_what_closes_the_answer_is_scored_too() -> None:
    """Else 4 would be likely wherever 42 is."""
    annotation, _ = await probed(trace_of(2, 0), {"": ("42.",)})
    assert [step.value for step in annotation.steps] == pytest.approx([math.exp(NEVER)] * 2)


@pytest.mark.parametrize(
    ("last", "probe", "opening", "scored"),
    [
        ("So 5.", "", "\nThe answer is ", "4."),
        ("So \\boxed{5}.", "", "\nThe answer is \\boxed{", "4}."),
        ("So 5.\n", "Answer: {answer}", "Answer: ", "4"),
    ],
)
async def test_the_form_is_the_trace_s_or_one_s_own(
    last: str, probe: str, opening: str, scored: str
) -> None:
    trace = replace(trace_of(1, 0), steps=(last,))
    annotation, _ = await probed(trace, {"": ("x",), last + opening: (scored,)}, probe=probe)
    assert annotation.steps[0].value == pytest.approx(1.0)


async def test_an_answer_that_looks_like_a_place_is_text() -> None:
    annotation, _ = await probed(
        trace_of(1, 0), {"": ("{answer}.",)}, problem=replace(PROBLEM, answer="{answer}")
    )
    assert annotation.steps[0].value == pytest.approx(1.0)


@pytest.mark.parametrize("answer", [None, ""])
async def test_without_a_reference_answer_nothing_is_asked(answer: str | None) -> None:
    annotation, context = await probed(trace_of(2, 0), {}, problem=replace(PROBLEM, answer=answer))
    assert (annotation.first_error, verdicts(annotation), context.cost.prompt_tokens) == (
        None,
        "uu",
        0,
    )
    assert annotation.error is None


@pytest.mark.parametrize("probe", ["The answer is", "{answer} or {answer}"])
def test_a_probe_without_one_place_is_refused(probe: str) -> None:
    with pytest.raises(ConfigError, match=r"must contain \{answer\} exactly once"):
        AnswerLikelihood(probe=probe)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=7))
async def test_the_named_step_is_where_the_likelihood_falls_most(rights: list[int]) -> None:
    steps = tuple(f"step {index}\n" for index in range(len(rights) - 1))
    replies = {
        "".join(steps[:t]): ("4.",) * right + ("5.",) * (20 - right)
        for t, right in enumerate(rights)
    }
    annotation, _ = await probed(replace(trace_of(1, 0), steps=steps), replies, fall=0.5)
    falls = [math.log(before / after) for before, after in pairwise(rights)]
    assert [step.value for step in annotation.steps] == pytest.approx(
        [right / 20 for right in rights[1:]]
    )
    if annotation.first_error is None:
        assert max(falls) < 0.5 + 1e-9
    else:
        assert falls[annotation.first_error] == pytest.approx(max(falls))
        assert max(falls) >= 0.5 - 1e-9
