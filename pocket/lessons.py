"""What the pocket model reads while it learns: solutions, checked solutions with mistakes in them, and sums.

A lesson is a prompt and a reply, in segments with a weight each: the prompt weighs nothing, verdicts weigh more than the rest.

    solve    Problem: … Solution:           ->  Step 1: … The answer is 31.
    check    Problem: … Solution: … Check:  ->  every step derived again from the problem, then `correct` or `incorrect`
    recall   Problem: … [Solution: …] known:  ->  what the text says of one person after another, in no order
    sums     a column of sums

Where a prompt shows a solution, its lines up to the first that the model should not write are learnt too: they cost nothing.
Recall is the hard part of so small a model: without lessons of its own it learns to expect the next sentence instead of the right one.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from problems.arithmetic_domain.step_language import (
    ANSWER,
    COMMUTATIVE,
    OPERATIONS,
    STEP,
    Derived,
    World,
    answer_line,
    judge_lines,
    solve,
    step_line,
)
from problems.arithmetic_domain.stories import Story, draw
from stepmark.records import Verdict

__all__ = ["CHECK_PROMPT", "SOLVE_PROMPT", "Lesson", "lessons", "own_solutions"]

Lesson = Sequence[tuple[str, float]]

ROOT = Path(__file__).resolve().parent.parent
SOLVE_PROMPT = (ROOT / "pipelines" / "prompts" / "pocket.txt").read_text()
CHECK_PROMPT = (ROOT / "annotators" / "prompts" / "pocket.txt").read_text()
NOT_KNOWN = "not known."
VERDICT_WEIGHT, RESULT_WEIGHT = 6.0, 2.0
SUMS_SHARE, RECALL_SHARE, SOLVE_SHARE = 0.04, 0.12, 0.22  # of the lessons; the rest are checks
OWN_SHARE = 0.5  # of the checks, once there are solutions of the model's own
CLEAN_SHARE = 0.25  # of the planted solutions have no mistake
MANY_SHARE, MANY = (
    0.5,
    0.35,
)  # of the others have many: each line with this probability, so that to repeat what is shown never pays
SLIPS = ("reading", "reading", "reading", "operand", "operand", "arithmetic", "conclusion")
SUMS, RECALLS = 14, 14  # lines of a lesson
RESULT = re.compile(r"( = \d+)")
PERSON = re.compile(r"\w+ has")


def lessons(
    random: Random,
    most_steps: int,
    own: Sequence[tuple[Story, Sequence[str]]],
    recall_share: float = RECALL_SHARE,
) -> Iterator[Lesson]:
    """An endless mixture; `own` are the model's own solutions to check, where there are some."""
    while True:
        kind = random.random()
        if kind < SUMS_SHARE:
            yield sums(random)
            continue
        story = draw(random, random.randint(2, most_steps))
        if kind < SUMS_SHARE + recall_share:
            yield recall(random, story)
        elif kind < SUMS_SHARE + recall_share + SOLVE_SHARE:
            yield solution(story)
        elif own and random.random() < OWN_SHARE:
            yield check(*random.choice(own))
        else:
            yield check(story, corrupted(random, story.world))


def solution(story: Story) -> Lesson:
    """Solve a problem."""
    return [
        (SOLVE_PROMPT.format(question=story.question), 0.0),
        *_weighed("".join(solve(story.world)), 1.0),
    ]


def _weighed(text: str, weight: float) -> Lesson:
    """Results weigh more: each is a few tokens of a line, and hard."""
    return [
        (part, RESULT_WEIGHT if RESULT.fullmatch(part) else weight)
        for part in RESULT.split(text)
        if part
    ]


def check(story: Story, lines: Sequence[str]) -> Lesson:
    """Check a solution."""
    before, after = CHECK_PROMPT.format(question=story.question, steps="\0").split("\0")
    sound = "".join(lines[: _agreeing(lines, solve(story.world))])
    rest = "".join(lines).rstrip("\n").removeprefix(sound.rstrip("\n")) + "\n"
    reply = [part for line in checked_reply(story.world, lines) for part in line]
    return [(before, 0.0), *_weighed(sound.rstrip("\n"), 1.0), (rest + after, 0.0), *reply]


