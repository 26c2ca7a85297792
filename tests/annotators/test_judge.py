"""The judge: verdicts are read in a known form or not at all, votes are counted, and a reply can do no harm."""

from dataclasses import replace
from pathlib import Path

import pytest

from annotators.judge import Judge, read_verdicts
from engines.base import Completion, Prompt
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.identity import fingerprint
from stepmark.records import NO_ERROR, Sampling, StepAnnotation
from tests.annotators.simulated import PROBLEM, C, Done, U, done_by, trace_of, verdicts

MEGABYTE = 1_000_000


def read(reply: str, steps: int = 3) -> str:
    return "".join(said.verdict[0] for said in read_verdicts(reply, steps))


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Step 1: correct\nStep 2: incorrect\nStep 3: correct", "cic"),
        ("step 1: CORRECT\nSTEP 2: Incorrect.\nStep 3 - correct!", "cic"),
        ("Step 1: correct\r\nStep 2: incorrect\r\nStep 3: correct\r\n", "cic"),
        ("**Step 1**: Correct\n### Step 2: **incorrect**\n- Step 3: *correct*.", "cic"),
        ("Step 1: \\boxed{correct}\nStep 2: $\\boxed{incorrect}$\nStep 3: \\text{correct}", "cic"),
        ("> Step 1 : `correct`\n| Step 2 | incorrect |\n1) Step 3: correct", "ciu"),
        ("Step 2: incorrect\nStep 1: correct", "ciu"),
        ("First some words.\n\nStep 1: 24 + 7 = 31, so this is correct\n\nStep 2: the sum is 9, not 8: incorrect", "ciu"),
        ("Step 1: x = 3 or -3, correct\nStep 2: it is not nine: incorrect", "ciu"),
        ("Step 3: builds on step 2, which is incorrect", "uui"),
        # no line of the form
        ("", "uuu"),
        ("All steps are correct.", "uuu"),
        ("correct\nincorrect", "uuu"),
        ("Step 1\ncorrect\nStep\n2: incorrect", "uuu"),
        ("Step one: correct", "uuu"),
        ("Steps 1 to 3: correct", "uuu"),
        ("The first step, Step 1: correct", "uuu"),
        ("Step 1: correct because 2 + 2 = 4", "uuu"),
        ("Step 1: incorrectly derived", "uuu"),
        ("Step 1.5x: correct\nStep 2nd: incorrect", "cuu"),
        # not so many steps
        ("Step 0: incorrect\nStep 4: incorrect\nStep 999999: incorrect\nStep 1: correct", "cuu"),
        ("Step 12345678: incorrect", "uuu"),
        # two verdicts on one step
        ("Step 1: correct\nStep 1: correct\nStep 2: correct\nStep 2: incorrect", "cuu"),
        # hedged
        ("Step 1: not correct\nStep 2: is not quite correct.\nStep 3: isn't correct", "uuu"),
        ("Step 1: correct or incorrect\nStep 2: correct/incorrect\nStep 3: never incorrect", "uuu"),
        ("Step 1: not correct\nStep 1: correct", "uuu"),
    ],
)
def test_reads_what_is_said_in_a_known_form(reply: str, said: str) -> None:
    assert read(reply) == said


