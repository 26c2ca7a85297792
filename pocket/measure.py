"""Measure the pocket model on held-out problems: `python -m pocket.measure > engines/pocket_model/measured.json`.

Everything that its model card states is printed here: answers by number of steps, step errors, first errors, flawed positives, rollout
success from sound and unsound prefixes, and the first-error F1 of its checks on its own solutions.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from annotators.judging.reply_parser import read_verdicts
from engines.base import Prompt
from engines.pocket import Pocket
from pipelines.scoring.metrics import Case, score
from pocket.lessons import CHECK_PROMPT, SOLVE_PROMPT
from problems.arithmetic_domain.step_language import judge_lines
from problems.arithmetic_domain.stories import Story, draw
from stepmark.final_answers import final_answer
from stepmark.records import NO_ERROR, Sampling, Verdict, first_error_of
from stepmark.steps import split

HELD_OUT = "held out"  # lessons are drawn from other streams
MAX_TOKENS = 480
SAMPLES, ROLLOUTS = 4, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """A solution and the truth about it."""

    story: Story
    steps: int
    lines: Sequence[str]
    truths: Sequence[tuple[Verdict, str]]
    right_answer: bool

    @property
    def first_error(self) -> int | None:
        """By the oracle."""
        return first_error_of([verdict for verdict, _ in self.truths])


async def solutions(
    engine: Pocket, stories: Sequence[tuple[int, Story]], sampling: Sampling
) -> list[Solved]:
    """Solve every problem `sampling.n` times."""

    async def solve(index: int, steps: int, story: Story) -> list[Solved]:
        prompt = Prompt(user=SOLVE_PROMPT.format(question=story.question))
        asked = Sampling(
            n=sampling.n, temperature=sampling.temperature, max_tokens=MAX_TOKENS, seed=index * 1024
        )
        return [_solved(story, steps, c.text) for c in await engine.complete(prompt, asked)]

    found = await asyncio.gather(
        *(solve(i, steps, story) for i, (steps, story) in enumerate(stories))
    )
    return [solution for group in found for solution in group]


def _solved(story: Story, steps: int, text: str) -> Solved:
    lines = split(text, "line")
    right = final_answer(text) == str(story.world.value(story.world.target))
    return Solved(
        story=story,
        steps=steps,
        lines=lines,
        truths=judge_lines(story.world, lines),
        right_answer=right,
    )


def skill(solved: Sequence[Solved]) -> Mapping[str, Any]:
    """Answers and steps."""
    by_steps = {
        str(n): _share([s.right_answer for s in solved if s.steps == n])
        for n in sorted({s.steps for s in solved})
    }
    small = [s for s in solved if s.steps <= 6]
    judged = [
        truth
        for s in small
        for truth in s.truths[
            : len(s.truths) if s.first_error in (None, NO_ERROR) else s.first_error + 1
        ]
    ]
    mistakes = Counter(
        s.truths[s.first_error][1] for s in small if s.first_error not in (None, NO_ERROR)
    )
    places = Counter(s.first_error for s in small if s.first_error is not None)
    right = [s for s in small if s.right_answer]
    return {
        "solutions": len(small),
        "right answers, 2-6 steps": _share([s.right_answer for s in small]),
        "right answers by number of steps": by_steps,
        "step error rate up to the first error": _share(
            [verdict is Verdict.INCORRECT for verdict, _ in judged]
        ),
        "lines outside the step language": sum(verdict is Verdict.UNKNOWN for verdict, _ in judged),
        "first errors by kind": dict(mistakes.most_common()),
        "first errors by step (0-based, -1 none)": {
            str(place): count for place, count in sorted(places.items())
        },
        "right answers with a wrong step": _share([s.first_error != NO_ERROR for s in right]),
    }


async def prefixes(
    engine: Pocket, solved: Sequence[Solved], random: Random, count: int
) -> Mapping[str, Any]:
    """Rollout success from random prefixes of sampled solutions: before the first error, and from it on."""
    sound, unsound = list[tuple[Solved, int]](), list[tuple[Solved, int]]()
    for s in solved:
        if s.first_error is None or s.steps > 6:
            continue
        last = len(s.lines) - 1 if s.first_error == NO_ERROR else s.first_error
        sound += [(s, random.randint(0, last))] if last >= 0 else []
        unsound += (
            []
            if s.first_error in (NO_ERROR, len(s.lines) - 1)
            else [(s, random.randint(s.first_error + 1, len(s.lines) - 1))]
        )
    random.shuffle(sound)
    random.shuffle(unsound)
    return {
        "rollout success from sound prefixes": await _success(engine, sound[:count]),
        "rollout success from unsound prefixes": await _success(engine, unsound[:count]),
    }


async def _success(engine: Pocket, cut: Sequence[tuple[Solved, int]]) -> float:
    async def roll(index: int, s: Solved, place: int) -> list[bool]:
        prompt = Prompt(
            user=SOLVE_PROMPT.format(question=s.story.question), prefix="".join(s.lines[:place])
        )
        sampling = Sampling(n=ROLLOUTS, max_tokens=MAX_TOKENS, seed=index * 1024)
        answer = str(s.story.world.value(s.story.world.target))
        return [
            final_answer(prompt.prefix + c.text) == answer
            for c in await engine.complete(prompt, sampling)
        ]

    rolled = await asyncio.gather(*(roll(i, s, place) for i, (s, place) in enumerate(cut)))
    return _share([right for group in rolled for right in group])


async def checks(
    engine: Pocket, solved: Sequence[Solved], temperature: float, votes: int
) -> Mapping[str, Any]:
    """ProcessBench measures of the model's checks of its own solutions, by majority of `votes`."""

    async def check(index: int, s: Solved) -> int | None:
        prompt = Prompt(
            user=CHECK_PROMPT.format(
                question=s.story.question, steps="".join(s.lines).rstrip("\n") + "\n"
            )
        )
        sampling = Sampling(
            n=votes, temperature=temperature, max_tokens=MAX_TOKENS, seed=index * 1024
        )
        replies = await engine.complete(prompt, sampling)
        named = Counter(
            first_error_of([said.verdict for said in read_verdicts(c.text, len(s.lines))])
            for c in replies
        )
        del named[None]
        return named.most_common(1)[0][0] if named else None

    fair = [s for s in solved if s.first_error is not None and s.steps <= 6]
    said = await asyncio.gather(*(check(i, s) for i, s in enumerate(fair)))
    scored = score(
        [Case(gold=s.first_error or 0, predicted=p) for s, p in zip(fair, said, strict=True)]
    )
    return {
        "traces": scored.traces,
        "accuracy wrong": scored.accuracy_wrong,
        "accuracy right": scored.accuracy_right,
        "F1": scored.f1,
    }