def _agreeing(shown: Sequence[str], right: Sequence[str]) -> int:
    """How many lines from the start are the same."""
    pairs = zip(
        (line.rstrip("\n") for line in shown), (line.rstrip("\n") for line in right), strict=False
    )
    return next(
        (index for index, (one, other) in enumerate(pairs) if one != other),
        min(len(shown), len(right)),
    )


def checked_reply(world: World, lines: Sequence[str]) -> Iterator[Lesson]:
    """For each line shown, the line as it should be, and the verdict."""
    derived = set(world.given)
    for number, line in enumerate(lines, start=1):
        step = STEP.fullmatch(line)
        definition = world.derived.get(step["holder"]) if step else None
        right = f"Step {number}: {NOT_KNOWN}"
        if definition is not None and derived.issuperset(definition.needs()):
            right = step_line(world, definition, number).rstrip("\n")
            derived.add(definition.holder)
        elif definition is not None:
            right = f"Step {number}: {definition.reading}: {NOT_KNOWN}"
        elif ANSWER.fullmatch(line) and world.target in derived:
            right = f"Step {number}: {answer_line(world)}"
        verdict = Verdict.CORRECT if _same(line, right, number) else Verdict.INCORRECT
        yield [*_weighed(right, 1.0), (f" {verdict}\n", VERDICT_WEIGHT)]


def _same(shown: str, right: str, number: int) -> bool:
    shown = shown.rstrip("\n")
    if shown == right or f"Step {number}: {shown}" == right:
        return True
    step, truth = STEP.fullmatch(shown), STEP.fullmatch(right)
    if step is None or truth is None or truth["operator"] not in COMMUTATIVE:
        return False
    swapped = {**truth.groupdict(), "left": truth["right"], "right": truth["left"]}
    return step.groupdict() == swapped


def recall(random: Random, story: Story) -> Lesson:
    """Say what a problem states of people named in random order; or, behind a solution, how many each has."""
    world, solved = story.world, random.random() < 0.5
    solution_lines = _weighed("".join(solve(world)), 1.0) if solved else []
    derived = world.needed() if solved else world.derived
    people = [holder for holder in (*world.given, *derived) if PERSON.fullmatch(holder)]
    lesson = [
        (SOLVE_PROMPT.format(question=story.question), 0.0),
        *solution_lines,
        ("\n known:\n", 0.0),
    ]
    for holder in random.choices(people, k=RECALLS):
        name = holder.split()[0]
        told = (
            f": {world.value(holder)}"
            if solved or holder in world.given
            else world.derived[holder].reading.removeprefix(name)
        )
        lesson += [(f"Step: {name}", 0.0), (f"{told}\n", 1.0)]
    return lesson


def sums(random: Random) -> Lesson:
    """A column of sums of the kinds and sizes that solutions hold; only their results are learnt."""
    return _weighed("".join(_sum(random) for _ in range(SUMS)), 0.0)


