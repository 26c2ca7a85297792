"""Word problems: gold solutions are right, every kind of mistake is found where it stands, and what is foreign is unknown."""

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

C, I, U = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN  # noqa: E741
MANY = 2_000
SOURCE = WordProblems(count=MANY, min_steps=2, max_steps=8, seed=3)
OPERATION = re.compile(r": (\d+) ([-+*/]) (\d+) = (\d+),")


def made(source: WordProblems) -> list[Problem]:
    return [row for row in source.problems() if isinstance(row, Problem)]


@pytest.fixture(scope="module")
def problems() -> Sequence[Problem]:
    return made(SOURCE)


def gold(problem: Problem) -> list[str]:
    return problem.metadata["gold"].splitlines(keepends=True)


def judged(problem: Problem, lines: Sequence[str]) -> Sequence[tuple[Verdict, str]]:
    return SOURCE.judge(problem, lines)


def first_mistake(problem: Problem, lines: Sequence[str]) -> tuple[int | None, str]:
    told = judged(problem, lines)
    place = first_error_of([verdict for verdict, _ in told])
    return place, told[place][1] if place is not None and place >= 0 else ""


def test_gold_solutions_are_right_step_by_step(problems: Sequence[Problem]) -> None:
    assert len(problems) == MANY
    for problem in problems:
        assert set(judged(problem, gold(problem))) == {(C, "")}, problem.question
        assert gold(problem)[-1] == f"The answer is {problem.answer}."


def test_a_problem_needs_exactly_its_number_of_steps(problems: Sequence[Problem]) -> None:
    counts = Counter(int(problem.metadata["steps"]) for problem in problems)
    assert set(counts) == set(range(2, 9))
    assert min(counts.values()) > MANY / 7 / 2
    for problem in problems:
        assert len(gold(problem)) == int(problem.metadata["steps"]) + 1


def test_none_of_the_steps_can_be_left_out(problems: Sequence[Problem]) -> None:
    for problem in problems[:100]:
        lines = gold(problem)
        for left_out in range(len(lines) - 1):
            shortened = lines[:left_out] + lines[left_out + 1 :]
            assert first_mistake(problem, shortened)[1] in ("order", "unsupported answer")


def test_line_by_line_is_step_by_step(problems: Sequence[Problem]) -> None:
    for problem in problems[:200]:
        assert split(problem.metadata["gold"], "line") == tuple(gold(problem))


def test_problems_are_all_different_and_say_where_they_come_from(
    problems: Sequence[Problem],
) -> None:
    assert (
        len({problem.problem_id for problem in problems})
        == len({problem.question for problem in problems})
        == MANY
    )
    assert {(problem.domain, problem.source, problem.license) for problem in problems} == {
        ("word_problems", "word_problems", "Apache-2.0")
    }
    assert all(
        problem.question.endswith("?")
        and "\n" not in problem.question
        and "{" not in problem.question
        for problem in problems
    )


def test_every_number_of_the_gold_solution_is_whole_and_positive(
    problems: Sequence[Problem],
) -> None:
    for problem in problems:
        for left, operator, right, result in OPERATION.findall(problem.metadata["gold"]):
            assert int(result) > 0
            assert {
                "+": int(left) + int(right),
                "-": int(left) - int(right),
                "*": int(left) * int(right),
            }.get(operator, int(left) / int(right)) == int(result)


def test_all_operations_occur(problems: Sequence[Problem]) -> None:
    counts = Counter(
        operator
        for problem in problems
        for _, operator, _, _ in OPERATION.findall(problem.metadata["gold"])
    )
    assert set(counts) == set("+-*/")
    assert min(counts.values()) > MANY / 10


def test_the_same_seed_gives_the_same_problems_and_more_of_them_begin_alike() -> None:
    few, more = WordProblems(count=20, seed=5), WordProblems(count=40, seed=5)
    assert made(few) == made(few) == made(more)[:20]
    assert not {p.problem_id for p in made(few)} & {
        p.problem_id for p in made(WordProblems(count=20, seed=6))
    }
    assert fingerprint(few) != fingerprint(more)


