"""Deduction problems: gold solutions are right, every kind of mistake is found where it stands, and what is foreign is unknown."""

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.base import Oracle
from problems.logic_domain.language import World, read
from problems.logic_domain.mistakes import KINDS, spoilt
from problems.logic_domain.models import consistent, ground
from problems.sources.logic import Logic
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.final_answers import final_answer
from stepmark.identity import fingerprint
from stepmark.records import Problem, Verdict, first_error_of
from stepmark.steps import split

C, I, U = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN  # noqa: E741
MANY = 600
SOURCE = Logic(count=MANY, max_steps=8, seed=3)
RUN_FILE = Path(__file__).parents[2] / "configs" / "logic.toml"
WORLD = World(
    given=(
        "Ana is kind and not tall",
        "everyone who is kind is happy",
        "no one who is happy and not tall is rich",
        "Ben is wise or Ben is rich",
        "if Ana is happy, then Ben is not wise",
    ),
    hypothesis="Ana is rich",
)
HAPPY = (
    "Step 1: Ana is kind and not tall; everyone who is kind is happy; therefore, Ana is happy.\n"
)


def made(source: Logic) -> list[Problem]:
    return [row for row in source.problems() if isinstance(row, Problem)]


@pytest.fixture(scope="module")
def problems() -> Sequence[Problem]:
    return made(SOURCE)


def gold(problem: Problem) -> list[str]:
    return problem.metadata["gold"].splitlines(keepends=True)


def told(lines: Sequence[str], problem: Problem | None = None) -> Sequence[tuple[Verdict, str]]:
    return SOURCE.judge(problem or PROBLEM, lines)


def verdicts(lines: Sequence[str], problem: Problem | None = None) -> list[Verdict]:
    return [verdict for verdict, _ in told(lines, problem)]


def _problem() -> Problem:
    world = (
        '{"given": ["' + '", "'.join(WORLD.given) + f'"], "hypothesis": "{WORLD.hypothesis}"' + "}"
    )
    return Problem(
        problem_id="p",
        question="",
        answer="false",
        domain="logic",
        source="logic",
        metadata={"world": world},
    )


PROBLEM = _problem()


def test_gold_solutions_are_right_step_by_step(problems: Sequence[Problem]) -> None:
    assert len(problems) == MANY
    for problem in problems:
        assert set(told(gold(problem), problem)) == {(C, "")}, problem.question
        assert final_answer(problem.metadata["gold"]) == problem.answer == World.of(problem).answer


def test_the_answers_come_in_equal_shares(problems: Sequence[Problem]) -> None:
    counts = Counter(problem.answer for problem in problems)
    assert set(counts) == {"true", "false", "unprovable"}
    assert min(counts.values()) > MANY / 3 * 0.8


def test_a_solution_has_exactly_its_number_of_steps(problems: Sequence[Problem]) -> None:
    counts = Counter(int(problem.metadata["steps"]) for problem in problems)
    assert set(counts) == set(range(1, 9))
    assert min(counts.values()) > MANY / 8 / 2
    for problem in problems:
        assert len(gold(problem)) == int(problem.metadata["steps"]) + 1


def test_none_of_the_steps_of_a_proof_can_be_left_out(problems: Sequence[Problem]) -> None:
    for problem in problems[:100]:
        lines = gold(problem)
        for left_out in range(len(lines) - 1):
            shortened = verdicts(lines[:left_out] + lines[left_out + 1 :], problem)
            assert set(shortened) <= {C, U}
            assert U in shortened or problem.answer == "unprovable"


def test_what_is_given_is_free_of_contradiction_and_distracts(problems: Sequence[Problem]) -> None:
    for problem in problems:
        world = World.of(problem)
        names = {
            literal.subject for clause in world.clauses for literal in clause if literal.subject
        }
        assert consistent(ground(world.clauses, names))
        used = {
            clause
            for line in gold(problem)[:-1]
            for premise in line.split(": ")[1].split("; ")
            for clause in read(premise) or ()
        }
        assert world.clauses - used


def test_the_question_states_the_world(problems: Sequence[Problem]) -> None:
    for problem in problems:
        *sentences, asked = re.split(r"(?<=\.) ", problem.question)
        world = World.of(problem)
        assert asked == "Is the hypothesis true, false or unprovable?"
        assert sentences.pop() == f"Hypothesis: {world.hypothesis}."
        assert (
            frozenset().union(*(read(sentence.removesuffix(".")) or () for sentence in sentences))
            == world.clauses
        )
        assert "\n" not in problem.question


def test_problems_are_all_different_and_say_where_they_come_from(
    problems: Sequence[Problem],
) -> None:
    assert (
        len({problem.problem_id for problem in problems})
        == len({problem.question for problem in problems})
        == MANY
    )
    assert {(problem.domain, problem.source, problem.license) for problem in problems} == {
        ("logic", "logic", "Apache-2.0")
    }