def _sum(random: Random) -> str:
    operator = random.choice("+-*/")
    if operator in "+-":
        right = random.randint(2, random.choice((30, 150, 500)))
        result = random.randint(2, max(3, 999 - right))
        left, right, result = (
            (result, right, result + right) if operator == "+" else (result + right, right, result)
        )
    else:
        right = random.randint(2, 9)
        result = random.randint(2, 999 // right)
        left, right, result = (
            (result, right, result * right) if operator == "*" else (result * right, right, result)
        )
    return f"{left} {operator} {right} = {result}\n"


def corrupted(random: Random, world: World) -> Sequence[str]:
    """A solution with no, one or many planted mistakes, and all that follows from them."""
    waiting = [
        world.derived[holder]
        for holder in world.derived
        if holder in world.needed() or random.random() < 0.15
    ]
    place = random.randrange(len(waiting) + 1) if random.random() > CLEAN_SHARE else None
    rate = MANY if place is not None and random.random() < MANY_SHARE else 0.0
    shown, lines = dict(world.given), list[str]()
    while waiting:
        ready = [d for d in waiting if shown.keys() >= set(d.needs())] or waiting
        definition = random.choice(ready) if random.random() < 0.1 else ready[0]
        waiting.remove(definition)
        if place == len(lines) and random.random() < 0.1 and waiting:
            place = None  # the mistake is to leave a step out
            continue
        mistaken = place == len(lines) or random.random() < rate
        lines.append(
            _shown_line(random, world, shown, definition, len(lines) + 1, mistaken=mistaken)
        )
    answer = shown.get(world.target, world.value(world.target))
    if place == len(lines):
        answer = _other_number(random, world, answer)
    return [*lines, f"The answer is {answer}."]


def _shown_line(
    random: Random,
    world: World,
    shown: dict[str, int],
    definition: Derived,
    number: int,
    *,
    mistaken: bool,
) -> str:
    slip = random.choice(SLIPS) if mistaken else ""
    if slip == "reading":
        definition = _misread(random, world, definition)
    left, right = (
        shown.get(operand, world.value(operand)) if isinstance(operand, str) else operand
        for operand in (definition.left, definition.right)
    )
    if slip == "operand":
        if random.random() < 0.75:
            left = _other_number(random, world, left)
        else:
            right = _other_number(random, world, right)
    exact = OPERATIONS[definition.operator](left, right)
    result = max(0, int(exact))
    if slip == "arithmetic":
        result = _slipped(random, result)
    value = _slipped(random, result) if slip == "conclusion" else result
    shown[definition.holder] = value
    return (
        f"Step {number}: {definition.reading}: {left} {definition.operator} {right} = {result},"
        f" so {definition.holder} {value} {definition.unit}.\n"
    )


def _misread(random: Random, world: World, definition: Derived) -> Derived:
    """Another person or another relation in the reading, with the operands that go with it."""
    people = [h for h in (*world.given, *world.derived) if PERSON.fullmatch(h)]
    others = [h for h in people if h not in (definition.holder, definition.left)]
    if isinstance(definition.left, str) and others and random.random() < 0.6:
        other = random.choice(others)
        reading = definition.reading.replace(definition.left.split()[0], other.split()[0])
        return replace(definition, reading=reading, left=other)
    swaps = {
        " more than ": (" fewer than ", "-"),
        " fewer than ": (" more than ", "+"),
        " times as many as ": (" more than ", "+"),
    }
    for told, (instead, operator) in swaps.items():
        if told in definition.reading:
            return replace(
                definition, reading=definition.reading.replace(told, instead), operator=operator
            )
    if isinstance(definition.right, int):
        number = _other_number(random, world, definition.right)
        return replace(
            definition,
            reading=re.sub(r"\d+", str(number), definition.reading),
            right=max(1, number),
        )
    return replace(definition, operator=random.choice("+-*"))


def _other_number(random: Random, world: World, number: int) -> int:
    pool = [*world.given.values(), *(world.value(holder) for holder in world.derived)]
    pool += [d.right for d in world.derived.values() if isinstance(d.right, int)]
    others = [other for other in pool if other != number]
    return random.choice(others) if others and random.random() < 0.9 else _slipped(random, number)


def _slipped(random: Random, number: int) -> int:
    """A number with a digit wrong or a carry lost."""
    digits = list(str(number))
    if random.random() < 0.5:
        return max(0, number + random.choice((-100, -10, -1, 1, 10, 100)))
    place = random.randrange(len(digits))
    digits[place] = random.choice([d for d in "123456789" if d != digits[place]])
    return int("".join(digits))


def own_solutions(path: Path) -> Sequence[tuple[Story, Sequence[str]]]:
    """The model's own solutions as written by `pocket.sample`, those with and without mistakes in equal numbers."""
    if not path.exists():
        return []
    sound, unsound = list[tuple[Story, Sequence[str]]](), list[tuple[Story, Sequence[str]]]()
    for row in map(json.loads, path.read_text().splitlines()):
        world = _world_from(row["world"])
        pair = (Story(world=world, question=row["question"]), row["lines"])
        truths = [verdict for verdict, _ in judge_lines(world, row["lines"])]
        (sound if all(truth is Verdict.CORRECT for truth in truths) else unsound).append(pair)
    return [*unsound, *sound[: max(len(unsound) // 2, 1)]]


def _world_from(raw: Mapping[str, Any]) -> World:
    """A world from its JSON form."""
    derived = {holder: Derived(**definition) for holder, definition in raw["derived"].items()}
    return World(given=raw["given"], derived=derived, target=raw["target"])