def test_problems_come_lazily() -> None:
    assert len(list(islice(WordProblems(count=10**9).problems(), 3))) == 3


def test_it_is_an_oracle() -> None:
    assert isinstance(SOURCE, Oracle)


# Each takes a solution and the index of a step to spoil, and gives the spoilt line, or None where the mistake does not fit.
Spoil = Callable[[Problem, list[str], int], str | None]


def _spoil_operand(_problem: Problem, lines: list[str], place: int) -> str | None:
    return OPERATION.sub(lambda m: f": {int(m[1]) + 1} {m[2]} {m[3]} = {m[4]},", lines[place])


def _spoil_reading(_problem: Problem, lines: list[str], place: int) -> str | None:
    line = lines[place]
    return (
        line.replace("more than", "fewer than", 1)
        if ": " in line and "more than" in line
        else line.replace(": ", ": as told, ", 1)
    )


def _spoil_operator(_problem: Problem, lines: list[str], place: int) -> str | None:
    return OPERATION.sub(
        lambda m: f": {m[1]} {'-' if m[2] == '+' else '+'} {m[3]} = {m[4]},", lines[place]
    )


def _spoil_arithmetic(_problem: Problem, lines: list[str], place: int) -> str | None:
    result = OPERATION.findall(lines[place])[0][3]
    wrong = str(int(result) + 1)
    return re.sub(rf"\b{result}(?=,| [a-z]+\.\n)", wrong, lines[place])


def _spoil_conclusion(_problem: Problem, lines: list[str], place: int) -> str | None:
    return re.sub(r"(\d+)( [a-z]+\.\n)$", lambda m: f"{int(m[1]) + 1}{m[2]}", lines[place])


def _spoil_unit(_problem: Problem, lines: list[str], place: int) -> str | None:
    return re.sub(r"[a-z]+\.\n$", "clouds.\n", lines[place])


def _spoil_holder(_problem: Problem, lines: list[str], place: int) -> str | None:
    return re.sub(r", so .* (\d+ )", r", so Nobody has \1", lines[place])


def _spoil_order(problem: Problem, lines: list[str], place: int) -> str | None:
    """The first later step that is too early here."""
    later = (
        line
        for line in lines[place + 1 : -1]
        if judged(problem, [*lines[:place], line])[-1][1] == "order"
    )
    return next(later, None)