def test_every_form_of_a_rule_occurs(problems: Sequence[Problem]) -> None:
    for form in ("Everyone who", "No one who", "If someone", "Everyone is", " or ", " and not "):
        assert sum(form in problem.question for problem in problems) > MANY / 20, form
    assert (
        sum(bool(re.search(r"If [A-Z]\w+ is", problem.question)) for problem in problems)
        > MANY / 20
    )


def test_the_same_seed_gives_the_same_problems_and_more_of_them_begin_alike() -> None:
    few, more = Logic(count=20, seed=5), Logic(count=40, seed=5)
    assert made(few) == made(few) == made(more)[:20]
    assert not {p.problem_id for p in made(few)} & {
        p.problem_id for p in made(Logic(count=20, seed=6))
    }
    assert fingerprint(few) != fingerprint(more)


def test_problems_come_lazily() -> None:
    assert len(list(islice(Logic(count=10**9).problems(), 3))) == 3


def test_it_is_an_oracle() -> None:
    assert isinstance(SOURCE, Oracle)


def test_line_by_line_is_step_by_step(problems: Sequence[Problem]) -> None:
    for problem in problems[:200]:
        assert split(problem.metadata["gold"], "line") == tuple(gold(problem))


LEAST_FITTING = {"condition_dropped": 0.2, "backwards": 0.1, "answer": 0.1}
REASONS = {"condition_dropped": {"premise"}, "invented": {"premise"}, "answer": {"answer"}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistake_is_the_only_wrong_step(kind: str, problems: Sequence[Problem]) -> None:
    tried = fitting = 0
    for problem in problems[:60]:
        for place in range(len(gold(problem)) - (kind != "answer")):
            lines = spoilt(World.of(problem), gold(problem), place, kind, Random(place))
            tried += 1
            if lines is None:
                continue
            fitting += 1
            said = told(lines, problem)
            assert [verdict for verdict, _ in said[: place + 1]] == [C] * place + [I], lines[place]
            assert I not in [verdict for verdict, _ in said[place + 1 :]]
            assert said[place][1] in REASONS.get(kind, {"conclusion"})
            assert [*lines[:place], *lines[place + 1 :]] == [
                *gold(problem)[:place],
                *gold(problem)[place + 1 :],
            ]
            assert first_error_of([verdict for verdict, _ in said]) == place
    assert fitting > tried * LEAST_FITTING.get(kind, 0.7)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_mistake(kind: str, problems: Sequence[Problem]) -> None:
    for problem in problems[:20]:
        first, again = (
            spoilt(World.of(problem), gold(problem), 0, kind, Random(1)) for _ in range(2)
        )
        assert first == again


@pytest.mark.parametrize(
    ("line", "verdict", "reason"),
    [
        (HAPPY, C, ""),
        ("Ana is kind; everyone who is kind is happy; therefore, Ana is happy.", C, ""),
        (
            "Step 7: Ana is kind; if someone is kind, then they are happy; therefore, Ana is happy.",
            C,
            "",
        ),
        ("Step 1: Ana is kind; if Ana is kind, then Ana is happy; therefore, Ana is happy.", C, ""),
        ("Step 1: Ana is kind; therefore, Ana is kind or Ben is rich.", C, ""),
        (
            "Step 1: everyone who is kind is happy; therefore, if someone is not happy, then they are not kind.",
            C,
            "",
        ),
        (
            "Step 1: Ana is kind; Ana is not tall; everyone who is kind is happy; therefore, Ana is happy and not tall.",
            C,
            "",
        ),
        (
            "Step 1: Ana is kind; everyone who is kind is happy; therefore, Ana is not happy.",
            I,
            "conclusion",
        ),
        ("Step 1: Ana is kind; therefore, Ana is happy.", I, "conclusion"),
        ("Step 1: everyone who is kind is happy; therefore, Ana is happy.", I, "conclusion"),
        (
            "Step 1: Ana is kind; everyone who is kind is happy; therefore, Ben is happy.",
            I,
            "conclusion",
        ),
        (
            "Step 1: Ana is kind; everyone who is kind is happy; therefore, Ana is happy and rich.",
            I,
            "conclusion",
        ),
        (
            "Step 1: Ben is kind; everyone who is kind is happy; therefore, Ben is happy.",
            I,
            "premise",
        ),
        (
            "Step 1: Ana is kind; no one who is kind is happy; therefore, Ana is not happy.",
            I,
            "premise",
        ),
        (
            "Step 1: Ana is happy; everyone who is happy is kind; therefore, Ana is kind.",
            I,
            "premise",
        ),
        (
            "Step 1: Ana is happy; if Ana is happy, then Ben is not wise; therefore, Ben is not wise.",
            U,
            "a premise was not shown",
        ),
        ("The answer is true.", I, "answer"),
        ("The answer is unprovable.", I, "answer"),
        ("The answer is false.", U, "the answer was not shown"),
    ],
)
def test_a_step_is_judged_by_what_it_states(line: str, verdict: Verdict, reason: str) -> None:
    assert told([line]) == [(verdict, reason)]


def test_what_was_shown_can_be_used_and_what_was_wrongly_shown_cannot() -> None:
    use = (
        "Step 2: Ana is happy; if Ana is happy, then Ben is not wise; therefore, Ben is not wise.\n"
    )
    assert verdicts([HAPPY, use]) == [C, C]
    assert verdicts(["Step 1: Ana is kind; therefore, Ana is happy.\n", use]) == [I, U]
    wrong = "Step 1: Ana is kind; everyone who is kind is happy; therefore, Ben is happy.\n"
    assert verdicts([wrong, use.replace("Ana", "Ben"), HAPPY, use]) == [I, I, C, C]


def test_an_answer_is_right_once_it_was_shown() -> None:
    rich = "Step 2: Ana is happy; Ana is not tall; no one who is happy and not tall is rich; therefore, Ana is not rich.\n"
    assert verdicts([HAPPY, rich, "The answer is false."]) == [C, C, C]
    assert verdicts([rich, "The answer is false."]) == [U, U]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "Let us see.\n",
        "Ana is happy.",
        "Step 1: therefore, Ana is happy.",
        "Step 1: Ana is kind; therefore, Cara is kind.",
        "Step 1: Ana is kind; therefore, Ana is cheerful.",
        "Step 1: Ana is kind, therefore, Ana is kind.",
        "Step 1: Ana is not kind and tall; therefore, Ana is tall.",
        "Step 1: everyone who is kind is not tall; therefore, Ana is not tall.",
        "Step 1: Ana is kind; therefore, Ana is kind.\n\n",
        "The answer is True.",
        "The answer is false",
        "Step 1: " + "Ana is kind; " * 1_000 + "therefore, Ana is kind.",
        "Step 1: Ana is " + "kind and " * 50_000,
        "Step 1: " + "; " * 50_000,
        "Step 1: " + "a" * 100_000,
    ],
    ids=lambda line: repr(line[:30]),
)
def test_what_is_foreign_is_unknown(line: str) -> None:
    assert told([line]) == [(U, "not in the step language")]
    assert verdicts([line, HAPPY]) == [U, C]


