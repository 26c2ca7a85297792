"""The curriculum of the pocket model: lessons of four kinds, drawn at random.

A lesson is a prompt and a reply, in segments with a loss weight each. The prompt has weight 0, and
verdicts have more weight than other text.

    solve    Problem: … Solution:            ->  Step 1: … The answer is 31.
    check    Problem: … Solution: … Check:   ->  every step derived again, then its verdict
    recall   Problem: … [Solution: …] known: ->  what the text states about people, in random order
    sums     a column of sums

In a check lesson, the lines of the solution before the first mistake are trained on as well: they
are correct solution text, so no further examples are needed for them.

Recall needs lessons, because looking up a name is hard for a model of this size. Without them it
learns to predict the sentence that usually follows instead of the one that answers the question.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from problems.arithmetic_domain.step_language import (
    ANSWER,
    COMMUTATIVE,
    OPERATIONS,
    STEP,
    ArithmeticWorld,
    Derived,
    answer_line,
    judge_lines,
    solve,
    step_line,
)
from problems.arithmetic_domain.stories import ArithmeticStory, draw
from stepmark.records import Verdict

__all__ = ["CHECK_PROMPT", "SOLVE_PROMPT", "Lesson", "lessons", "own_solutions"]

Lesson = Sequence[tuple[str, float]]
"""Segments of text with their loss weights."""

ROOT = Path(__file__).resolve().parent.parent
SOLVE_PROMPT = (ROOT / "pipelines" / "prompts" / "pocket.txt").read_text()
CHECK_PROMPT = (ROOT / "annotators" / "prompts" / "pocket.txt").read_text()
NOT_KNOWN = "not known."
# A verdict is one token and a result a few tokens of a line, and both are harder than the rest.
VERDICT_WEIGHT = 6.0
RESULT_WEIGHT = 2.0
# Shares of the lessons; the remaining ones are check lessons.
SUMS_SHARE = 0.04
RECALL_SHARE = 0.12
SOLVE_SHARE = 0.22
# Share of the check lessons that use the model's own solutions, once there are any.
OWN_SHARE = 0.5
# Share of the corrupted solutions that contain no mistake.
CLEAN_SHARE = 0.25
# Half of the solutions with a mistake have many: every line is wrong with probability MANY_RATE.
# Copying the line of the solution instead of deriving it therefore never lowers the loss.
MANY_SHARE = 0.5
MANY_RATE = 0.35
# Kinds that are repeated are drawn more often. As in the first errors that the model itself makes,
# most mistakes are in readings and operands.
SLIPS = (
    "reading",
    "reading",
    "reading",
    "operand",
    "operand",
    "arithmetic",
    "conclusion",
)
# Probability that a corrupted solution derives a quantity that the answer does not need. This is
# not a mistake.
UNNEEDED_SHARE = 0.15
# Probability that a step of a corrupted solution is drawn from all steps that are possible.
REORDER_SHARE = 0.1
# Probability that the injected mistake is to leave out a step.
OMISSION_SHARE = 0.1
SUM_LINES = 14
RECALL_LINES = 14
RESULT = re.compile(r"( = \d+)")
PERSON = re.compile(r"\w+ has")


def lessons(
    random: Random,
    max_steps: int,
    own_pairs: Sequence[tuple[ArithmeticStory, Sequence[str]]],
    recall_share: float = RECALL_SHARE,
) -> Iterator[Lesson]:
    """Yield lessons without end.

    Args:
        random: The source of randomness.
        max_steps: The largest number of steps of a problem; the smallest is 2.
        own_pairs: Problems and solutions by the model, to be checked; may be empty.
        recall_share: The share of recall lessons.
    """
    while True:
        kind = random.random()
        if kind < SUMS_SHARE:
            yield sums(random)
            continue
        story = draw(random, random.randint(2, max_steps))
        if kind < SUMS_SHARE + recall_share:
            yield recall(random, story)
        elif kind < SUMS_SHARE + recall_share + SOLVE_SHARE:
            yield solution(story)
        elif own_pairs and random.random() < OWN_SHARE:
            yield check(*random.choice(own_pairs))
        else:
            yield check(story, corrupted(random, story.world))


def solution(story: ArithmeticStory) -> Lesson:
    """Build a lesson that solves a problem."""
    prompt = SOLVE_PROMPT.format(question=story.question)
    text = "".join(solve(story.world))
    return [(prompt, 0.0), *_with_result_weights(text, 1.0)]


def _with_result_weights(text: str, weight: float) -> Lesson:
    """Split a text at results such as ` = 12` and give these the weight `RESULT_WEIGHT`."""
    segments = list[tuple[str, float]]()
    for part in RESULT.split(text):
        if RESULT.fullmatch(part):
            segments.append((part, RESULT_WEIGHT))
        elif part:
            segments.append((part, weight))
    return segments


def check(story: ArithmeticStory, lines: Sequence[str]) -> Lesson:
    """Build a lesson that checks a solution."""
    # The solution is filled in below, in two parts with different weights. The placeholder "\0"
    # occurs in no problem.
    prompt = CHECK_PROMPT.format(question=story.question, steps="\0")
    before, after = prompt.split("\0")
    sound_count = _common_prefix(lines, solve(story.world))
    sound = "".join(lines[:sound_count]).rstrip("\n")
    # Only the answer line ends without a line break, and the prompt has one after every solution.
    written = "".join(lines).rstrip("\n")
    rest = written.removeprefix(sound) + "\n"
    lesson = [
        (before, 0.0),
        *_with_result_weights(sound, 1.0),
        (rest + after, 0.0),
    ]
    for line in checked_reply(story.world, lines):
        lesson += line
    return lesson


def _common_prefix(written: Sequence[str], correct: Sequence[str]) -> int:
    """Return how many lines from the start are equal."""
    count = 0
    for written_line, correct_line in zip(written, correct, strict=False):
        if written_line.rstrip("\n") != correct_line.rstrip("\n"):
            break
        count += 1
    return count


def checked_reply(world: ArithmeticWorld, lines: Sequence[str]) -> Iterator[Lesson]:
    """Yield for each line of a solution the correct line, followed by the verdict."""
    derived = set(world.given)
    for number, line in enumerate(lines, start=1):
        correct = _correct_line(world, derived, line, number)
        verdict = Verdict.INCORRECT
        if _is_same(line, correct, number):
            verdict = Verdict.CORRECT
        yield [
            *_with_result_weights(correct, 1.0),
            (f" {verdict}\n", VERDICT_WEIGHT),
        ]


def _correct_line(world: ArithmeticWorld, derived: set[str], line: str, number: int) -> str:
    """Return what a line should be, without a line break; add the derived quantity to `derived`.

    A quantity counts as derived even where the written line is wrong, because the reply has derived
    it. Later lines are therefore checked against true values.
    """
    if ANSWER.fullmatch(line) and world.target in derived:
        return f"Step {number}: {answer_line(world)}"
    step = STEP.fullmatch(line)
    if step is None or step["holder"] not in world.derived:
        return f"Step {number}: {NOT_KNOWN}"
    definition = world.derived[step["holder"]]
    if not derived.issuperset(definition.needs()):
        return f"Step {number}: {definition.reading}: {NOT_KNOWN}"
    derived.add(definition.holder)
    return step_line(world, definition, number).rstrip("\n")


def _is_same(written: str, correct: str, number: int) -> bool:
    """Return whether a line is the correct one, up to the order of commutative operands."""
    written = written.rstrip("\n")
    # The answer line of a solution has no number; that of a reply has one.
    numbered = f"Step {number}: {written}"
    if correct in (written, numbered):
        return True
    written_step = STEP.fullmatch(written)
    correct_step = STEP.fullmatch(correct)
    if written_step is None or correct_step is None:
        return False
    if correct_step["operator"] not in COMMUTATIVE:
        return False
    swapped = correct_step.groupdict()
    swapped["left"] = correct_step["right"]
    swapped["right"] = correct_step["left"]
    return written_step.groupdict() == swapped


def recall(random: Random, story: ArithmeticStory) -> Lesson:
    """Build a lesson that states facts about people named in random order.

    Half of the lessons ask for what the problem states. The other half show a solution first and
    ask for how many things each person has.
    """
    world = story.world
    solved = random.random() < 0.5
    prompt = SOLVE_PROMPT.format(question=story.question)
    lesson: list[tuple[str, float]] = [(prompt, 0.0)]
    holders = [*world.given, *world.derived]
    if solved:
        lesson += _with_result_weights("".join(solve(world)), 1.0)
        # A gold solution derives needed quantities only. The order of this set depends on Python's
        # hash seed, so lessons repeat exactly only where PYTHONHASHSEED is set.
        holders = [*world.given, *world.needed()]
    lesson.append(("\n known:\n", 0.0))
    people = _people(holders)
    for holder in random.choices(people, k=RECALL_LINES):
        name = holder.split()[0]
        if solved or holder in world.given:
            fact = f": {world.value(holder)}"
        else:
            fact = world.derived[holder].reading.removeprefix(name)
        lesson.append((f"Step: {name}", 0.0))
        lesson.append((f"{fact}\n", 1.0))
    return lesson


def _people(holders: Iterable[str]) -> list[str]:
    """Return the holders that are the count of one person, such as "Ana has"."""
    people = list[str]()
    for holder in holders:
        if PERSON.fullmatch(holder):
            people.append(holder)
    return people


def sums(random: Random) -> Lesson:
    """Build a column of sums like those of solutions; only their results have weight."""
    column = list[str]()
    for _ in range(SUM_LINES):
        column.append(_sum(random))
    return _with_result_weights("".join(column), 0.0)


def _sum(random: Random) -> str:
    """Return one sum whose operands and result are positive and below 1,000."""
    operator = random.choice("+-*/")
    # Differences and quotients are sums and products read backwards, so all of them are whole.
    if operator in "+-":
        right = random.randint(2, random.choice((30, 150, 500)))
        left = random.randint(2, max(3, 999 - right))
        combined = left + right
    else:
        right = random.randint(2, 9)
        left = random.randint(2, 999 // right)
        combined = left * right
    if operator in "+*":
        return f"{left} {operator} {right} = {combined}\n"
    return f"{combined} {operator} {right} = {left}\n"


def corrupted(random: Random, world: ArithmeticWorld) -> Sequence[str]:
    """Return a solution with no, one or many injected mistakes; later lines follow from them."""
    needed = world.needed()
    waiting = list[Derived]()
    for holder, definition in world.derived.items():
        if holder in needed or random.random() < UNNEEDED_SHARE:
            waiting.append(definition)
    mistake_index = None
    rate = 0.0
    if random.random() > CLEAN_SHARE:
        # The index behind the last step is that of the answer line.
        mistake_index = random.randrange(len(waiting) + 1)
        if random.random() < MANY_SHARE:
            rate = MANY_RATE
    values = dict(world.given)
    lines = list[str]()
    while waiting:
        definition = _next_step(random, waiting, values)
        waiting.remove(definition)
        at_mistake = mistake_index == len(lines)
        # `waiting` is empty at the last step, which is never left out.
        if at_mistake and random.random() < OMISSION_SHARE and waiting:
            mistake_index = None  # the mistake is to leave a step out
            continue
        mistaken = at_mistake or random.random() < rate
        line = _step_line(
            random,
            world,
            values,
            definition,
            number=len(lines) + 1,
            mistaken=mistaken,
        )
        lines.append(line)
    # The target has no value in `values` if its step was left out.
    answer = values.get(world.target, world.value(world.target))
    if mistake_index == len(lines):
        answer = _other_number(random, world, answer)
    return [*lines, f"The answer is {answer}."]


def _next_step(random: Random, waiting: Sequence[Derived], values: Mapping[str, int]) -> Derived:
    """Return the step to write next: the first possible one, or sometimes any possible one."""
    possible = list[Derived]()
    for definition in waiting:
        if values.keys() >= set(definition.needs()):
            possible.append(definition)
    if not possible:
        # Every remaining step depends on one that the solution leaves out.
        possible.extend(waiting)
    if random.random() < REORDER_SHARE:
        return random.choice(possible)
    return possible[0]


def _step_line(
    random: Random,
    world: ArithmeticWorld,
    values: dict[str, int],
    definition: Derived,
    number: int,
    *,
    mistaken: bool,
) -> str:
    """Return one step line and store its value in `values`."""
    slip = ""
    if mistaken:
        slip = random.choice(SLIPS)
    if slip == "reading":
        definition = _misread(random, world, definition)
    left = _operand(world, values, definition.left)
    right = _operand(world, values, definition.right)
    if slip == "operand":
        if random.random() < 0.75:
            left = _other_number(random, world, left)
        else:
            right = _other_number(random, world, right)
    # Wrong operands can make a result negative or fractional, which the step language cannot state.
    exact = OPERATIONS[definition.operator](left, right)
    result = max(0, int(exact))
    if slip == "arithmetic":
        result = _slipped(random, result)
    value = result
    if slip == "conclusion":
        value = _slipped(random, result)
    # Later lines use the wrong value, as the model's own solutions do.
    values[definition.holder] = value
    operation = f"{left} {definition.operator} {right} = {result}"
    conclusion = f"{definition.holder} {value} {definition.unit}"
    return f"Step {number}: {definition.reading}: {operation}, so {conclusion}.\n"


def _operand(
    world: ArithmeticWorld,
    values: Mapping[str, int],
    operand: str | int,
) -> int:
    if isinstance(operand, int):
        return operand
    # A quantity that the solution does not derive has its true value.
    return values.get(operand, world.value(operand))


def _misread(random: Random, world: ArithmeticWorld, definition: Derived) -> Derived:
    """Return the definition with another person or relation, and the operands that go with it."""
    candidates = list[str]()
    for person in _people([*world.given, *world.derived]):
        if person not in (definition.holder, definition.left):
            candidates.append(person)
    if isinstance(definition.left, str) and candidates and random.random() < 0.6:
        person = random.choice(candidates)
        old_name = definition.left.split()[0]
        new_name = person.split()[0]
        reading = definition.reading.replace(old_name, new_name)
        return replace(definition, reading=reading, left=person)
    swaps = {
        " more than ": (" fewer than ", "-"),
        " fewer than ": (" more than ", "+"),
        " times as many as ": (" more than ", "+"),
    }
    for relation, (swapped, operator) in swaps.items():
        if relation in definition.reading:
            reading = definition.reading.replace(relation, swapped)
            return replace(definition, reading=reading, operator=operator)
    if isinstance(definition.right, int):
        number = _other_number(random, world, definition.right)
        reading = re.sub(r"\d+", str(number), definition.reading)
        # At least 1, because the number may be a divisor.
        right = max(1, number)
        return replace(definition, reading=reading, right=right)
    return replace(definition, operator=random.choice("+-*"))


def _other_number(random: Random, world: ArithmeticWorld, number: int) -> int:
    """Return another number of the problem, or rarely a number with a slip."""
    numbers = [*world.given.values()]
    for holder in world.derived:
        numbers.append(world.value(holder))
    for definition in world.derived.values():
        if isinstance(definition.right, int):
            numbers.append(definition.right)
    candidates = list[int]()
    for candidate in numbers:
        if candidate != number:
            candidates.append(candidate)
    if candidates and random.random() < 0.9:
        return random.choice(candidates)
    return _slipped(random, number)


def _slipped(random: Random, number: int) -> int:
    """Return the number with one digit changed, or with a carry lost or added."""
    if random.random() < 0.5:
        carry = random.choice((-100, -10, -1, 1, 10, 100))
        return max(0, number + carry)
    digits = list(str(number))
    position = random.randrange(len(digits))
    # Without 0, which could become a leading digit and shorten the number.
    other_digits = "123456789".replace(digits[position], "")
    digits[position] = random.choice(other_digits)
    return int("".join(digits))


def own_solutions(path: Path) -> Sequence[tuple[ArithmeticStory, Sequence[str]]]:
    """Read the model's own solutions as written by `pocket.sample`; empty without that file.

    All solutions with a mistake are returned, and half as many without one, so that checks of
    correct solutions do not dominate.
    """
    if not path.exists():
        return []
    sound = list[tuple[ArithmeticStory, Sequence[str]]]()
    unsound = list[tuple[ArithmeticStory, Sequence[str]]]()
    for line in path.read_text().splitlines():
        row = json.loads(line)
        world = _world_from_json(row["world"])
        story = ArithmeticStory(world=world, question=row["question"])
        lines = row["lines"]
        verdicts = {verdict for verdict, _ in judge_lines(world, lines)}
        # Lines outside the step language count as mistakes too.
        if verdicts <= {Verdict.CORRECT}:
            sound.append((story, lines))
        else:
            unsound.append((story, lines))
    # At least one, so that a file without any mistake still gives a lesson.
    sound_count = max(len(unsound) // 2, 1)
    return [*unsound, *sound[:sound_count]]


def _world_from_json(row: Mapping[str, Any]) -> ArithmeticWorld:
    derived = dict[str, Derived]()
    for holder, definition in row["derived"].items():
        derived[holder] = Derived(**definition)
    return ArithmeticWorld(given=row["given"], derived=derived, target=row["target"])
