"""Measure the pocket model: `python -m pocket.measure > engines/pocket_model/measured.json`.

Prints every figure of its model card, on held-out problems: answers by number of steps, step
errors, first errors, flawed positives, success of rollouts from sound and unsound prefixes, and the
first-error F1 of the model's checks of its own solutions.
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
from pocket.curriculum import CHECK_PROMPT, SOLVE_PROMPT
from problems.arithmetic_domain.step_language import judge_lines
from problems.arithmetic_domain.stories import ArithmeticStory, draw
from stepmark.final_answers import final_answer
from stepmark.records import NO_ERROR, Sampling, Verdict, first_error_of
from stepmark.steps import split

HELD_OUT = "held out"
"""Seed of the problems. The streams of the lessons have other seeds."""
MAX_TOKENS = 480
SAMPLES = 4
ROLLOUTS = 8
TRAINED_STEPS = 6
"""The largest number of steps in the lessons; longer problems are reported apart."""
SEED_SPACING = 1024
"""Larger than the samples of one request, so that no two requests share a seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """A solution, and the oracle's verdict and reason for each line."""

    story: ArithmeticStory
    steps: int
    """Steps that the problem needs."""
    lines: Sequence[str]
    truths: Sequence[tuple[Verdict, str]]
    right_answer: bool

    @property
    def first_error(self) -> int | None:
        """The index of the first wrong line, -1 for none, None if a line is not understood."""
        return first_error_of([verdict for verdict, _ in self.truths])


async def solutions(
    engine: Pocket, stories: Sequence[tuple[int, ArithmeticStory]], sampling: Sampling
) -> list[Solved]:
    """Solve every problem `sampling.n` times; the solutions of one problem are adjacent."""

    async def solve(index: int, steps: int, story: ArithmeticStory) -> list[Solved]:
        prompt = Prompt(user=SOLVE_PROMPT.format(question=story.question))
        request = Sampling(
            n=sampling.n,
            temperature=sampling.temperature,
            max_tokens=MAX_TOKENS,
            seed=index * SEED_SPACING,
        )
        completions = await engine.complete(prompt, request)
        return [_graded(story, steps, completion.text) for completion in completions]

    requests = [solve(index, steps, story) for index, (steps, story) in enumerate(stories)]
    solved = list[Solved]()
    for group in await asyncio.gather(*requests):
        solved += group
    return solved


def _graded(story: ArithmeticStory, steps: int, text: str) -> Solved:
    lines = split(text, "line")
    return Solved(
        story=story,
        steps=steps,
        lines=lines,
        truths=judge_lines(story.world, lines),
        right_answer=final_answer(text) == _answer(story),
    )


def _answer(story: ArithmeticStory) -> str:
    return str(story.world.value(story.world.target))


def skill(solved: Sequence[Solved]) -> Mapping[str, Any]:
    """Return the shares of correct answers and steps, and where the first errors are."""
    by_steps = dict[str, float]()
    for steps in sorted({item.steps for item in solved}):
        answers = [item.right_answer for item in solved if item.steps == steps]
        by_steps[str(steps)] = _share(answers)
    small = [item for item in solved if item.steps <= TRAINED_STEPS]
    verdicts = list[Verdict]()
    kinds = Counter[str]()
    for item in small:
        end = len(item.truths)
        if item.first_error not in (None, NO_ERROR):
            # Lines behind the first error are not judged: they build on a wrong value.
            end = item.first_error + 1
            kinds[item.truths[item.first_error][1]] += 1
        verdicts += [verdict for verdict, _ in item.truths[:end]]
    positions = Counter(item.first_error for item in small if item.first_error is not None)
    by_position = {str(position): count for position, count in sorted(positions.items())}
    right = [item for item in small if item.right_answer]
    return {
        "solutions": len(small),
        "right answers, 2-6 steps": _share([item.right_answer for item in small]),
        "right answers by number of steps": by_steps,
        "step error rate up to the first error": _share(
            [verdict is Verdict.INCORRECT for verdict in verdicts]
        ),
        "lines outside the step language": verdicts.count(Verdict.UNKNOWN),
        "first errors by kind": dict(kinds.most_common()),
        "first errors by step (0-based, -1 none)": by_position,
        "right answers with a wrong step": _share([item.first_error != NO_ERROR for item in right]),
    }