KINDS: dict[str, tuple[Spoil, str]] = {
    "operand": (_spoil_operand, "operand"),
    "reading": (_spoil_reading, "reading"),
    "operator": (_spoil_operator, "reading"),
    "arithmetic": (_spoil_arithmetic, "arithmetic"),
    "conclusion": (_spoil_conclusion, "arithmetic"),
    "unit": (_spoil_unit, "quantity"),
    "holder": (_spoil_holder, "quantity"),
    "order": (_spoil_order, "order"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistake_is_found_at_its_place_and_by_its_kind(
    kind: str, problems: Sequence[Problem]
) -> None:
    spoil, named = KINDS[kind]
    spoilt = 0
    for problem in problems[:100]:
        for place in range(len(gold(problem)) - 1):
            lines = gold(problem)
            changed = spoil(problem, lines, place)
            if changed is None:
                continue
            assert changed != lines[place]
            spoilt += 1
            lines[place] = changed
            assert first_mistake(problem, lines) == (place, named), changed
            assert judged(problem, lines)[-1][0] is I
    assert spoilt > 80


def test_a_wrong_answer_is_found_in_the_last_line(problems: Sequence[Problem]) -> None:
    for problem in problems[:100]:
        lines = [*gold(problem)[:-1], f"The answer is {int(problem.answer or 0) + 1}."]
        assert first_mistake(problem, lines) == (len(lines) - 1, "answer")


def test_what_is_built_on_a_mistake_is_wrong_too(problems: Sequence[Problem]) -> None:
    for problem in problems[:100]:
        lines = gold(problem)
        lines[-2] = _spoil_arithmetic(problem, lines, len(lines) - 2) or ""
        assert [verdict for verdict, _ in judged(problem, lines)] == [C] * (len(lines) - 2) + [I, I]


def test_a_mistake_that_is_mended_at_once_leaves_the_rest_right(
    problems: Sequence[Problem],
) -> None:
    for problem in problems[:100]:
        lines = gold(problem)
        spoilt = _spoil_arithmetic(problem, lines, 0) or ""
        assert [verdict for verdict, _ in judged(problem, [spoilt, *lines])] == [I] + [C] * len(
            lines
        )


def test_operands_may_change_places_where_that_is_the_same(problems: Sequence[Problem]) -> None:
    seen = set()
    for problem in problems[:100]:
        for place, line in enumerate(gold(problem)[:-1]):
            turned = OPERATION.sub(lambda m: f": {m[3]} {m[2]} {m[1]} = {m[4]},", line)
            _, operator, _, _ = OPERATION.findall(line)[0]
            if turned != line:
                verdict, kind = judged(problem, [*gold(problem)[:place], turned])[-1]
                seen.add((operator, verdict, kind))
    assert seen == {("+", C, ""), ("*", C, ""), ("-", I, "operand"), ("/", I, "operand")}


def test_the_number_of_a_step_and_steps_said_twice_do_not_matter(
    problems: Sequence[Problem],
) -> None:
    for problem in problems[:100]:
        lines = [re.sub(r"^Step \d+", "Step 7", line) for line in gold(problem) for _ in range(2)]
        assert {verdict for verdict, _ in judged(problem, lines)} == {C}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "Let us see.\n",
        "Step 1: 2 + 2 = 4\n",
        "The answer is five.",
        "The answer is 5",
        "The answer is 5.0.",
        "The answer is -5.",
        "The answer is 1234567890.",
        "Step 1: a: 1 + 1 = 2, so b 2 c.\n\n",
        "Step 1: a: 1 ** 1 = 2, so b 2 c.\n",
        "Step " + "1" * 10_000 + ": a: 1 + 1 = 2, so b 2 c.\n",
        "Step 1: " + "a" * 100_000,
        "Step 1: " + "a: 1 + 1 = 2, so " * 10_000,
        "Step 1: a: 1 + 1 = 2, so " + "b " * 50_000,
    ],
    ids=lambda line: repr(line[:30]),
)
def test_what_is_foreign_is_unknown(line: str, problems: Sequence[Problem]) -> None:
    assert judged(problems[0], [line]) == [(U, "not in the step language")]
    told = judged(problems[0], [line, *gold(problems[0])])
    assert [verdict for verdict, _ in told] == [U] + [C] * len(gold(problems[0]))


def _near_misses() -> Iterator[st.SearchStrategy[str]]:
    """Text in the shape of a step, and any text."""
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


@given(lines=LINES, index=st.integers(0, 39), known=st.integers(0, 9))
def test_nothing_that_can_be_written_breaks_the_oracle(
    lines: list[str], index: int, known: int
) -> None:
    problem = FEW[index]
    right = gold(problem)[:known]
    told = judged(problem, [*right, *lines])
    assert len(told) == len(right) + len(lines)
    assert all((verdict is C) == (reason == "") for verdict, reason in told)
    assert {verdict for verdict, _ in told[: len(right)]} <= {C}


FEW = made(WordProblems(count=40, max_steps=8))


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_steps": 1},
        {"max_steps": 9},
        {"min_steps": 5, "max_steps": 4},
        {"min_steps": -1, "max_steps": -1},
    ],
)
def test_bounds_that_cannot_be_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"they must satisfy 2 <= min_steps <= max_steps <= 8$"):
        plugins.build("problems", {"use": "word_problems", **bounds})


@pytest.mark.parametrize("steps", [2, 5, 8])
def test_bounds_are_kept(steps: int) -> None:
    made_ones = made(WordProblems(count=30, min_steps=steps, max_steps=steps))
    assert {problem.metadata["steps"] for problem in made_ones} == {str(steps)}


def test_no_problems_are_no_error() -> None:
    assert made(WordProblems(count=0)) == []
