"""Answer likelihood: the largest drop of the reference's likelihood, in incorrect traces only."""

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
from engines.scripted import IMPOSSIBLE_LOGPROB, Scripted
from stepmark.errors import ConfigError
from stepmark.records import Annotation, Problem, Trace, Verdict
from tests.annotators.simulated import (
    PROBLEM,
    C,
    I,
    U,
    problem_group_of,
    services,
    trace_of,
    verdicts,
)
from tests.columns import column


async def probe_trace(
    trace: Trace,
    replies: Mapping[str, tuple[str, ...]],
    *,
    problem: Problem = PROBLEM,
    probe: str = "",
    fall: float = 1.0,
) -> tuple[Annotation, AnnotationContext]:
    """Run the method with an engine whose likelihoods are shares of these replies."""
    run_services = services(Scripted(replies=replies))
    context = AnnotationContext(
        run_services, "simulated", problem, trace, problem_group_of(trace, (C, I))
    )
    method = AnswerLikelihood(probe=probe, fall=fall)
    annotation = await run(method, "method", "fingerprint", problem, trace, context)
    return annotation, context


async def test_largest_drop_is_first_error() -> None:
    replies = {
        # The likelihoods of the answer 4 are 1/2, 9/10 and 1/100.
        "": ("4.", "5."),
        "sound 0\n": ("4.",) * 9 + ("5.",),
        "sound 0\nwrong 1\n": ("4.",) + ("5.",) * 99,
    }
    annotation, context = await probe_trace(trace_of(2, 1), replies)
    assert annotation.first_error == 1
    assert verdicts(annotation) == "ui"
    assert column(annotation.steps, "value") == pytest.approx([0.9, 0.01])
    assert column(annotation.steps, "rationale") == [
        # The logarithms of 0.9 / 0.5 and of 0.01 / 0.9.
        "+0.588 nats per token",
        "-4.500 nats per token",
    ]
    assert (context.cost.generated_tokens, context.cost.rollouts) == (0, 0)
    assert context.sampled_rollouts == []


async def test_cost_counts_all_prompt_tokens() -> None:
    prompts: list[Prompt] = []

    def respond(prompt: Prompt, *_: object) -> str:
        prompts.append(prompt)
        return "4."

    trace = trace_of(3, 1)
    run_services = services(Scripted(respond=respond))
    context = AnnotationContext(
        run_services, "simulated", PROBLEM, trace, problem_group_of(trace, (C, I))
    )
    await run(AnswerLikelihood(), "method", "fingerprint", PROBLEM, trace, context)
    assert column(prompts, "prefix") == [
        "".join(trace.steps[:length]) + "The answer is " for length in range(4)
    ]
    tokens = [len((prompt.text + "4.").split()) for prompt in prompts]
    assert context.cost.prompt_tokens == sum(tokens)


@pytest.mark.parametrize(("outcome", "first_error"), [(I, 1), (C, None), (U, None)])
async def test_only_incorrect_traces_have_first_error(
    outcome: Verdict, first_error: int | None
) -> None:
    replies = {"": ("4.",), "wrong 1\n": ("5.",)}
    annotation, _ = await probe_trace(trace_of(3, 1, outcome), replies)
    assert annotation.first_error == first_error
    expected = [1.0, math.exp(IMPOSSIBLE_LOGPROB), math.exp(IMPOSSIBLE_LOGPROB)]
    assert column(annotation.steps, "value") == pytest.approx(expected)


async def test_drop_below_threshold_is_no_error() -> None:
    """The likelihood drops from 1 to 1/3, that is by 1.1 nats."""
    replies = {"": ("4.",), "wrong 1\n": ("4.", "5.", "6.")}
    assert (await probe_trace(trace_of(3, 1), replies, fall=1.2))[0].first_error is None
    assert (await probe_trace(trace_of(3, 1), replies, fall=1.0))[0].first_error == 1


async def test_text_after_answer_is_scored() -> None:
    """Otherwise 4 would be likely wherever 42 is."""
    annotation, _ = await probe_trace(trace_of(2, 0), {"": ("42.",)})
    assert column(annotation.steps, "value") == pytest.approx([math.exp(IMPOSSIBLE_LOGPROB)] * 2)


@pytest.mark.parametrize(
    ("last_step", "probe", "opening", "scored"),
    [
        ("So 5.", "", "\nThe answer is ", "4."),
        ("So \\boxed{5}.", "", "\nThe answer is \\boxed{", "4}."),
        ("So 5.\n", "Answer: {answer}", "Answer: ", "4"),
    ],
)
async def test_default_and_custom_probes(
    last_step: str, probe: str, opening: str, scored: str
) -> None:
    trace = replace(trace_of(1, 0), steps=(last_step,))
    replies = {"": ("x",), last_step + opening: (scored,)}
    annotation, _ = await probe_trace(trace, replies, probe=probe)
    assert annotation.steps[0].value == pytest.approx(1.0)


async def test_answer_like_placeholder_is_text() -> None:
    problem = replace(PROBLEM, answer="{answer}")
    annotation, _ = await probe_trace(trace_of(1, 0), {"": ("{answer}.",)}, problem=problem)
    assert annotation.steps[0].value == pytest.approx(1.0)


@pytest.mark.parametrize("answer", [None, ""])
async def test_abstains_without_reference_answer(answer: str | None) -> None:
    problem = replace(PROBLEM, answer=answer)
    annotation, context = await probe_trace(trace_of(2, 0), {}, problem=problem)
    assert (annotation.first_error, verdicts(annotation)) == (None, "uu")
    assert (annotation.error, context.cost.prompt_tokens) == (None, 0)


@pytest.mark.parametrize("probe", ["The answer is", "{answer} or {answer}"])
def test_probe_needs_exactly_one_placeholder(probe: str) -> None:
    with pytest.raises(ConfigError, match=r"must contain \{answer\} exactly once"):
        AnswerLikelihood(probe=probe)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=7))
async def test_first_error_has_largest_drop(correct_counts: list[int]) -> None:
    """After prefix t, `correct_counts[t]` of 20 replies give the reference answer."""
    steps = tuple(f"step {index}\n" for index in range(len(correct_counts) - 1))
    replies = dict[str, tuple[str, ...]]()
    for length, correct in enumerate(correct_counts):
        replies["".join(steps[:length])] = ("4.",) * correct + ("5.",) * (20 - correct)
    annotation, _ = await probe_trace(replace(trace_of(1, 0), steps=steps), replies, fall=0.5)
    drops = [math.log(before / after) for before, after in pairwise(correct_counts)]
    values = column(annotation.steps, "value")
    assert values == pytest.approx([correct / 20 for correct in correct_counts[1:]])
    if annotation.first_error is None:
        assert max(drops) < 0.5 + 1e-9
    else:
        assert drops[annotation.first_error] == pytest.approx(max(drops))
        assert max(drops) >= 0.5 - 1e-9