async def prefixes(
    engine: Pocket, solved: Sequence[Solved], random: Random, count: int
) -> Mapping[str, Any]:
    """Return the success rate of rollouts from random prefixes of sampled solutions.

    Sound prefixes end before the first error; unsound prefixes contain it. At most `count` prefixes
    of each kind are used.
    """
    sound = list[tuple[Solved, int]]()
    unsound = list[tuple[Solved, int]]()
    for item in solved:
        if item.first_error is None or item.steps > TRAINED_STEPS:
            continue
        last_line = len(item.lines) - 1
        last = last_line if item.first_error == NO_ERROR else item.first_error
        if last >= 0:
            sound.append((item, random.randint(0, last)))
        if item.first_error not in (NO_ERROR, last_line):
            unsound.append((item, random.randint(item.first_error + 1, last_line)))
    random.shuffle(sound)
    random.shuffle(unsound)
    return {
        "rollout success from sound prefixes": await _success(engine, sound[:count]),
        "rollout success from unsound prefixes": await _success(engine, unsound[:count]),
    }


async def _success(engine: Pocket, cuts: Sequence[tuple[Solved, int]]) -> float:
    """Return the share of correct rollouts from (solution, lines of the prefix)."""

    async def roll_out(index: int, item: Solved, lines: int) -> list[bool]:
        question = SOLVE_PROMPT.format(question=item.story.question)
        prompt = Prompt(user=question, prefix="".join(item.lines[:lines]))
        sampling = Sampling(n=ROLLOUTS, max_tokens=MAX_TOKENS, seed=index * SEED_SPACING)
        outcomes = list[bool]()
        for completion in await engine.complete(prompt, sampling):
            answer = final_answer(prompt.prefix + completion.text)
            outcomes.append(answer == _answer(item.story))
        return outcomes

    requests = [roll_out(index, item, lines) for index, (item, lines) in enumerate(cuts)]
    outcomes = list[bool]()
    for group in await asyncio.gather(*requests):
        outcomes += group
    return _share(outcomes)


async def checks(
    engine: Pocket, solved: Sequence[Solved], temperature: float, votes: int
) -> Mapping[str, Any]:
    """Return the ProcessBench metrics of the model's checks, by majority of `votes` replies."""

    async def check(index: int, item: Solved) -> int | None:
        steps = "".join(item.lines).rstrip("\n") + "\n"
        prompt = Prompt(user=CHECK_PROMPT.format(question=item.story.question, steps=steps))
        seed = index * SEED_SPACING
        sampling = Sampling(n=votes, temperature=temperature, max_tokens=MAX_TOKENS, seed=seed)
        counts = Counter[int | None]()
        for completion in await engine.complete(prompt, sampling):
            readings = read_verdicts(completion.text, len(item.lines))
            counts[first_error_of([reading.verdict for reading in readings])] += 1
        del counts[None]
        return counts.most_common(1)[0][0] if counts else None

    decided = list[Solved]()
    for item in solved:
        if item.first_error is not None and item.steps <= TRAINED_STEPS:
            decided.append(item)
    requests = [check(index, item) for index, item in enumerate(decided)]
    cases = list[Case]()
    for item, predicted in zip(decided, await asyncio.gather(*requests), strict=True):
        cases.append(Case(gold=item.first_error or 0, predicted=predicted))
    scored = score(cases)
    return {
        "traces": scored.traces,
        "accuracy wrong": scored.accuracy_wrong,
        "accuracy right": scored.accuracy_right,
        "F1": scored.f1,
    }


async def measure(folder: str, per_steps: int, most_steps: int) -> Mapping[str, Any]:
    """Return all measurements of the model in a folder; "" is the bundled model."""
    engine = Pocket(model=folder)
    random = Random(HELD_OUT)
    stories = list[tuple[int, ArithmeticStory]]()
    for steps in range(2, most_steps + 1):
        for _ in range(per_steps):
            stories.append((steps, draw(random, steps)))
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
    parser.add_argument("--model", default="", help="model folder (default: the bundled model)")
    parser.add_argument("--per-steps", type=int, default=100, help="problems per number of steps")
    parser.add_argument("--most-steps", type=int, default=8, help="largest number of steps")
    options = parser.parse_args()
    folder = str(Path(options.model)) if options.model else ""
    report = asyncio.run(measure(folder, options.per_steps, options.most_steps))
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
