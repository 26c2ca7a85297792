"""What every filter owes, held against each plugin that is found."""

import dataclasses
import gc
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from filters.base import Candidate, Filter, HasExternalInput
from stepmark.errors import ConfigError, PluginError
from stepmark.identity import fingerprint
from stepmark.plugins import available, build
from stepmark.records import NO_ERROR, Trace
from tests.filters.samples import C, I, U, candidate, drops

FILTERS = available("filters")
HOSTILE = (
    "\0\x1b[2J\u202e\ud800",
    "９" * 500 + "²" * 500,
    "\ufdfa" * 2_000,
    "a" * 100_000,
    "{question} %s \\p{L} [[",
    "一二三" * 1_000,
    "\n" * 10_000,
    "()" * 5_000,
    " ",
    "",
)


@pytest.fixture
def needed(tmp_path: Path) -> Mapping[str, Mapping[str, Any]]:
    """The parameters that a filter cannot be without."""
    file = tmp_path / "test.jsonl"
    file.write_text(
        '{"question": "How many apples has Ann after she gave three of her twelve to Bob?"}\n'
    )
    return {"contamination": {"against": [{"use": "files", "paths": [str(file)]}]}}


@pytest.fixture(params=FILTERS)
def built(request: pytest.FixtureRequest, needed: Mapping[str, Mapping[str, Any]]) -> Filter:
    found: Filter = build("filters", {"use": request.param, **needed.get(request.param, {})})
    return found


def everything() -> list[Candidate]:
    """Traces of every outcome, first error, confidence and value, known or not, with repetitions and hostile texts."""
    texts = ("Ann has 12 - 3 = 9 apples.\n", "So the answer is 9.", "Ann has 12 - 3 = 8 apples.\n")
    found = list[Candidate]()
    for number in range(240):
        problem = number % 12
        question = (
            "How many apples has Ann after she gave three of her twelve to Bob?"
            if problem < 3
            else f"What is {problem} + 1?"
        )
        steps = (
            (texts[number % 3], HOSTILE[number % len(HOSTILE)])
            if number % 7 == 0
            else (texts[number % 3], texts[1])
        )
        found.append(
            candidate(
                f"t{number:03}",
                *steps,
                problem=f"p{number}" if problem == 11 else f"p{problem}",
                question=HOSTILE[number % len(HOSTILE)] if problem == 11 else question,
                outcome=(C, I, U)[number % 3],
                first_error=(NO_ERROR, 0, 1, None)[number % 4],
                values=((0.5, number / 240), (None, 0.25), (None, None))[number % 7 % 3],
                confidence=(0.95, 0.4, None)[number % 11 % 3],
            )
        )
    return found


def test_is_a_frozen_dataclass_with_a_version(built: Filter) -> None:
    assert dataclasses.is_dataclass(built)
    assert isinstance(getattr(built, "version", None), int)
    assert fingerprint(built) == fingerprint(built)
    with pytest.raises(dataclasses.FrozenInstanceError):
        built.version = 2


def test_drops_some_of_what_it_is_given_and_says_why(built: Filter) -> None:
    given = everything()
    dropped = drops(built, given)
    assert dropped
    assert dropped.keys() < {each.trace.trace_id for each in given}
    assert all(reason and "\n" not in reason for reason in dropped.values())


def test_the_order_of_the_candidates_means_nothing(built: Filter) -> None:
    given = everything()
    dropped = drops(built, given)
    for seed in range(3):
        random.Random(seed).shuffle(given)
        assert drops(built, given) == dropped


def test_one_built_anew_drops_the_same(
    built: Filter, needed: Mapping[str, Mapping[str, Any]]
) -> None:
    name = type(built).__module__.rpartition(".")[2]
    again = build("filters", {"use": name, **needed.get(name, {})})
    assert drops(again, everything()) == drops(built, everything())
    if isinstance(built, HasExternalInput):
        assert again.digest() == built.digest()


def test_of_nothing_nothing_is_dropped(built: Filter) -> None:
    assert drops(built, []) == {}


def test_a_trace_without_steps_and_a_label_that_knows_nothing_are_no_crash(built: Filter) -> None:
    blank = candidate("t0", first_error=None, confidence=None, outcome=U)
    empty = blank._replace(
        trace=dataclasses.replace(blank.trace, steps=()),
        label=dataclasses.replace(blank.label, steps=()),
    )
    assert drops(built, [empty]).keys() <= {"t0"}


def test_holds_no_more_than_a_few_traces_at_a_time(built: Filter) -> None:
    most = 0

    def stream() -> Iterator[Candidate]:
        nonlocal most
        for number in range(200):
            yield candidate(
                f"streamed {number % 150}",
                "1 + 1 = 2\n",
                "2 + 2 = 4",
                problem=f"p{number % 50}",
                values=(0.5, None),
            )
            if number % 50 == 49:
                alive = (
                    each
                    for each in gc.get_objects()
                    if type(each) is Trace and each.trace_id.startswith("streamed")
                )
                most = max(most, sum(1 for _ in alive))

    built.drop(stream)
    assert 1 <= most <= 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"use": "confidence", "threshold": 1.5},
            "confidence: threshold: Input should be less than or equal to 1",
        ),
        (
            {"use": "balance", "negatives_per_positive": 0},
            "balance: negatives_per_positive: Input should be greater than 0",
        ),
        ({"use": "prof", "keep": -1}, "prof: keep: Input should be greater than or equal to 0"),
        (
            {"use": "length", "max_steps": -1},
            "length: max_steps: Input should be greater than or equal to 0",
        ),
        (
            {"use": "duplicates", "of": ["answers"]},
            "duplicates: of.0: Input should be 'questions' or 'traces'",
        ),
        ({"use": "duplicates", "of": []}, "duplicates: of: Tuple should have at least 1 item"),
        (
            {"use": "duplicates", "threshold": 0.0},
            "duplicates: threshold: Input should be greater than or equal to 0.1",
        ),
        ({"use": "contamination"}, "contamination: against: "),
        (
            {"use": "contamination", "against": []},
            "contamination: against: Tuple should have at least 1 item",
        ),
        (
            {"use": "contamination", "against": [{"use": "nope"}]},
            "problems has no 'nope'; it has: files, huggingface, logic, word_problems",
        ),
        (
            {"use": "contamination", "against": [{"use": "files", "path": "x"}]},
            "problems.files has no parameter 'path'; it has: paths",
        ),
        (
            {"use": "flawed_positives", "keep": True},
            "flawed_positives has no parameter 'keep'; it has: none",
        ),
        (
            {"use": "filter"},
            "filters has no 'filter'; it has: balance, confidence, contamination, duplicates,",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_parameter_that_cannot_be_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError) as refusal:
        build("filters", table)
    assert message in str(refusal.value)


@pytest.mark.parametrize("script", ["Klingon", "Latin}", "", "Latin]|[^"])
def test_a_script_that_does_not_exist_is_refused(script: str) -> None:
    with pytest.raises(ConfigError, match=r"no script of Unicode is called"):
        build("filters", {"use": "language", "scripts": [script]})
