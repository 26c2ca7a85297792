"""Measure the pocket model: `python -m pocket.measure > engines/pocket_model/measured.json`.

Prints every figure of its model card, on held-out problems: answers by number of steps, step
errors, first errors, right answers with a wrong step, success of rollouts from sound and unsound
prefixes, and the first-error F1 of the model's checks of solutions that it has sampled itself.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
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
    engine: Pocket,
    stories: Sequence[tuple[int, ArithmeticStory]],
    sampling: Sampling,
) -> list[Solved]:
    """Solve every problem `sampling.n` times; the solutions of one problem are adjacent."""

    async def solve(index: int, steps: int, story: ArithmeticStory) -> list[Solved]:
        question = SOLVE_PROMPT.format(question=story.question)
        prompt = Prompt(user=question)
        request = Sampling(
            n=sampling.n,
            temperature=sampling.temperature,
            max_tokens=MAX_TOKENS,
            seed=index * SEED_SPACING,
        )
        completions = await engine.complete(prompt, request)
        return [_graded(story, steps, completion.text) for completion in completions]

    requests = list[Coroutine[Any, Any, list[Solved]]]()
    for index, (steps, story) in enumerate(stories):
        requests.append(solve(index, steps, story))
    solved = list[Solved]()
    for group in await asyncio.gather(*requests):
        solved += group
    return solved


def _graded(story: ArithmeticStory, steps: int, text: str) -> Solved:
    lines = split(text, "line")
    truths = judge_lines(story.world, lines)
    answer = final_answer(text)
    return Solved(
        story=story,
        steps=steps,
        lines=lines,
        truths=truths,
        right_answer=answer == _answer(story),
    )


def _answer(story: ArithmeticStory) -> str:
    value = story.world.value(story.world.target)
    return str(value)


def skill(solved: Sequence[Solved]) -> Mapping[str, Any]:
    """Return the shares of correct answers and steps, and where the first errors are."""
    by_steps = dict[str, float]()
    for steps in sorted({item.steps for item in solved}):
        answers = [item.right_answer for item in solved if item.steps == steps]
        by_steps[str(steps)] = _share(answers)
    small = [item for item in solved if item.steps <= TRAINED_STEPS]
    right_answers = list[bool]()
    # For each solution with a right answer, whether it is flawed all the same. A solution with an
    # unknown line counts as flawed.
    flaws = list[bool]()
    step_errors = list[bool]()
    unknown_lines = 0
    kinds = Counter[str]()
    positions = Counter[int]()
    for item in small:
        first_error = item.first_error
        right_answers.append(item.right_answer)
        if item.right_answer:
            flaws.append(first_error != NO_ERROR)
        judged = item.truths
        if first_error is not None:
            positions[first_error] += 1
        if first_error not in (None, NO_ERROR):
            # Lines behind the first error are not judged: they build on a wrong value.
            judged = judged[: first_error + 1]
            _, kind = judged[first_error]
            kinds[kind] += 1
        for verdict, _ in judged:
            step_errors.append(verdict is Verdict.INCORRECT)
            if verdict is Verdict.UNKNOWN:
                unknown_lines += 1
    by_position = dict[str, int]()
    for position, count in sorted(positions.items()):
        by_position[str(position)] = count
    return {
        "solutions": len(small),
        "right answers, 2-6 steps": _share(right_answers),
        "right answers by number of steps": by_steps,
        "step error rate up to the first error": _share(step_errors),
        "lines outside the step language": unknown_lines,
        "first errors by kind": dict(kinds.most_common()),
        "first errors by step (0-based, -1 none)": by_position,
        "right answers with a wrong step": _share(flaws),
    }


async def prefixes(
    engine: Pocket,
    solved: Sequence[Solved],
    random: Random,
    count: int,
) -> Mapping[str, Any]:
    """Return the success rate of rollouts from random prefixes of sampled solutions.

    Sound prefixes end before the first error; unsound prefixes contain it. At most `count` prefixes
    of each kind are used.
    """
    sound = list[tuple[Solved, int]]()
    unsound = list[tuple[Solved, int]]()
    for item in solved:
        first_error = item.first_error
        if first_error is None or item.steps > TRAINED_STEPS:
            continue
        # A prefix never contains the last line, so that something remains to be generated.
        most_lines = len(item.lines) - 1
        most_sound_lines = first_error
        if first_error == NO_ERROR:
            most_sound_lines = most_lines
        # -1 for an empty solution, which has no prefix.
        if most_sound_lines >= 0:
            lines = random.randint(0, most_sound_lines)
            sound.append((item, lines))
        if first_error not in (NO_ERROR, most_lines):
            lines = random.randint(first_error + 1, most_lines)
            unsound.append((item, lines))
    # Shuffled, because the solutions are ordered by their number of steps and only the first
    # `count` prefixes are used.
    random.shuffle(sound)
    random.shuffle(unsound)
    sound_success = await _success(engine, sound[:count])
    unsound_success = await _success(engine, unsound[:count])
    return {
        "rollout success from sound prefixes": sound_success,
        "rollout success from unsound prefixes": unsound_success,
    }


async def _success(engine: Pocket, cuts: Sequence[tuple[Solved, int]]) -> float:
    """Return the share of correct rollouts from (solution, lines of the prefix)."""

    async def roll_out(index: int, item: Solved, lines: int) -> list[bool]:
        question = SOLVE_PROMPT.format(question=item.story.question)
        prefix = "".join(item.lines[:lines])
        prompt = Prompt(user=question, prefix=prefix)
        sampling = Sampling(
            n=ROLLOUTS,
            max_tokens=MAX_TOKENS,
            seed=index * SEED_SPACING,
        )
        outcomes = list[bool]()
        for completion in await engine.complete(prompt, sampling):
            answer = final_answer(prefix + completion.text)
            outcomes.append(answer == _answer(item.story))
        return outcomes

    requests = list[Coroutine[Any, Any, list[bool]]]()
    for index, (item, lines) in enumerate(cuts):
        requests.append(roll_out(index, item, lines))
    outcomes = list[bool]()
    for group in await asyncio.gather(*requests):
        outcomes += group
    return _share(outcomes)


async def checks(
    engine: Pocket,
    solved: Sequence[Solved],
    temperature: float,
    votes: int,
) -> Mapping[str, Any]:
    """Return the ProcessBench metrics of the model's checks, by majority of `votes` replies."""

    async def check(index: int, item: Solved) -> int | None:
        # The same text as in lessons: exactly one line break after the solution.
        steps = "".join(item.lines).rstrip("\n") + "\n"
        question = CHECK_PROMPT.format(question=item.story.question, steps=steps)
        prompt = Prompt(user=question)
        sampling = Sampling(
            n=votes,
            temperature=temperature,
            max_tokens=MAX_TOKENS,
            seed=index * SEED_SPACING,
        )
        counts = Counter[int]()
        for completion in await engine.complete(prompt, sampling):
            readings = read_verdicts(completion.text, len(item.lines))
            verdicts = [reading.verdict for reading in readings]
            first_error = first_error_of(verdicts)
            # A reply with an unknown verdict before its first error has no vote.
            if first_error is not None:
                counts[first_error] += 1
        if not counts:
            return None
        # The earliest reply decides between equal counts.
        [(winner, _)] = counts.most_common(1)
        return winner

    decided = list[Solved]()
    for item in solved:
        if item.first_error is not None and item.steps <= TRAINED_STEPS:
            decided.append(item)
    requests = list[Coroutine[Any, Any, int | None]]()
    for index, item in enumerate(decided):
        requests.append(check(index, item))
    predictions = await asyncio.gather(*requests)
    cases = list[Case]()
    for item, predicted in zip(decided, predictions, strict=True):
        # The first error of a decided solution is never None; `or 0` is for the type checker.
        gold = item.first_error or 0
        cases.append(Case(gold=gold, predicted=predicted))
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
            story = draw(random, steps)
            stories.append((steps, story))
    greedy = await solutions(engine, stories, Sampling(temperature=0.0))
    sampled = await solutions(engine, stories, Sampling(n=SAMPLES))
    # One solution of each problem.
    singles = sampled[::SAMPLES]
    rollout_success = await prefixes(engine, sampled, random, 4 * per_steps)
    greedy_checks = await checks(engine, singles, temperature=0.0, votes=1)
    voted_checks = await checks(engine, singles, temperature=1.0, votes=4)
    await engine.close()
    return {
        "problems per number of steps": per_steps,
        "greedy": skill(greedy),
        "temperature 1": skill(sampled),
        **rollout_success,
        "check of its own solutions, greedy": greedy_checks,
        "check of its own solutions, temperature 1, 4 votes": voted_checks,
    }


def _share(flags: Sequence[bool]) -> float:
    """Return the share of true flags, rounded to four digits; 0 for none."""
    count = max(len(flags), 1)
    return round(sum(flags) / count, 4)


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", help="model folder (default: the bundled model)")
    parser.add_argument("--per-steps", type=int, default=100, help="problems per number of steps")
    parser.add_argument("--most-steps", type=int, default=8, help="largest number of steps")
    options = parser.parse_args()
    folder = ""
    if options.model:
        folder = str(Path(options.model))
    measurements = measure(folder, options.per_steps, options.most_steps)
    report = asyncio.run(measurements)
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