WORDS = st.sampled_from(
    [
        "Ana",
        "Ben",
        "kind",
        "tall",
        "is",
        "not",
        "and",
        "or",
        "if",
        "then",
        "they",
        "are",
        "someone",
        "everyone",
        "no",
        "one",
    ]
)
STATEMENTS = (
    st.lists(WORDS, max_size=9).map(" ".join) | st.sampled_from(WORLD.given) | st.text(max_size=20)
)
LINES = st.builds(
    "Step 1: {}; therefore, {}.\n".format,
    st.lists(STATEMENTS, min_size=1, max_size=3).map("; ".join),
    STATEMENTS,
)


@given(lines=st.lists(LINES | st.text(max_size=60), max_size=6))
def test_nothing_that_can_be_written_breaks_the_oracle(lines: list[str]) -> None:
    said = told([HAPPY, *lines])
    assert len(said) == 1 + len(lines)
    assert all((verdict is C) == (reason == "") for verdict, reason in said)
    assert said[0] == (C, "")


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_steps": 0},
        {"max_steps": 9},
        {"min_steps": 5, "max_steps": 4},
        {"min_steps": -1, "max_steps": -1},
    ],
)
def test_bounds_that_cannot_be_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"they must satisfy 1 <= min_steps <= max_steps <= 8$"):
        plugins.build("problems", {"use": "logic", **bounds})


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_bounds_are_kept(steps: int) -> None:
    assert {
        problem.metadata["steps"]
        for problem in made(Logic(count=30, min_steps=steps, max_steps=steps))
    } == {str(steps)}


def test_no_problems_are_no_error() -> None:
    assert made(Logic(count=0)) == []


def test_the_replies_of_the_run_file_are_a_right_and_a_wrong_solution_of_each_problem() -> None:
    run_file = tomllib.loads(RUN_FILE.read_text(encoding="utf-8"))
    source: Logic = plugins.build("problems", run_file["problems"])
    for problem in made(source):
        (fitting,) = [
            replies
            for key, replies in run_file["engine"]["replies"].items()
            if key in problem.question
        ]
        right, wrong = (split(reply, "line") for reply in fitting)
        assert "".join(right) == problem.metadata["gold"]
        assert verdicts(wrong, problem).count(I) == 1