@pytest.mark.parametrize(
    "reply",
    [
        "\n" * MEGABYTE,
        "!\n" * (MEGABYTE // 2),
        "_" * MEGABYTE,
        "step" + " " * MEGABYTE,
        "step\n" * (MEGABYTE // 5),
        "Step 1 " * (MEGABYTE // 7),
        "Step 1: " + "correct " * (MEGABYTE // 8) + "x",
        "Step 1: correct" + "!" * MEGABYTE + "x",
        "Step 1: " + "not " * (MEGABYTE // 4) + "correct",
        "Step 1: " + "a" * MEGABYTE,
        "Step " + "1" * MEGABYTE + ": correct",
        "Step 1: " + "/ " * (MEGABYTE // 2) + "correct",
        "Step 1: correct\ud800incorrectly\0" * (MEGABYTE // 32),
    ],
    ids=lambda reply: repr(reply[:16]),
)
def test_a_hostile_reply_is_read_in_linear_time_and_says_nothing(reply: str) -> None:
    assert read(reply) == "uuu"


async def judged(*texts: str, steps: int = 3, judge: Judge | None = None) -> Done:
    def reply(prompt: Prompt, sampling: Sampling, index: int) -> str:
        return texts[index]

    return await done_by(judge or Judge(votes=len(texts)), trace_of(steps), reply)


def vote(said: str) -> str:
    """A reply that says "ci?" of steps 1 to 3."""
    names = {"c": "correct", "i": "incorrect", "?": "perhaps"}
    return "\n".join(f"Step {number}: {names[letter]}" for number, letter in enumerate(said, start=1))


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
        (["i??", "c??", "c??"], 0, 1.0, "cuu"),
    ],
)
async def test_the_first_error_is_what_most_readable_votes_name(
    votes: list[str], first_error: int | None, confidence: float | None, said: str
) -> None:
    annotation = (await judged(*map(vote, votes))).annotation
    assert (annotation.first_error, annotation.confidence, verdicts(annotation)) == (first_error, confidence, said)


async def test_the_vote_shares_are_kept() -> None:
    annotation = (await judged(vote("ci?"), vote("cc?"), vote("cc?"))).annotation
    assert annotation.steps == (
        StepAnnotation(verdict=C, value=1.0, successes=3, trials=3, rationale="Step 1: correct"),
        StepAnnotation(verdict=C, value=2 / 3, successes=2, trials=3, rationale="Step 2: correct"),
        StepAnnotation(verdict=U, unknowns=3),
    )


async def test_a_reply_that_was_cut_is_no_vote() -> None:
    whole, cut = (
        Completion(text=vote(said), finish_reason=reason, prompt_tokens=0, cached_tokens=0, generated_tokens=1)
        for said, reason in (("ccc", "stop"), ("icc", "length"))
    )
    done = await done_by(Judge(votes=3), trace_of(3), lambda prompt, sampling, index: (cut, whole, cut)[index])
    assert (done.annotation.first_error, done.annotation.confidence, verdicts(done.annotation)) == (NO_ERROR, 1.0, "ccc")
    assert [step.unknowns for step in done.annotation.steps] == [2, 2, 2]


async def test_all_votes_are_asked_for_at_once() -> None:
    done = await judged(*[vote("ccc")] * 5, judge=Judge(votes=5, temperature=0.3, max_tokens=99))
    ((_, sampling),) = done.requests
    assert (sampling.n, sampling.temperature, sampling.max_tokens) == (5, 0.3, 99)
    assert (done.annotation.cost.rollouts, done.tools.spent) == (0, [])


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
    assert prompt.user == ("How many?|4|{answer}\nsound 1\nsound 2\n|Step 1: {answer}\nStep 2: sound 1\nStep 3: sound 2|{x")


async def test_an_answer_that_is_not_known_is_said_to_be_so(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("{answer}")
    judge = Judge(votes=1, prompt=str(own))
    done = await done_by(judge, trace_of(1), lambda *_: vote("c"), problem=replace(PROBLEM, answer=None))
    assert done.requests[0][0].user == "not known"


def test_the_text_of_the_prompt_is_part_of_the_method(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("{steps}")
    before = fingerprint(Judge(prompt=str(own)))
    own.write_text("{steps}!")
    assert fingerprint(Judge(prompt=str(own))) != before


def test_a_prompt_that_cannot_be_used_is_refused_at_once(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("{solution}")
    with pytest.raises(ConfigError, match=r"unknown place \{solution\}; it may use: \{question\}, \{steps\}, \{numbered\}, \{answer\}"):
        plugins.build("annotators", {"use": "judge", "prompt": str(own)})
    with pytest.raises(ConfigError, match="no prompt 'strict': give the path of a text file, or one of: judge, pocket"):
        plugins.build("annotators", {"use": "judge", "prompt": "strict"})
