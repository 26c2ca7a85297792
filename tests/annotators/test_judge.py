"""The judge: what it asks for, how votes are counted, and that all of them are kept."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from annotators.context import AnnotationContext
from annotators.judging.critic import PROMPTS
from annotators.judging.reply_parser import MAX_REPLY_CHARS
from annotators.methods.judge import Judge
from engines.base import Completion, Engine, Prompt
from engines.scripted import Scripted
from pipelines.run.config import load
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.identity import fingerprint
from stepmark.records import NO_ERROR, Critique, Sampling, StepAnnotation
from tests.annotators.simulated import (
    PROBLEM,
    C,
    Done,
    I,
    Respond,
    U,
    done_by,
    family,
    services,
    trace_of,
    verdicts,
)

CONFIGS = Path(__file__).parents[2] / "configs"


async def judged(*texts: str, steps: int = 3, judge: Judge | None = None) -> Done:
    def reply(prompt: Prompt, sampling: Sampling, index: int) -> str:
        return texts[index]

    return await done_by(judge or Judge(votes=len(texts)), trace_of(steps), reply)


def vote(said: str) -> str:
    """A reply that says "ci?" of steps 1 to 3."""
    names = {"c": "correct", "i": "incorrect", "?": "perhaps"}
    return "\n".join(
        f"Step {number}: {names[letter]}" for number, letter in enumerate(said, start=1)
    )


@pytest.mark.parametrize(
    ("votes", "first_error", "confidence", "said"),
    [
        (["ccc"], NO_ERROR, 1.0, "ccc"),
        (["cic", "cic", "cii"], 1, 1.0, "cic"),
        (["cic", "cic", "ccc", "icc"], 1, 0.5, "cuc"),
        (["cic", "ccc"], None, None, "cuc"),
        (["iii", "cii", "cci"], None, None, "cii"),
        (["???", "???"], None, None, "uuu"),
        (["c?c", "?cc"], None, None, "ccc"),
        (["c?i", "cic"], 1, 1.0, "ciu"),
        # the majority calls the first error right, or a step before it wrong
        (["i??", "c??", "c??"], None, None, "cuu"),
        (["cci", "?i?", "?i?"], None, None, "cii"),
        (["ccc", "?i?", "?i?"], None, None, "cic"),
    ],
)
async def test_the_first_error_is_what_most_readable_votes_name(
    votes: list[str], first_error: int | None, confidence: float | None, said: str
) -> None:
    annotation = (await judged(*map(vote, votes))).annotation
    assert (annotation.first_error, annotation.confidence, verdicts(annotation)) == (
        first_error,
        confidence,
        said,
    )


async def test_the_vote_shares_are_kept() -> None:
    annotation = (await judged(vote("ci?"), vote("cc?"), vote("cc?"))).annotation
    assert annotation.steps == (
        StepAnnotation(verdict=C, value=1.0, successes=3, trials=3, rationale="Step 1: correct"),
        StepAnnotation(verdict=C, value=2 / 3, successes=2, trials=3, rationale="Step 2: correct"),
        StepAnnotation(verdict=U, unknowns=3),
    )


async def test_a_reply_that_was_cut_is_no_vote() -> None:
    whole, cut = (
        Completion(
            text=vote(said),
            finish_reason=reason,
            prompt_tokens=0,
            cached_tokens=0,
            generated_tokens=1,
        )
        for said, reason in (("ccc", "stop"), ("icc", "length"))
    )
    done = await done_by(
        Judge(votes=3), trace_of(3), lambda prompt, sampling, index: (cut, whole, cut)[index]
    )
    assert (done.annotation.first_error, done.annotation.confidence, verdicts(done.annotation)) == (
        NO_ERROR,
        1.0,
        "ccc",
    )
    assert [step.unknowns for step in done.annotation.steps] == [2, 2, 2]


async def test_all_votes_are_asked_for_at_once() -> None:
    done = await judged(*[vote("ccc")] * 5, judge=Judge(votes=5, temperature=0.3, max_tokens=99))
    ((_, sampling),) = done.requests
    assert (sampling.n, sampling.temperature, sampling.max_tokens) == (5, 0.3, 99)
    assert (done.annotation.cost.rollouts, done.context.sampled_rollouts) == (0, [])


async def test_the_judge_sees_the_problem_and_numbered_steps_and_not_the_answer() -> None:
    ((prompt, _),) = (await judged(vote("ccc"))).requests
    assert "Problem:\nHow many?\n" in prompt.user
    assert "Step 1: sound 0\nStep 2: sound 1\nStep 3: sound 2\n" in prompt.user
    assert "4" not in prompt.user
    assert prompt.prefix == ""


@pytest.mark.parametrize("last", ["sound 2", "sound 2\n", "sound 2\n\n"])
async def test_a_prompt_of_ones_own_may_hold_everything(tmp_path: Path, last: str) -> None:
    own = tmp_path / "own.txt"
    own.write_text("{question}|{answer}|{steps}|{numbered}|{x")
    trace = replace(trace_of(3), steps=("{answer}\n", "sound 1\n", last))
    done = await done_by(Judge(votes=1, prompt=str(own)), trace, lambda *_: vote("ccc"))
    ((prompt, _),) = done.requests
    assert prompt.user == (
        "How many?|4|{answer}\nsound 1\nsound 2\n|Step 1: {answer}\nStep 2: sound 1\nStep 3: sound 2|{x"
    )


def test_the_text_of_the_prompt_is_part_of_the_method(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("{steps}")
    before = fingerprint(Judge(prompt=str(own)))
    own.write_text("{steps}!")
    assert fingerprint(Judge(prompt=str(own))) != before
    own.write_text("{critiques}")
    before = fingerprint(Judge(meta=str(own)))
    own.write_text("{critiques}!")
    assert fingerprint(Judge(meta=str(own))) != before


def test_a_prompt_that_cannot_be_used_is_refused_at_once(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("{solution}")
    with pytest.raises(
        ConfigError,
        match=r"unknown place \{solution\}; it may use: \{question\}, \{steps\}, \{numbered\}, \{answer\}",
    ):
        plugins.build("annotators", {"use": "judge", "prompt": str(own)})
    with pytest.raises(
        ConfigError,
        match="no prompt 'stern': give the path of a text file, or one of: judge, judge_answer, ",
    ):
        plugins.build("annotators", {"use": "judge", "prompt": "stern"})


@pytest.mark.parametrize("prompt", [[], ["judge", "step", "judge"]])
def test_an_ensemble_has_prompts_and_each_once(prompt: list[str]) -> None:
    with pytest.raises(ConfigError, match="judge: prompt is empty or lists a prompt twice"):
        plugins.build("annotators", {"use": "judge", "prompt": prompt})


def test_only_a_meta_critic_is_shown_critiques() -> None:
    with pytest.raises(ConfigError, match=r"unknown place \{critiques\}"):
        plugins.build("annotators", {"use": "judge", "prompt": "meta"})
    with pytest.raises(
        ConfigError, match=r"prompt judge: the prompt of a meta-critic must contain \{critiques\}"
    ):
        plugins.build("annotators", {"use": "judge", "meta": "judge"})


async def test_the_demo_asks_what_it_always_asked() -> None:
    """The figures in README rest on this request: its words, its numbers and its seed."""
    demo = next(
        table for table in load(CONFIGS / "pocket.toml", ()).annotators if table["use"] == "judge"
    )
    done = await done_by(plugins.build("annotators", demo), trace_of(3), lambda *_: "")
    asked = Prompt(user="Problem: How many?\nSolution:\nsound 0\nsound 1\nsound 2\nCheck:\n")
    assert done.requests == [
        (asked, Sampling(n=4, temperature=1.0, max_tokens=420, seed=1187214588634112))
    ]


def by_prompt(**replies: str | Sequence[str]) -> Respond:
    """Replies by a text that is in the prompt, spaces for underscores; a sequence has one a vote."""

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        said = next(said for key, said in replies.items() if key.replace("_", " ") in prompt.user)
        return said if isinstance(said, str) else said[index]

    return respond


def steps_alone(*votes: str) -> Respond:
    """Votes as "cic", given step by step."""

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        number = int(prompt.user.rpartition("Check step ")[2].rstrip(".\n"))
        return vote(votes[index]).splitlines()[number - 1]

    return respond


async def test_step_by_step_each_step_is_judged_given_those_before_it() -> None:
    done = await done_by(
        Judge(votes=3, prompt="step"), trace_of(3), steps_alone("cii", "cic", "ccc")
    )
    assert (done.annotation.first_error, done.annotation.confidence, verdicts(done.annotation)) == (
        1,
        2 / 3,
        "cic",
    )
    assert [(step.successes, step.trials) for step in done.annotation.steps] == [
        (3, 3),
        (1, 3),
        (2, 3),
    ]
    assert [sampling.n for _, sampling in done.requests] == [3, 3, 3]
    assert len({sampling.seed for _, sampling in done.requests}) == 3
    for number, (prompt, _) in enumerate(done.requests, start=1):
        assert prompt.user.endswith(
            f"\nStep {number}: sound {number - 1}\n\nCheck step {number}.\n"
        )
        assert f"sound {number}" not in prompt.user


@pytest.mark.parametrize("name", ["step", "step_answer"])
async def test_requests_of_one_trace_share_their_beginnings(name: str) -> None:
    done = await done_by(Judge(prompt=name), trace_of(5), lambda *_: "")
    for (earlier, _), (later, _) in pairwise(done.requests):
        assert later.user.startswith(earlier.user.rpartition("\n\n")[0])


async def test_a_verdict_on_another_step_is_none_on_the_one_that_is_asked_about() -> None:
    done = await done_by(
        Judge(votes=1, prompt="step"), trace_of(3), lambda *_: "Step 1: correct\nStep 7: incorrect"
    )
    assert verdicts(done.annotation) == "cuu"


async def test_all_steps_are_asked_about_at_once() -> None:
    waiting = 0

    async def complete(prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        nonlocal waiting
        waiting += 1
        while waiting < 6:
            await asyncio.sleep(0)
        return await Scripted(replies={"": ("Step 1: correct",)}).complete(prompt, sampling)

    engine = SimpleNamespace(complete=complete)
    context = AnnotationContext(
        services(None, cast(Engine, engine)),
        "method",
        PROBLEM,
        trace_of(3),
        family(trace_of(3), ()),
    )
    await asyncio.wait_for(
        Judge(prompt=("step", "step_answer")).annotate(PROBLEM, trace_of(3), context), timeout=30
    )
    assert waiting == 6


ENSEMBLE = ("judge", "judge_strict", "reverse")


async def test_every_readable_vote_of_an_ensemble_counts_the_same() -> None:
    said = by_prompt(
        strict_examiner=[vote("cic")] * 2,
        backwards=[vote("cic"), ""],
        Check_a_solution=[vote("ccc")] * 2,
    )
    done = await done_by(Judge(votes=2, prompt=ENSEMBLE), trace_of(3), said)
    assert (done.annotation.first_error, done.annotation.confidence) == (1, 3 / 5)
    assert [(step.successes, step.trials, step.unknowns) for step in done.annotation.steps] == [
        (5, 5, 1),
        (2, 5, 1),
        (5, 5, 1),
    ]
    assert len({(prompt.user, sampling.seed) for prompt, sampling in done.requests}) == 3
    assert ["4" in prompt.user for prompt, _ in done.requests] == [False, False, True]


async def test_steps_alone_and_all_at_once_may_sit_in_one_jury() -> None:
    alone, whole = steps_alone("cic"), by_prompt(Check_a_solution=vote("cic"))
    done = await done_by(
        Judge(votes=1, prompt=("judge", "step")),
        trace_of(3),
        lambda *asked: (alone if "Check step" in asked[0].user else whole)(*asked),
    )
    assert (done.annotation.first_error, [step.trials for step in done.annotation.steps]) == (
        1,
        [2, 2, 2],
    )


@pytest.mark.parametrize("answer", [None, ""])
async def test_without_a_reference_nobody_is_shown_one(answer: str | None) -> None:
    problem = replace(PROBLEM, answer=answer)
    done = await done_by(
        Judge(votes=1, prompt=ENSEMBLE), trace_of(3), lambda *_: vote("cic"), problem=problem
    )
    assert (
        len(done.requests),
        done.annotation.first_error,
        {step.trials for step in done.annotation.steps},
    ) == (2, 1, {2})
    for judge in (
        Judge(prompt=("reverse", "judge_answer", "step_answer")),
        Judge(meta="meta", prompt="reverse"),
    ):
        done = await done_by(judge, trace_of(3), lambda *_: vote("cic"), problem=problem)
        assert (done.requests, done.annotation.first_error, verdicts(done.annotation)) == (
            [],
            None,
            "uuu",
        )
        reason = "prompt reverse shows the reference answer, but the problem has none"
        assert {step.rationale for step in done.annotation.steps} == {reason}


@pytest.mark.parametrize("name", ["step", "judge_json"])
async def test_a_trace_of_very_many_steps_is_not_judged_one_by_one(name: str) -> None:
    done = await done_by(Judge(prompt=name), trace_of(257), lambda *_: "Step 1: correct")
    assert (done.requests, done.annotation.steps[0].rationale) == (
        [],
        f"prompt {name} supports at most 256 steps",
    )
    done = await done_by(
        Judge(votes=1, prompt=("judge", name)), trace_of(257), lambda *_: "Step 1: incorrect"
    )
    assert (len(done.requests), done.annotation.first_error) == (1, 0)


async def test_a_prompt_that_shows_the_schema_asks_for_it() -> None:
    done = await done_by(
        Judge(votes=1, prompt=("judge_json", "judge")), trace_of(3), lambda *_: vote("cic")
    )
    (formed, _), (free, _) = done.requests
    assert json.loads(formed.schema)["properties"]["steps"]["maxItems"] == 3
    assert formed.user.endswith(f"{formed.schema}\n")
    assert free.schema == ""


REVIEWS = [vote("cic"), vote("ccc"), vote("cic"), "Hard to say."]


@pytest.mark.parametrize(
    ("final", "first_error", "confidence", "said"),
    [
        (vote("cic"), 1, 2 / 3, "cic"),
        (vote("ccc"), NO_ERROR, 1 / 3, "ccc"),
        (vote("icc"), 0, 0.0, "icc"),
        (vote("c?c"), None, None, "cuc"),
        ("I agree with most.", None, None, "uuu"),
    ],
)
async def test_the_meta_critic_decides_and_the_votes_stay(
    final: str, first_error: int | None, confidence: float | None, said: str
) -> None:
    reply = by_prompt(Several_reviewers=final, Check_a_solution=REVIEWS)
    done = await done_by(Judge(votes=4, meta="meta"), trace_of(3), reply)
    assert (done.annotation.first_error, done.annotation.confidence, verdicts(done.annotation)) == (
        first_error,
        confidence,
        said,
    )
    assert [
        (step.value, step.successes, step.trials, step.unknowns) for step in done.annotation.steps
    ] == [
        (1.0, 3, 3, 1),
        (1 / 3, 1, 3, 1),
        (1.0, 3, 3, 1),
    ]
    (_, (shown, sampling)) = done.requests
    for number, review in enumerate(REVIEWS, start=1):
        assert f"\n\nReview {number}:\n{review}\n" in shown.user
    assert sampling.n == 1


async def test_the_meta_critic_is_not_asked_about_nothing() -> None:
    whole = Completion(
        text=vote("iii"),
        finish_reason="length",
        prompt_tokens=0,
        cached_tokens=0,
        generated_tokens=1,
    )
    for said in (whole, " \n", vote("ccc") + " " * MAX_REPLY_CHARS):
        done = await done_by(Judge(votes=2, meta="meta"), trace_of(3), lambda *_, said=said: said)
        assert (len(done.requests), done.annotation.first_error, verdicts(done.annotation)) == (
            1,
            None,
            "uuu",
        )


async def test_a_meta_critic_that_is_cut_decides_nothing() -> None:
    cut = Completion(
        text=vote("ccc"),
        finish_reason="length",
        prompt_tokens=0,
        cached_tokens=0,
        generated_tokens=1,
    )
    done = await done_by(
        Judge(meta="meta"),
        trace_of(3),
        lambda prompt, *_: cut if "Review 1:" in prompt.user else vote("ccc"),
    )
    assert (done.annotation.first_error, verdicts(done.annotation)) == (None, "uuu")


async def test_every_reply_is_kept_with_its_verdicts() -> None:
    replies = (vote("ci?"), vote("ccc"), "Hm.\ud800")
    done = await judged(*replies)
    first = Critique(
        trace_id="3/-1",
        prompt="judge",
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
    assert done.context.critiques == [
        first,
        replace(
            first,
            vote=1,
            text=replies[1],
            verdicts=(C, C, C),
            first_error=NO_ERROR,
            prompt_tokens=0,
        ),
        replace(
            first,
            vote=2,
            text=replies[2],
            verdicts=(U, U, U),
            first_error=None,
            prompt_tokens=0,
            generated_tokens=1,
        ),
    ]


async def test_of_a_vote_given_step_by_step_every_reply_is_kept() -> None:
    done = await done_by(Judge(votes=2, prompt="step"), trace_of(3), steps_alone("cic", "ccc"))
    kept = [(c.vote, c.step, c.text, c.verdicts, c.first_error) for c in done.context.critiques]
    assert kept == [
        (0, 0, "Step 1: correct", (C,), 1),
        (0, 1, "Step 2: incorrect", (I,), 1),
        (0, 2, "Step 3: correct", (C,), 1),
        (1, 0, "Step 1: correct", (C,), NO_ERROR),
        (1, 1, "Step 2: correct", (C,), NO_ERROR),
        (1, 2, "Step 3: correct", (C,), NO_ERROR),
    ]


async def test_critiques_name_their_prompt_and_the_bill_is_theirs() -> None:
    done = await done_by(
        Judge(votes=2, prompt=("judge", "judge_strict"), meta="meta"),
        trace_of(3),
        lambda *_: vote("ccc"),
    )
    kept = done.context.critiques
    assert [(c.prompt, c.vote) for c in kept] == [
        ("judge", 0),
        ("judge", 1),
        ("judge_strict", 0),
        ("judge_strict", 1),
        ("meta", 0),
    ]
    assert sum(c.generated_tokens for c in kept) == done.annotation.cost.generated_tokens
    assert sum(c.prompt_tokens for c in kept) == done.annotation.cost.prompt_tokens


async def test_a_reply_without_end_is_kept_in_part_and_says_nothing() -> None:
    done = await judged(vote("iii") + "\n" + "x" * MAX_REPLY_CHARS)
    assert [len(critique.text) for critique in done.context.critiques] == [MAX_REPLY_CHARS]
    assert verdicts(done.annotation) == "uuu"


@pytest.mark.parametrize("path", sorted(PROMPTS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_shipped_prompt_can_be_used(path: Path) -> None:
    judge = Judge(meta=path.stem) if path.stem == "meta" else Judge(prompt=path.stem)
    (critic,) = {judge.meta_critic or judge.critics[0]}
    assert critic.uses("question")
    assert critic.uses("numbered") or critic.uses("steps")
    assert critic.uses("answer") is (path.stem in ("judge_answer", "step_answer", "reverse"))
