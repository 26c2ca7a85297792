"""Test gold solutions, injected mistakes and the oracle of the deduction problems."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.base import Oracle
from problems.logic_domain.language import LogicWorld, parse_statement
from problems.logic_domain.mistakes import KINDS, with_injected_mistake
from problems.logic_domain.models import Clause, consistent, ground, names_in
from problems.sources.logic import Logic
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.final_answers import final_answer
from stepmark.identity import fingerprint
from stepmark.records import Problem, Verdict, first_error_of
from stepmark.steps import split
from tests.problems.helpers import gold_lines, problems_of, values_of, verdicts_in

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN
MANY = 600
SOURCE = Logic(count=MANY, max_steps=8, seed=3)
RUN_FILE = Path(__file__).parents[2] / "configs" / "logic.toml"
# It follows that Ana is happy and not rich, and that Ben is not wise but rich.
WORLD = LogicWorld(
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


@pytest.fixture(scope="module")
def problems() -> Sequence[Problem]:
    return problems_of(SOURCE)


def judge(lines: Sequence[str], problem: Problem | None = None) -> Sequence[tuple[Verdict, str]]:
    return SOURCE.judge(problem or PROBLEM, lines)


def verdicts(lines: Sequence[str], problem: Problem | None = None) -> list[Verdict]:
    return verdicts_in(judge(lines, problem))


def _problem() -> Problem:
    world = json.dumps({"given": WORLD.given, "hypothesis": WORLD.hypothesis})
    return Problem(
        problem_id="p",
        question="",
        answer="false",
        domain="logic",
        source="logic",
        metadata={"world": world},
    )


PROBLEM = _problem()


def test_gold_solutions_are_correct(problems: Sequence[Problem]) -> None:
    assert len(problems) == MANY
    for problem in problems:
        assert set(judge(gold_lines(problem), problem)) == {(C, "")}, problem.question
        assert final_answer(problem.metadata["gold"]) == problem.answer
        assert LogicWorld.of(problem).answer == problem.answer


def test_answers_are_equally_frequent(problems: Sequence[Problem]) -> None:
    counts = Counter(problem.answer for problem in problems)
    assert set(counts) == {"true", "false", "unprovable"}
    # An equal share is a third; the tolerance is a fifth of it.
    assert min(counts.values()) > MANY / 3 * 0.8


def test_solution_has_stated_number_of_steps(problems: Sequence[Problem]) -> None:
    counts = Counter(int(problem.metadata["steps"]) for problem in problems)
    assert set(counts) == set(range(1, 9))
    # There are eight lengths; the tolerance is half of an equal share.
    assert min(counts.values()) > MANY / 8 / 2
    for problem in problems:
        # The last line is the answer.
        assert len(gold_lines(problem)) == int(problem.metadata["steps"]) + 1


def test_every_proof_step_is_needed(problems: Sequence[Problem]) -> None:
    for problem in problems[:100]:
        lines = gold_lines(problem)
        for left_out in range(len(lines) - 1):
            shortened = verdicts(lines[:left_out] + lines[left_out + 1 :], problem)
            assert set(shortened) <= {C, U}
            assert U in shortened or problem.answer == "unprovable"


def test_statements_are_consistent_and_contain_distractors(problems: Sequence[Problem]) -> None:
    for problem in problems:
        world = LogicWorld.of(problem)
        assert consistent(ground(world.clauses, names_in(world.clauses)))
        used: set[Clause] = set()
        for line in gold_lines(problem)[:-1]:
            for premise in line.split(": ")[1].split("; "):
                used.update(parse_statement(premise) or ())
        assert world.clauses - used


def test_question_states_the_world(problems: Sequence[Problem]) -> None:
    for problem in problems:
        *sentences, hypothesis, instruction = re.split(r"(?<=\.) ", problem.question)
        world = LogicWorld.of(problem)
        assert instruction == "Is the hypothesis true, false or unprovable?"
        assert hypothesis == f"Hypothesis: {world.hypothesis}."
        clauses: set[Clause] = set()
        for sentence in sentences:
            clauses.update(parse_statement(sentence.removesuffix(".")) or ())
        assert clauses == world.clauses
        assert "\n" not in problem.question


def test_problems_are_distinct_with_provenance(
    problems: Sequence[Problem],
) -> None:
    assert len(values_of(problems, "problem_id")) == MANY
    assert len(values_of(problems, "question")) == MANY
    assert values_of(problems, "domain") == {"logic"}
    assert values_of(problems, "source") == {"logic"}
    assert values_of(problems, "license") == {"Apache-2.0"}


def test_every_form_of_a_rule_occurs(problems: Sequence[Problem]) -> None:
    forms = ("Everyone who", "No one who", "If someone", "Everyone is", " or ", " and not ")
    counts = Counter[str]()
    for problem in problems:
        counts.update(form for form in forms if form in problem.question)
        if re.search(r"If [A-Z]\w+ is", problem.question):
            counts["If NAME is"] += 1
    for form in (*forms, "If NAME is"):
        assert counts[form] > MANY / 20, form


def test_same_seed_gives_same_problems() -> None:
    few = Logic(count=20, seed=5)
    more = Logic(count=40, seed=5)
    assert problems_of(few) == problems_of(few) == problems_of(more)[:20]
    other_seed = problems_of(Logic(count=20, seed=6))
    few_ids = values_of(problems_of(few), "problem_id")
    assert not few_ids & values_of(other_seed, "problem_id")
    assert fingerprint(few) != fingerprint(more)


def test_problems_are_generated_lazily() -> None:
    # A list of a billion problems would not fit into memory.
    assert len(list(islice(Logic(count=10**9).problems(), 3))) == 3


def test_source_is_an_oracle() -> None:
    assert isinstance(SOURCE, Oracle)


def test_lines_are_steps(problems: Sequence[Problem]) -> None:
    for problem in problems[:200]:
        assert split(problem.metadata["gold"], "line") == tuple(gold_lines(problem))


MIN_SHARE = {"condition_dropped": 0.2, "backwards": 0.1, "answer": 0.1}
REASONS = {"condition_dropped": {"premise"}, "invented": {"premise"}, "answer": {"answer"}}


@pytest.mark.parametrize("kind", KINDS)
def test_injected_mistake_is_first_error(kind: str, problems: Sequence[Problem]) -> None:
    tried = 0
    injected = 0
    for problem in problems[:60]:
        gold = gold_lines(problem)
        positions = range(len(gold))
        if kind != "answer":
            positions = range(len(gold) - 1)
        for position in positions:
            lines = with_injected_mistake(
                LogicWorld.of(problem), gold, position, kind, Random(position)
            )
            tried += 1
            if lines is None:
                continue
            injected += 1
            judgements = judge(lines, problem)
            assert verdicts_in(judgements[: position + 1]) == [C] * position + [I], lines[position]
            assert I not in verdicts_in(judgements[position + 1 :])
            assert judgements[position][1] in REASONS.get(kind, {"conclusion"})
            assert [*lines[:position], *lines[position + 1 :]] == [
                *gold[:position],
                *gold[position + 1 :],
            ]
            assert first_error_of(verdicts_in(judgements)) == position
    assert injected > tried * MIN_SHARE.get(kind, 0.7)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_injects_same_mistake(kind: str, problems: Sequence[Problem]) -> None:
    for problem in problems[:20]:
        world = LogicWorld.of(problem)
        first = with_injected_mistake(world, gold_lines(problem), 0, kind, Random(1))
        second = with_injected_mistake(world, gold_lines(problem), 0, kind, Random(1))
        assert first == second


@pytest.mark.parametrize(
    ("line", "verdict", "reason"),
    [
        (HAPPY, C, ""),
        # The step number is optional.
        ("Ana is kind; everyone who is kind is happy; therefore, Ana is happy.", C, ""),
        (
            # Another step number, and another wording of the same rule.
            "Step 7: Ana is kind; if someone is kind, then they are happy;"
            " therefore, Ana is happy.",
            C,
            "",
        ),
        # An instance of the general rule.
        ("Step 1: Ana is kind; if Ana is kind, then Ana is happy; therefore, Ana is happy.", C, ""),
        # A weaker statement follows too.
        ("Step 1: Ana is kind; therefore, Ana is kind or Ben is rich.", C, ""),
        (
            # The contrapositive of a rule.
            "Step 1: everyone who is kind is happy;"
            " therefore, if someone is not happy, then they are not kind.",
            C,
            "",
        ),
        (
            "Step 1: Ana is kind; Ana is not tall; everyone who is kind is happy;"
            " therefore, Ana is happy and not tall.",
            C,
            "",
        ),
        (
            # The negation of what follows.
            "Step 1: Ana is kind; everyone who is kind is happy; therefore, Ana is not happy.",
            I,
            "conclusion",
        ),
        # The rule is missing.
        ("Step 1: Ana is kind; therefore, Ana is happy.", I, "conclusion"),
        # The fact is missing.
        ("Step 1: everyone who is kind is happy; therefore, Ana is happy.", I, "conclusion"),
        (
            # The conclusion is about another person.
            "Step 1: Ana is kind; everyone who is kind is happy; therefore, Ben is happy.",
            I,
            "conclusion",
        ),
        (
            # Only half of the conclusion follows.
            "Step 1: Ana is kind; everyone who is kind is happy; therefore, Ana is happy and rich.",
            I,
            "conclusion",
        ),
        (
            # An invented fact.
            "Step 1: Ben is kind; everyone who is kind is happy; therefore, Ben is happy.",
            I,
            "premise",
        ),
        (
            # The rule is negated.
            "Step 1: Ana is kind; no one who is kind is happy; therefore, Ana is not happy.",
            I,
            "premise",
        ),
        (
            # The rule is reversed.
            "Step 1: Ana is happy; everyone who is happy is kind; therefore, Ana is kind.",
            I,
            "premise",
        ),
        (
            # The premise follows from the world, but no step derives it.
            "Step 1: Ana is happy; if Ana is happy, then Ben is not wise;"
            " therefore, Ben is not wise.",
            U,
            "a premise was not shown",
        ),
        ("The answer is true.", I, "answer"),
        ("The answer is unprovable.", I, "answer"),
        # The answer is right, but no step derives it.
        ("The answer is false.", U, "the answer was not shown"),
    ],
)
def test_steps_are_judged_by_meaning(line: str, verdict: Verdict, reason: str) -> None:
    assert judge([line]) == [(verdict, reason)]


def test_only_correct_conclusions_become_premises() -> None:
    use = (
        "Step 2: Ana is happy; if Ana is happy, then Ben is not wise; therefore, Ben is not wise.\n"
    )
    assert verdicts([HAPPY, use]) == [C, C]
    assert verdicts(["Step 1: Ana is kind; therefore, Ana is happy.\n", use]) == [I, U]
    wrong = "Step 1: Ana is kind; everyone who is kind is happy; therefore, Ben is happy.\n"
    # Wrong steps do not block later correct ones.
    assert verdicts([wrong, use.replace("Ana", "Ben"), HAPPY, use]) == [I, I, C, C]


def test_answer_needs_derivation() -> None:
    rich = (
        "Step 2: Ana is happy; Ana is not tall; no one who is happy and not tall is rich;"
        " therefore, Ana is not rich.\n"
    )
    assert verdicts([HAPPY, rich, "The answer is false."]) == [C, C, C]
    assert verdicts([rich, "The answer is false."]) == [U, U]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "Let us see.\n",
        "Ana is happy.",
        # No premise.
        "Step 1: therefore, Ana is happy.",
        # An unknown name, then an unknown adjective.
        "Step 1: Ana is kind; therefore, Cara is kind.",
        "Step 1: Ana is kind; therefore, Ana is cheerful.",
        # A comma in place of the semicolon.
        "Step 1: Ana is kind, therefore, Ana is kind.",
        "Step 1: Ana is not kind and tall; therefore, Ana is tall.",
        "Step 1: everyone who is kind is not tall; therefore, Ana is not tall.",
        "Step 1: Ana is kind; therefore, Ana is kind.\n\n",
        # A capital letter, then no period.
        "The answer is True.",
        "The answer is false",
        # Long lines, which must not take long.
        "Step 1: " + "Ana is kind; " * 1_000 + "therefore, Ana is kind.",
        "Step 1: Ana is " + "kind and " * 50_000,
        "Step 1: " + "; " * 50_000,
        "Step 1: " + "a" * 100_000,
    ],
    ids=lambda line: repr(line[:30]),
)
def test_text_outside_language_is_unknown(line: str) -> None:
    assert judge([line]) == [(U, "not in the step language")]
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
def test_oracle_handles_arbitrary_text(lines: list[str]) -> None:
    judgements = judge([HAPPY, *lines])
    assert len(judgements) == 1 + len(lines)
    for verdict, reason in judgements:
        assert (verdict is C) == (reason == "")
    assert judgements[0] == (C, "")


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_steps": 0},
        {"max_steps": 9},
        {"min_steps": 5, "max_steps": 4},
        {"min_steps": -1, "max_steps": -1},
    ],
)
def test_invalid_bounds_are_rejected(bounds: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"they must satisfy 1 <= min_steps <= max_steps <= 8$"):
        plugins.build("problems", {"use": "logic", **bounds})


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_step_bounds_are_respected(steps: int) -> None:
    for problem in problems_of(Logic(count=30, min_steps=steps, max_steps=steps)):
        assert problem.metadata["steps"] == str(steps)


def test_zero_problems_are_no_error() -> None:
    assert problems_of(Logic(count=0)) == []


def matching_replies(run_file: Mapping[str, Any], problem: Problem) -> list[Sequence[str]]:
    matches: list[Sequence[str]] = []
    for key, replies in run_file["engine"]["replies"].items():
        if key in problem.question:
            matches.append(replies)
    return matches


def test_run_file_replies_match_oracle() -> None:
    run_file = tomllib.loads(RUN_FILE.read_text(encoding="utf-8"))
    source: Logic = plugins.build("problems", run_file["problems"])
    for problem in problems_of(source):
        (replies,) = matching_replies(run_file, problem)
        right, wrong = (split(reply, "line") for reply in replies)
        assert "".join(right) == problem.metadata["gold"]
        assert verdicts(wrong, problem).count(I) == 1
