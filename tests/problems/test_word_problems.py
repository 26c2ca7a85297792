"""Test gold solutions, every kind of mistake and the oracle of the word problems."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.base import Oracle
from problems.sources.word_problems import WordProblems
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.identity import fingerprint
from stepmark.records import Problem, Verdict, first_error_of
from stepmark.steps import split
from tests.problems.helpers import gold_lines, problems_of, values_of, verdicts_in

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN
MANY = 2_000
SOURCE = WordProblems(count=MANY, min_steps=2, max_steps=8, seed=3)
OPERATION = re.compile(r": (\d+) ([-+*/]) (\d+) = (\d+),")


@pytest.fixture(scope="module")
def problems() -> Sequence[Problem]:
    return problems_of(SOURCE)


def judge(problem: Problem, lines: Sequence[str]) -> Sequence[tuple[Verdict, str]]:
    return SOURCE.judge(problem, lines)


def first_mistake(problem: Problem, lines: Sequence[str]) -> tuple[int | None, str]:
    judgements = judge(problem, lines)
    position = first_error_of(verdicts_in(judgements))
    if position is None or position < 0:
        return position, ""
    return position, judgements[position][1]


def test_gold_solutions_are_correct(problems: Sequence[Problem]) -> None:
    assert len(problems) == MANY
    for problem in problems:
        assert set(judge(problem, gold_lines(problem))) == {(C, "")}, problem.question
        assert gold_lines(problem)[-1] == f"The answer is {problem.answer}."


def test_problem_needs_stated_number_of_steps(problems: Sequence[Problem]) -> None:
    counts = Counter(int(problem.metadata["steps"]) for problem in problems)
    assert set(counts) == set(range(2, 9))
    # There are seven lengths; the tolerance is half of an equal share.
    assert min(counts.values()) > MANY / 7 / 2
    for problem in problems:
        # The last line is the answer.
        assert len(gold_lines(problem)) == int(problem.metadata["steps"]) + 1


def test_every_step_is_needed(problems: Sequence[Problem]) -> None:
    for problem in problems[:100]:
        lines = gold_lines(problem)
        for left_out in range(len(lines) - 1):
            shortened = lines[:left_out] + lines[left_out + 1 :]
            assert first_mistake(problem, shortened)[1] in ("order", "unsupported answer")


def test_lines_are_steps(problems: Sequence[Problem]) -> None:
    for problem in problems[:200]:
        assert split(problem.metadata["gold"], "line") == tuple(gold_lines(problem))


def test_problems_are_distinct_with_provenance(
    problems: Sequence[Problem],
) -> None:
    assert len(values_of(problems, "problem_id")) == MANY
    assert len(values_of(problems, "question")) == MANY
    assert values_of(problems, "domain") == {"word_problems"}
    assert values_of(problems, "source") == {"word_problems"}
    assert values_of(problems, "license") == {"Apache-2.0"}
    for problem in problems:
        assert problem.question.endswith("?")
        assert "\n" not in problem.question
        assert "{" not in problem.question


def test_gold_numbers_are_positive_integers(
    problems: Sequence[Problem],
) -> None:
    for problem in problems:
        for left, operator, right, result in OPERATION.findall(problem.metadata["gold"]):
            assert int(result) > 0
            expected = {
                "+": int(left) + int(right),
                "-": int(left) - int(right),
                "*": int(left) * int(right),
                "/": int(left) / int(right),
            }
            assert expected[operator] == int(result)


def test_all_operations_occur(problems: Sequence[Problem]) -> None:
    counts = Counter[str]()
    for problem in problems:
        for _, operator, _, _ in OPERATION.findall(problem.metadata["gold"]):
            counts[operator] += 1
    assert set(counts) == set("+-*/")
    # Each has at least 200 of 4,000 or more operations.
    assert min(counts.values()) > MANY / 10


def test_same_seed_gives_same_problems() -> None:
    few = WordProblems(count=20, seed=5)
    more = WordProblems(count=40, seed=5)
    assert problems_of(few) == problems_of(few) == problems_of(more)[:20]
    other_seed = problems_of(WordProblems(count=20, seed=6))
    few_ids = values_of(problems_of(few), "problem_id")
    assert not few_ids & values_of(other_seed, "problem_id")
    assert fingerprint(few) != fingerprint(more)


def test_problems_are_generated_lazily() -> None:
    # A list of a billion problems would not fit into memory.
    assert len(list(islice(WordProblems(count=10**9).problems(), 3))) == 3


def test_source_is_an_oracle() -> None:
    assert isinstance(SOURCE, Oracle)


# Each function returns the corrupted line for a solution and the index of a step, or None where the
# mistake is impossible.
Corrupt = Callable[[Problem, list[str], int], str | None]


def _corrupt_operand(_problem: Problem, lines: list[str], position: int) -> str | None:
    return OPERATION.sub(lambda m: f": {int(m[1]) + 1} {m[2]} {m[3]} = {m[4]},", lines[position])


def _corrupt_reading(_problem: Problem, lines: list[str], position: int) -> str | None:
    line = lines[position]
    if ": " in line and "more than" in line:
        return line.replace("more than", "fewer than", 1)
    return line.replace(": ", ": as stated, ", 1)


def _corrupt_operator(_problem: Problem, lines: list[str], position: int) -> str | None:
    other_operator = {"+": "-", "-": "+", "*": "+", "/": "+"}
    return OPERATION.sub(
        lambda m: f": {m[1]} {other_operator[m[2]]} {m[3]} = {m[4]},", lines[position]
    )


def _corrupt_arithmetic(_problem: Problem, lines: list[str], position: int) -> str | None:
    result = OPERATION.findall(lines[position])[0][3]
    wrong = str(int(result) + 1)
    return re.sub(rf"\b{result}(?=,| [a-z]+\.\n)", wrong, lines[position])


def _corrupt_conclusion(_problem: Problem, lines: list[str], position: int) -> str | None:
    return re.sub(r"(\d+)( [a-z]+\.\n)$", lambda m: f"{int(m[1]) + 1}{m[2]}", lines[position])


def _corrupt_unit(_problem: Problem, lines: list[str], position: int) -> str | None:
    return re.sub(r"[a-z]+\.\n$", "clouds.\n", lines[position])


def _corrupt_holder(_problem: Problem, lines: list[str], position: int) -> str | None:
    return re.sub(r", so .* (\d+ )", r", so Nobody has \1", lines[position])


def _corrupt_order(problem: Problem, lines: list[str], position: int) -> str | None:
    """Return the first later step that is too early at this position."""
    for line in lines[position + 1 : -1]:
        _, reason = judge(problem, [*lines[:position], line])[-1]
        if reason == "order":
            return line
    return None


KINDS: dict[str, tuple[Corrupt, str]] = {
    "operand": (_corrupt_operand, "operand"),
    "reading": (_corrupt_reading, "reading"),
    "operator": (_corrupt_operator, "reading"),
    "arithmetic": (_corrupt_arithmetic, "arithmetic"),
    "conclusion": (_corrupt_conclusion, "arithmetic"),
    "unit": (_corrupt_unit, "quantity"),
    "holder": (_corrupt_holder, "quantity"),
    "order": (_corrupt_order, "order"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_mistake_has_its_position_and_kind(kind: str, problems: Sequence[Problem]) -> None:
    corrupt, expected_kind = KINDS[kind]
    corrupted = 0
    for problem in problems[:100]:
        for position in range(len(gold_lines(problem)) - 1):
            lines = gold_lines(problem)
            changed = corrupt(problem, lines, position)
            if changed is None:
                continue
            assert changed != lines[position]
            corrupted += 1
            lines[position] = changed
            assert first_mistake(problem, lines) == (position, expected_kind), changed
            assert judge(problem, lines)[-1][0] is I
    # Not every kind of mistake is possible in every step.
    assert corrupted > 80


def test_wrong_answer_is_last_line_error(problems: Sequence[Problem]) -> None:
    for problem in problems[:100]:
        lines = [*gold_lines(problem)[:-1], f"The answer is {int(problem.answer or 0) + 1}."]
        assert first_mistake(problem, lines) == (len(lines) - 1, "answer")


def test_steps_after_mistake_are_incorrect(problems: Sequence[Problem]) -> None:
    for problem in problems[:100]:
        lines = gold_lines(problem)
        lines[-2] = _corrupt_arithmetic(problem, lines, len(lines) - 2) or ""
        assert verdicts_in(judge(problem, lines)) == [C] * (len(lines) - 2) + [I, I]


def test_correction_after_mistake_restores_correctness(
    problems: Sequence[Problem],
) -> None:
    for problem in problems[:100]:
        lines = gold_lines(problem)
        corrupted = _corrupt_arithmetic(problem, lines, 0) or ""
        assert verdicts_in(judge(problem, [corrupted, *lines])) == [I] + [C] * len(lines)


def test_only_commutative_operands_may_swap(problems: Sequence[Problem]) -> None:
    seen = set()
    for problem in problems[:100]:
        for position, line in enumerate(gold_lines(problem)[:-1]):
            turned = OPERATION.sub(lambda m: f": {m[3]} {m[2]} {m[1]} = {m[4]},", line)
            _, operator, _, _ = OPERATION.findall(line)[0]
            if turned != line:
                verdict, kind = judge(problem, [*gold_lines(problem)[:position], turned])[-1]
                seen.add((operator, verdict, kind))
    assert seen == {("+", C, ""), ("*", C, ""), ("-", I, "operand"), ("/", I, "operand")}


def test_step_numbers_and_repetitions_are_irrelevant(
    problems: Sequence[Problem],
) -> None:
    for problem in problems[:100]:
        lines: list[str] = []
        for line in gold_lines(problem):
            renumbered = re.sub(r"^Step \d+", "Step 7", line)
            lines.extend([renumbered, renumbered])
        assert set(verdicts_in(judge(problem, lines))) == {C}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "Let us see.\n",
        "Step 1: 2 + 2 = 4\n",
        # A word, no period, a decimal point, a sign and too many digits.
        "The answer is five.",
        "The answer is 5",
        "The answer is 5.0.",
        "The answer is -5.",
        "The answer is 1234567890.",
        "Step 1: a: 1 + 1 = 2, so b 2 c.\n\n",
        # Not one of the four operations.
        "Step 1: a: 1 ** 1 = 2, so b 2 c.\n",
        # Long lines, which must not take long.
        "Step " + "1" * 10_000 + ": a: 1 + 1 = 2, so b 2 c.\n",
        "Step 1: " + "a" * 100_000,
        "Step 1: " + "a: 1 + 1 = 2, so " * 10_000,
        "Step 1: a: 1 + 1 = 2, so " + "b " * 50_000,
    ],
    ids=lambda line: repr(line[:30]),
)
def test_text_outside_language_is_unknown(line: str, problems: Sequence[Problem]) -> None:
    assert judge(problems[0], [line]) == [(U, "not in the step language")]
    judgements = judge(problems[0], [line, *gold_lines(problems[0])])
    assert verdicts_in(judgements) == [U] + [C] * len(gold_lines(problems[0]))


def _near_misses() -> Iterator[st.SearchStrategy[str]]:
    """Yield strategies for texts that resemble steps, and for any text."""
    words = st.text(alphabet=st.characters(codec="utf-8"), max_size=12)
    numbers = st.integers(0, 10**9).map(str)
    names = st.sampled_from(["Ana has", "they have", "Ana now has", ""])
    yield st.text(max_size=60)
    yield numbers.map(lambda number: f"The answer is {number}.")
    yield st.builds(
        "Step {}: {}: {} {} {} = {}, so {} {} {}.\n".format,
        *(
            numbers,
            words,
            numbers,
            st.sampled_from("+-*/"),
            numbers,
            numbers,
            words | names,
            numbers,
            words,
        ),
    )


LINES = st.lists(st.one_of(*_near_misses()), max_size=6)


@given(lines=LINES, index=st.integers(0, 39), correct_lines=st.integers(0, 9))
def test_oracle_handles_arbitrary_text(lines: list[str], index: int, correct_lines: int) -> None:
    problem = FEW[index]
    right = gold_lines(problem)[:correct_lines]
    judgements = judge(problem, [*right, *lines])
    assert len(judgements) == len(right) + len(lines)
    for verdict, reason in judgements:
        assert (verdict is C) == (reason == "")
    assert set(verdicts_in(judgements[: len(right)])) <= {C}


FEW = problems_of(WordProblems(count=40, max_steps=8))


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_steps": 1},
        {"max_steps": 9},
        {"min_steps": 5, "max_steps": 4},
        {"min_steps": -1, "max_steps": -1},
    ],
)
def test_invalid_bounds_are_rejected(bounds: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"they must satisfy 2 <= min_steps <= max_steps <= 8$"):
        plugins.build("problems", {"use": "word_problems", **bounds})


@pytest.mark.parametrize("steps", [2, 5, 8])
def test_step_bounds_are_respected(steps: int) -> None:
    problems = problems_of(WordProblems(count=30, min_steps=steps, max_steps=steps))
    for problem in problems:
        assert problem.metadata["steps"] == str(steps)


def test_zero_problems_are_no_error() -> None:
    assert problems_of(WordProblems(count=0)) == []
