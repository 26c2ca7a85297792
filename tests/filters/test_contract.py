"""The contract of filters, for every plugin."""

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
# The question of the evaluation set, so that contamination drops some candidates.
APPLES = "How many apples has Ann after she gave three of her twelve to Bob?"
# Control characters, wide digits, a letter that NFKC expands to 18, long lines and empty texts.
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
def required(tmp_path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return the required parameters of the filters, by filter."""
    file = tmp_path / "test.jsonl"
    file.write_text(f'{{"question": "{APPLES}"}}\n')
    return {"contamination": {"against": [{"use": "files", "paths": [str(file)]}]}}


@pytest.fixture(params=FILTERS)
def built(request: pytest.FixtureRequest, required: Mapping[str, Mapping[str, Any]]) -> Filter:
    plugin: Filter = build("filters", {"use": request.param, **required.get(request.param, {})})
    return plugin


def everything() -> list[Candidate]:
    """Build traces with all kinds of outcomes, labels and values, repetitions and hostile texts."""
    texts = ("Ann has 12 - 3 = 9 apples.\n", "So the answer is 9.", "Ann has 12 - 3 = 8 apples.\n")
    candidates: list[Candidate] = []
    # The moduli below mix outcomes, labels, values and texts in many combinations.
    for number in range(240):
        hostile_text = HOSTILE[number % len(HOSTILE)]
        problem = f"p{number % 12}"
        if number % 12 == 11:
            problem = f"p{number}"
            question = hostile_text
        elif number % 12 < 3:
            question = APPLES
        else:
            question = f"What is {number % 12} + 1?"
        last_step = hostile_text if number % 7 == 0 else texts[1]
        candidates.append(
            candidate(
                f"t{number:03}",
                texts[number % 3],
                last_step,
                problem=problem,
                question=question,
                outcome=(C, I, U)[number % 3],
                first_error=(NO_ERROR, 0, 1, None)[number % 4],
                values=((0.5, number / 240), (None, 0.25), (None, None))[number % 7 % 3],
                confidence=(0.95, 0.4, None)[number % 11 % 3],
            )
        )
    return candidates


def test_filter_is_frozen_dataclass(built: Filter) -> None:
    assert dataclasses.is_dataclass(built)
    assert isinstance(getattr(built, "version", None), int)
    assert fingerprint(built) == fingerprint(built)
    with pytest.raises(dataclasses.FrozenInstanceError):
        built.version = 2


def test_dropped_traces_have_reasons(built: Filter) -> None:
    candidates = everything()
    dropped = drops(built, candidates)
    assert dropped
    assert dropped.keys() < {candidate.trace.trace_id for candidate in candidates}
    assert all(reason and "\n" not in reason for reason in dropped.values())


def test_order_of_candidates_is_irrelevant(built: Filter) -> None:
    candidates = everything()
    dropped = drops(built, candidates)
    # Fixed seeds, so that a failure can be repeated.
    for seed in range(3):
        random.Random(seed).shuffle(candidates)
        assert drops(built, candidates) == dropped


def test_equal_filters_drop_the_same(
    built: Filter, required: Mapping[str, Mapping[str, Any]]
) -> None:
    name = type(built).__module__.rpartition(".")[2]
    again = build("filters", {"use": name, **required.get(name, {})})
    assert drops(again, everything()) == drops(built, everything())
    if isinstance(built, HasExternalInput):
        assert again.digest() == built.digest()


def test_no_candidates_drop_nothing(built: Filter) -> None:
    assert drops(built, []) == {}


def test_empty_trace_does_not_fail(built: Filter) -> None:
    blank = candidate("t0", first_error=None, confidence=None, outcome=U)
    empty = blank._replace(
        trace=dataclasses.replace(blank.trace, steps=()),
        label=dataclasses.replace(blank.label, steps=()),
    )
    assert drops(built, [empty]).keys() <= {"t0"}


def test_memory_holds_few_traces(built: Filter) -> None:
    max_alive = 0

    def stream() -> Iterator[Candidate]:
        nonlocal max_alive
        for number in range(200):
            yield candidate(
                f"streamed {number % 150}",
                "1 + 1 = 2\n",
                "2 + 2 = 4",
                problem=f"p{number % 50}",
                values=(0.5, None),
            )
            if number % 50 == 49:
                max_alive = max(max_alive, count_streamed())

    # `gc.get_objects` leaves out frozen objects. Without this, every count would search the objects
    # of all imported modules.
    gc.freeze()
    try:
        built.drop(stream)
    finally:
        gc.unfreeze()
    assert 1 <= max_alive <= 3


def count_streamed() -> int:
    """Return the number of streamed traces in memory."""
    traces = [item for item in gc.get_objects() if type(item) is Trace]
    return len([trace for trace in traces if trace.trace_id.startswith("streamed")])


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
            "problems.files has no parameter 'path'; "
            "it has: shape, fields, domain, license, limit, paths",
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
def test_invalid_parameter_is_rejected(table: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError) as refusal:
        build("filters", table)
    assert message in str(refusal.value)


@pytest.mark.parametrize("script", ["Klingon", "Latin}", "", "Latin]|[^"])
def test_unknown_script_is_rejected(script: str) -> None:
    with pytest.raises(ConfigError, match=r"no script of Unicode is called"):
        build("filters", {"use": "language", "scripts": [script]})