async def measure(folder: str, per_steps: int, most_steps: int) -> Mapping[str, Any]:
    """All of it."""
    engine, random = Pocket(model=folder), Random(HELD_OUT)
    stories = [(n, draw(random, n)) for n in range(2, most_steps + 1) for _ in range(per_steps)]
    greedy = await solutions(engine, stories, Sampling(temperature=0.0))
    sampled = await solutions(engine, stories, Sampling(n=SAMPLES))
    singles = sampled[::SAMPLES]
    report = {
        "problems per number of steps": per_steps,
        "greedy": skill(greedy),
        "temperature 1": skill(sampled),
        **await prefixes(engine, sampled, random, 4 * per_steps),
        "check of its own solutions, greedy": await checks(engine, singles, 0.0, 1),
        "check of its own solutions, temperature 1, 4 votes": await checks(engine, singles, 1.0, 4),
    }
    await engine.close()
    return report


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / max(len(flags), 1), 4)


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", help="a model folder; the shipped one by default")
    parser.add_argument("--per-steps", type=int, default=100)
    parser.add_argument("--most-steps", type=int, default=8)
    options = parser.parse_args()
    found = asyncio.run(
        measure(
            str(Path(options.model)) if options.model else "", options.per_steps, options.most_steps
        )
    )
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
