"""The judge: requests for votes, the count of votes, the meta-critic and stored critiques."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from annotators.context import AnnotationContext
from annotators.judging.reply_parser import MAX_REPLY_CHARS
from annotators.methods.judge import Judge
from engines.base import Completion, Engine, Prompt
from engines.scripted import Scripted
from stepmark.records import NO_ERROR, Critique, Sampling, StepAnnotation
from tests.annotators.judge_replies import completion, reply_by_prompt, reply_per_step, vote
from tests.annotators.simulated import (
    PROBLEM,
    C,
    I,
    TraceRun,
    U,
    annotate_trace,
    problem_group_of,
    recording,
    sample_counts,
    services,
    trace_of,
    verdicts,
)
from tests.columns import column


async def judge_trace(*replies: str, judge: Judge | None = None) -> TraceRun:
    """Judge a trace of three steps with one reply per vote."""

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        return replies[index]

    return await annotate_trace(judge or Judge(votes=len(replies)), trace_of(3), respond)


@pytest.mark.parametrize(
    ("votes", "first_error", "confidence", "expected"),
    [
        (["ccc"], NO_ERROR, 1.0, "ccc"),
        (["cic", "cic", "cii"], 1, 1.0, "cic"),
        (["cic", "cic", "ccc", "icc"], 1, 0.5, "cuc"),
        (["cic", "ccc"], None, None, "cuc"),
        (["iii", "cii", "cci"], None, None, "cii"),
        (["???", "???"], None, None, "uuu"),
        (["c?c", "?cc"], None, None, "ccc"),
        (["c?i", "cic"], 1, 1.0, "ciu"),
        # The majority calls the first error correct, or an earlier step incorrect.
        (["i??", "c??", "c??"], None, None, "cuu"),
        (["cci", "?i?", "?i?"], None, None, "cii"),
        (["ccc", "?i?", "?i?"], None, None, "cic"),
    ],
)
async def test_first_error_is_majority_of_votes(
    votes: list[str], first_error: int | None, confidence: float | None, expected: str
) -> None:
    annotation = (await judge_trace(*map(vote, votes))).annotation
    assert (annotation.first_error, annotation.confidence) == (first_error, confidence)
    assert verdicts(annotation) == expected


async def test_vote_shares_are_stored() -> None:
    annotation = (await judge_trace(vote("ci?"), vote("cc?"), vote("cc?"))).annotation
    assert annotation.steps == (
        StepAnnotation(verdict=C, value=1.0, successes=3, trials=3, rationale="Step 1: correct"),
        StepAnnotation(verdict=C, value=2 / 3, successes=2, trials=3, rationale="Step 2: correct"),
        StepAnnotation(verdict=U, unknowns=3),
    )


async def test_truncated_reply_is_no_vote() -> None:
    truncated = completion(vote("icc"), "length")
    replies = (truncated, completion(vote("ccc")), truncated)
    done = await annotate_trace(
        Judge(votes=3), trace_of(3), lambda _prompt, _sampling, i: replies[i]
    )
    assert (done.annotation.first_error, done.annotation.confidence) == (NO_ERROR, 1.0)
    assert verdicts(done.annotation) == "ccc"
    assert column(done.annotation.steps, "unknowns") == [2, 2, 2]


async def test_votes_share_one_request() -> None:
    judge = Judge(votes=5, temperature=0.3, max_tokens=99)
    done = await judge_trace(*[vote("ccc")] * 5, judge=judge)
    ((_, sampling),) = done.requests
    assert (sampling.n, sampling.temperature, sampling.max_tokens) == (5, 0.3, 99)
    assert (done.annotation.cost.rollouts, done.context.sampled_rollouts) == (0, [])


async def test_step_prompt_judges_each_step_separately() -> None:
    replies = reply_per_step("cii", "cic", "ccc")
    done = await annotate_trace(Judge(votes=3, prompt="step"), trace_of(3), replies)
    assert (done.annotation.first_error, done.annotation.confidence) == (1, 2 / 3)
    assert verdicts(done.annotation) == "cic"
    counts = column(done.annotation.steps, "successes", "trials")
    assert counts == [(3, 3), (1, 3), (2, 3)]
    assert sample_counts(done.requests) == [3, 3, 3]
    assert len({sampling.seed for _, sampling in done.requests}) == 3
    for number, (prompt, _) in enumerate(done.requests, start=1):
        last_step = f"Step {number}: sound {number - 1}"
        shown, _, _ = prompt.user.rpartition("\n\n</solution_so_far ")
        assert shown.endswith(f"\n{last_step}")
        assert prompt.user.endswith(f">\nCheck step {number}.\n")
        assert f"sound {number}" not in prompt.user


async def test_verdicts_on_other_steps_are_ignored() -> None:
    reply = "Step 1: correct\nStep 7: incorrect"
    done = await annotate_trace(Judge(votes=1, prompt="step"), trace_of(3), lambda *_: reply)
    assert verdicts(done.annotation) == "cuu"


async def test_step_requests_are_concurrent() -> None:
    """The engine answers only once all six requests are open."""
    open_requests = 0

    async def complete(prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        nonlocal open_requests
        open_requests += 1
        while open_requests < 6:
            await asyncio.sleep(0)
        return await Scripted(replies={"": ("Step 1: correct",)}).complete(prompt, sampling)

    trace = trace_of(3)
    engine = cast(Engine, SimpleNamespace(complete=complete, model_name="slow"))
    context = AnnotationContext(
        services(None, engine), "method", PROBLEM, trace, problem_group_of(trace, ())
    )
    judge = Judge(prompt=("step", "step_answer"))
    # Sequential requests would wait forever.
    await asyncio.wait_for(judge.annotate(PROBLEM, trace, context), timeout=30)
    assert open_requests == 6


async def test_ensemble_counts_all_readable_votes() -> None:
    replies = reply_by_prompt(
        {
            "strict examiner": [vote("cic"), vote("cic")],
            "backwards": [vote("cic"), ""],
            "Check a solution": [vote("ccc"), vote("ccc")],
        }
    )
    judge = Judge(votes=2, prompt=("judge", "judge_strict", "reverse"))
    done = await annotate_trace(judge, trace_of(3), replies)
    # One of the six replies is empty, and 3 of the other 5 report step 1.
    assert (done.annotation.first_error, done.annotation.confidence) == (1, 3 / 5)
    counts = column(done.annotation.steps, "successes", "trials", "unknowns")
    assert counts == [(5, 5, 1), (2, 5, 1), (5, 5, 1)]
    assert len({(prompt.user, sampling.seed) for prompt, sampling in done.requests}) == 3
    assert ["4" in prompt.user for prompt, _ in done.requests] == [False, False, True]


async def test_ensemble_mixes_step_and_solution_prompts() -> None:
    reply_to_step = reply_per_step("cic")

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        if "Check step" in prompt.user:
            return reply_to_step(prompt, sampling, index)
        return vote("cic")

    done = await annotate_trace(Judge(votes=1, prompt=("judge", "step")), trace_of(3), respond)
    assert done.annotation.first_error == 1
    assert column(done.annotation.steps, "trials") == [2, 2, 2]


async def test_meta_critic_is_the_first_judge() -> None:
    first, first_requests = recording(
        reply_by_prompt({"Several reviewers": vote("icc"), "Check a solution": [vote("ccc")]})
    )
    second, second_requests = recording(reply_by_prompt({"Check a solution": [vote("cic")]}))
    trace = trace_of(3)
    context = AnnotationContext(
        services(None, first, second), "method", PROBLEM, trace, problem_group_of(trace, ())
    )
    annotation = await Judge(votes=1, meta="meta").annotate(PROBLEM, trace, context)
    assert (annotation.first_error, annotation.confidence) == (0, 0.0)
    assert column(annotation.steps, "successes", "trials") == [(2, 2), (1, 2), (2, 2)]
    assert (len(first_requests), len(second_requests)) == (2, 1)
    meta_prompt, _ = first_requests[1]
    assert f"Review 2:\n{vote('cic')}\n" in meta_prompt.user
    assert column(context.critiques, "prompt", "vote") == [("judge", 0), ("judge", 1), ("meta", 0)]


REVIEWS = [vote("cic"), vote("ccc"), vote("cic"), "Hard to say."]


@pytest.mark.parametrize(
    ("final", "first_error", "confidence", "expected"),
    [
        # 2 of the 3 readable reviews.
        (vote("cic"), 1, 2 / 3, "cic"),
        (vote("ccc"), NO_ERROR, 1 / 3, "ccc"),
        # No review agrees.
        (vote("icc"), 0, 0.0, "icc"),
        (vote("c?c"), None, None, "cuc"),
        ("I agree with most.", None, None, "uuu"),
    ],
)
async def test_meta_critic_decides_and_votes_remain(
    final: str, first_error: int | None, confidence: float | None, expected: str
) -> None:
    replies = reply_by_prompt({"Several reviewers": final, "Check a solution": REVIEWS})
    done = await annotate_trace(Judge(votes=4, meta="meta"), trace_of(3), replies)
    assert (done.annotation.first_error, done.annotation.confidence) == (first_error, confidence)
    assert verdicts(done.annotation) == expected
    counts = column(done.annotation.steps, "value", "successes", "trials", "unknowns")
    assert counts == [(1.0, 3, 3, 1), (1 / 3, 1, 3, 1), (1.0, 3, 3, 1)]
    (_, (meta_prompt, sampling)) = done.requests
    for number, review in enumerate(REVIEWS, start=1):
        assert f"\nReview {number}:\n{review}\n" in meta_prompt.user
    assert sampling.n == 1


@pytest.mark.parametrize(
    "reply",
    [completion(vote("iii"), "length"), " \n", vote("ccc") + " " * MAX_REPLY_CHARS],
    ids=["truncated", "blank", "too long"],
)
async def test_meta_critic_needs_readable_reviews(reply: str | Completion) -> None:
    done = await annotate_trace(Judge(votes=2, meta="meta"), trace_of(3), lambda *_: reply)
    assert (len(done.requests), done.annotation.first_error) == (1, None)
    assert verdicts(done.annotation) == "uuu"


async def test_truncated_meta_critic_decides_nothing() -> None:
    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        if "Review 1:" in prompt.user:
            return completion(vote("ccc"), "length")
        return vote("ccc")

    done = await annotate_trace(Judge(meta="meta"), trace_of(3), respond)
    assert (done.annotation.first_error, verdicts(done.annotation)) == (None, "uuu")


async def test_every_reply_is_stored() -> None:
    replies = (vote("ci?"), vote("ccc"), "Hm.\ud800")
    done = await judge_trace(*replies)
    ((prompt, _),) = done.requests
    first = Critique(
        method="simulated",
        trace_id="3/-1",
        prompt="judge",
        system="",
        request=prompt.user,
        model="scripted",
        vote=0,
        step=None,
        text=replies[0],
        verdicts=(C, I, U),
        first_error=1,
        finish_reason="stop",
        prompt_tokens=done.annotation.cost.prompt_tokens,
        cached_tokens=0,
        generated_tokens=9,
    )
    # The replies share one request, whose prompt tokens are counted on the first one.
    second = replace(
        first,
        vote=1,
        text=replies[1],
        verdicts=(C, C, C),
        first_error=NO_ERROR,
        prompt_tokens=0,
    )
    third = replace(
        second,
        vote=2,
        text=replies[2],
        verdicts=(U, U, U),
        first_error=None,
        generated_tokens=1,
    )
    assert done.context.critiques == [first, second, third]


async def test_requests_are_stored_with_replies() -> None:
    judge = Judge(votes=2, prompt="step", meta="meta")
    done = await annotate_trace(judge, trace_of(3), lambda *_: vote("ccc"))
    prompts = [prompt for prompt, _ in done.requests]
    # Two votes from the same three prompts, and then the reply of the meta-critic.
    expected = [prompt.user for prompt in [*prompts[:3], *prompts[:3], *prompts[3:]]]
    assert column(done.context.critiques, "request") == expected
    assert len(set(expected)) == 4
    assert {critique.system for critique in done.context.critiques} == {""}


async def test_step_replies_are_stored_separately() -> None:
    done = await annotate_trace(
        Judge(votes=2, prompt="step"), trace_of(3), reply_per_step("cic", "ccc")
    )
    stored = column(done.context.critiques, "vote", "step", "text", "verdicts", "first_error")
    assert stored == [
        (0, 0, "Step 1: correct", (C,), 1),
        (0, 1, "Step 2: incorrect", (I,), 1),
        (0, 2, "Step 3: correct", (C,), 1),
        (1, 0, "Step 1: correct", (C,), NO_ERROR),
        (1, 1, "Step 2: correct", (C,), NO_ERROR),
        (1, 2, "Step 3: correct", (C,), NO_ERROR),
    ]


async def test_critiques_name_prompt_and_tokens() -> None:
    judge = Judge(votes=2, prompt=("judge", "judge_strict"), meta="meta")
    done = await annotate_trace(judge, trace_of(3), lambda *_: vote("ccc"))
    critiques = done.context.critiques
    cost = done.annotation.cost
    assert column(critiques, "prompt", "vote") == [
        ("judge", 0),
        ("judge", 1),
        ("judge_strict", 0),
        ("judge_strict", 1),
        ("meta", 0),
    ]
    assert sum(column(critiques, "generated_tokens")) == cost.generated_tokens
    assert sum(column(critiques, "prompt_tokens")) == cost.prompt_tokens


async def test_too_long_reply_is_shortened() -> None:
    done = await judge_trace(vote("iii") + "\n" + "x" * MAX_REPLY_CHARS)
    assert [len(critique.text) for critique in done.context.critiques] == [MAX_REPLY_CHARS]
    assert verdicts(done.annotation) == "uuu"
