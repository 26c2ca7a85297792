"""What a run and a score end with is what the dataset holds."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest
from rich.console import Console

from pipelines.run.config import Prices
from pipelines.run.meter import Meter
from pipelines.run.summary import summary_rows
from pipelines.scoring.dataset_scores import scores
from pipelines.scoring.gold import first_errors
from pipelines.scoring.metrics import Score
from pipelines.scoring.tables import reliability_table, score_table
from stepmark.records import (
    NO_ERROR,
    Annotation,
    Cost,
    Label,
    Rejected,
    StepAnnotation,
    StepLabel,
    Trace,
    Verdict,
)
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, REJECTED, TRACES, annotations, discovered
from tests.storage.samples import DISCOVERED, PROBLEM, TRACE

C, I, U = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNKNOWN  # noqa: E741

# By trace: its outcome, and the first errors that gold, a method, another, and the label (None: not kept) name.
SAID: Mapping[str, tuple[Verdict, int, int | None, int | None, int | None]] = {
    "t0": (C, NO_ERROR, NO_ERROR, NO_ERROR, NO_ERROR),
    "t1": (I, 1, 1, 1, 1),
    "t2": (I, 2, 1, 2, None),
    "t3": (C, 0, 0, None, None),
    "t4": (U, NO_ERROR, None, 0, None),
}
NAMELESS = "labels (unknown labeler)"
COST = Cost(rollouts=2, prompt_tokens=100, generated_tokens=10, seconds=1.0)


def annotated(trace_id: str, method: str, first_error: int | None, cost: Cost = COST) -> Annotation:
    verdicts = [
        I if index == first_error else C if first_error is not None else U for index in range(3)
    ]
    steps = tuple(StepAnnotation(verdict=verdict) for verdict in verdicts)
    return Annotation(
        trace_id=trace_id, method=method, first_error=first_error, steps=steps, cost=cost
    )


def labelled(trace_id: str, first_error: int | None) -> Label:
    steps = (StepLabel(),) * 3
    kept = first_error is not None
    return Label(
        trace_id=trace_id,
        first_error=first_error,
        steps=steps,
        confidence=None,
        kept=kept,
        reason="",
        sources=(),
        fingerprint="f",
    )


def traces() -> Sequence[Trace]:
    return [replace(TRACE, trace_id=name, outcome=outcome) for name, (outcome, *_) in SAID.items()]


def filled(folder: Path, gold: str = "oracle") -> Dataset:
    dataset = Dataset(str(folder))
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    dataset.write_part(TRACES, 0, traces(), "f")
    columns = list(zip(*SAID.values(), strict=True))[1:4]
    for method, column, cost in zip(
        (gold, "first", "second"), columns, (Cost(), COST, COST), strict=True
    ):
        rows = [
            annotated(name, method, first_error, cost)
            for name, first_error in zip(SAID, column, strict=True)
        ]
        dataset.write_part(annotations(method), 0, rows, "f")
    dataset.write_part(
        LABELS, 0, [labelled(name, label) for name, (*_, label) in SAID.items()], "f"
    )
    return dataset


def told(
    dataset: Dataset, prices: Prices | None = None, meter: Meter | None = None
) -> Mapping[str, str]:
    return {
        row["what"]: row["count"]
        for row in summary_rows(dataset, meter or Meter(), prices or Prices())
    }


def test_the_summary_says_what_the_dataset_holds(tmp_path: Path) -> None:
    assert told(filled(tmp_path)) == {
        "this run": ANY,
        "problems": "1",
        "traces": "5: 2 correct, 2 incorrect, 1 unknown",
        "first": "3 first errors, 1 without error, 1 undecided; 10 rollouts, 50 tokens",
        "second": "3 first errors, 1 without error, 1 undecided; 10 rollouts, 50 tokens",
        "agreement of two methods": "66.7% of their common traces",
        "labels kept": "2 of 5 (40.0%): 1 with a first error, 1 without",
        "tokens": f"{1000 + 5 * TRACE.prompt_tokens} read, {100 + 5 * TRACE.generated_tokens} written",
    }


@pytest.mark.parametrize("gold", ["oracle", "human"])
def test_agreement_is_that_of_methods_and_not_with_gold(tmp_path: Path, gold: str) -> None:
    assert (
        told(filled(tmp_path, gold))["agreement of two methods"] == "66.7% of their common traces"
    )


def test_failures_and_rows_set_aside_are_told(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    rows = [replace(annotated(name, "first", None), error="KeyError: 1") for name in SAID]
    dataset.write_part(annotations("first"), 0, rows, "f")
    dataset.write_part(
        REJECTED, 0, [Rejected(file="a", row=1, field="question", reason="empty")] * 2, "f"
    )
    found = told(dataset)
    assert found["rows set aside"] == "2"
    assert (
        found["first"]
        == "0 first errors, 0 without error, 5 undecided, 5 failed; 10 rollouts, 50 tokens"
    )


def test_discovered_traces_are_told_apart_and_paid_once(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    before = told(dataset)
    rows = [
        replace(DISCOVERED, trace_id=f"d{number}", outcome=outcome)
        for number, outcome in enumerate((I, C, I))
    ]
    dataset.write_part(discovered("tree_search"), 0, rows, "f")
    after = told(dataset)
    assert after.keys() - before.keys() == {"discovered by tree_search"}
    assert after["discovered by tree_search"] == "3: 1 correct, 2 incorrect"
    assert {what: after[what] for what in ("traces", "tokens")} == {
        what: before[what] for what in ("traces", "tokens")
    }


def test_what_filters_dropped_is_told_by_filter(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    reasons = [
        "duplicates: the same as trace t9",
        "duplicates: the same as trace t8",
        "balance: 1 of 2",
        "disagreement: a 1, b 2",
        "",
        "x: y",
    ]
    rows = [
        replace(labelled(f"t{number}", 1), kept=False, reason=reason)
        for number, reason in enumerate(reasons)
    ]
    dataset.write_part(LABELS, 0, rows, "f")
    found = {what: count for what, count in told(dataset).items() if what.startswith("dropped")}
    assert found == {"dropped by duplicates": "2", "dropped by balance": "1"}


def test_right_answers_that_are_kept_with_a_wrong_step_are_told(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    flawed = [labelled("t0", 2), replace(labelled("t3", 0), kept=False), labelled("t1", 0)]
    dataset.write_part(LABELS, 0, flawed, "f")
    assert (
        told(dataset)["flawed positives"]
        == "1 of the kept labels: a correct answer with an incorrect step"
    )


def test_what_is_not_there_is_not_told(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    rows = told(dataset)
    assert rows.keys() == {"problems", "traces", "tokens", "this run"}
    assert (rows["traces"], rows["tokens"]) == ("0: ", "0 read, 0 written")


def test_two_methods_without_a_common_decision_have_no_agreement(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    dataset.write_part(
        annotations("second"), 0, [annotated(name, "second", None) for name in SAID], "f"
    )
    assert "agreement of two methods" not in told(dataset)


def test_tokens_have_a_price(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    read, written = 1000 + 5 * TRACE.prompt_tokens, 100 + 5 * TRACE.generated_tokens
    cost = told(dataset, Prices(prompt=2_000.0, generated=50_000.0))["cost"]
    assert cost == f"{read * 0.002 + written * 0.05:.2f}"


def test_this_run_is_what_the_meter_counted(tmp_path: Path) -> None:
    dataset, meter = filled(tmp_path), Meter()
    meter.add_cost(Cost(rollouts=3, generated_tokens=70))
    this_run = told(dataset, meter=meter)["this run"]
    assert " s, 70 tokens written, " in this_run
    assert this_run.endswith("/s")
    meter.add_cost(Cost(aborted=5, prompt_tokens=200, cached_tokens=50))
    assert told(dataset, meter=meter)["this run"].endswith(
        "/s, 25% of prompts cached, 5 completions aborted"
    )


def scored(dataset: Dataset, gold: str) -> Mapping[str, Score]:
    return {
        method: found
        for (_, method), found in scores(
            dataset, first_errors(dataset, gold)[0], excluded_method=gold
        ).items()
    }


@pytest.mark.parametrize("gold", ["oracle", "human"])
def test_scores_are_those_of_every_method_and_of_what_is_kept(tmp_path: Path, gold: str) -> None:
    found = scored(filled(tmp_path, gold), gold)
    assert tuple(found) == ("first", "second", NAMELESS)
    first, second, labels = found.values()
    assert (first.traces, first.decided, first.exact) == (5, 4, 3 / 4)
    assert (first.accuracy_wrong, first.accuracy_right, first.f1) == (
        2 / 3,
        1 / 2,
        2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2),
    )
    assert (first.flawed_positives, first.flawed_found) == (1, 1)
    assert (second.accuracy_wrong, second.accuracy_right, second.flawed_found) == (2 / 3, 1 / 2, 0)
    assert (labels.decided, labels.exact, labels.accuracy_wrong, labels.accuracy_right) == (
        2,
        1.0,
        1 / 3,
        1 / 2,
    )
    # Of five traces two are kept; each method, equally sure of all four that it decides, is right in three of them.
    assert [score.exact_at_share for score in found.values()] == [3 / 4, 3 / 4, 1.0]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"run.toml": '[label]\nuse = "fusion"'}, "labels (fusion)"),
        (
            {"run.toml": '[label]\nuse = "consensus"', "label.toml": '[label]\nuse = "fusion"'},
            "labels (fusion)",
        ),
        (
            {"run.toml": '[label]\nuse = "consensus"', "label.toml": "seed = 1"},
            "labels (consensus)",
        ),
        ({"run.toml": "label = 1"}, NAMELESS),
        ({"run.toml": "label = ["}, NAMELESS),
    ],
)
def test_the_labels_are_named_after_who_made_them(
    tmp_path: Path, files: Mapping[str, str], name: str
) -> None:
    dataset = filled(tmp_path)
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    assert list(scored(dataset, "oracle"))[-1] == name


def test_a_method_called_as_a_labeler_is_another_row(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    (tmp_path / "run.toml").write_text('[label]\nuse = "fusion"')
    dataset.write_part(
        annotations("fusion"), 0, [annotated(name, "fusion", None) for name in SAID], "f"
    )
    assert [(name, score.traces) for name, score in scored(dataset, "oracle").items()][::3] == [
        ("first", 5),
        ("labels (fusion)", 5),
    ]


def test_equal_shares_are_those_of_each_part(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    dataset.write_part(
        TRACES,
        0,
        [replace(trace, model="a" if trace.trace_id < "t2" else "b") for trace in traces()],
        "f",
    )
    found = scores(
        dataset, first_errors(dataset, "oracle")[0], excluded_method="oracle", by="model"
    )
    assert [found[part, "first"].exact_at_share for part in ("a", "b")] == [1.0, None]


def test_gold_that_is_undecided_is_left_out(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    dataset.write_part(
        annotations("oracle"),
        0,
        [annotated(name, "oracle", None if name > "t1" else 1) for name in SAID],
        "f",
    )
    assert {score.traces for score in scored(dataset, "oracle").values()} == {2}


def test_any_method_can_be_gold(tmp_path: Path) -> None:
    found = scored(filled(tmp_path), "first")
    assert tuple(found) == ("oracle", "second", NAMELESS)
    assert found["oracle"].exact == 3 / 4


def test_the_table_of_scores_shows_shares_in_percent(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    dataset.write_part(
        annotations("second"), 0, [annotated(name, "second", None) for name in SAID], "f"
    )
    printed = io.StringIO()
    found = scores(dataset, first_errors(dataset, "oracle")[0], excluded_method="oracle")
    Console(width=200, file=printed).print(score_table(found, "title"))
    lines = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in printed.getvalue().splitlines()
        if "│" in line
    ]
    assert {line[0]: line[1:] for line in lines} == {
        NAMELESS: [
            "5",
            "2",
            "100.0",
            "100.0",
            "33.3",
            "50.0",
            "40.0",
            "–",
            "0.0",
            "–",
            "0/1",
            "–",
            "0",
        ],
        "first": [
            "5",
            "4",
            "75.0",
            "75.0",
            "66.7",
            "50.0",
            "57.1",
            "66.7",
            "66.7",
            "66.7",
            "1/1",
            "–",
            "10",
        ],
        "second": ["5", "0", "–", "–", "0.0", "0.0", "0.0", "–", "0.0", "–", "0/1", "–", "10"],
    }


def test_scores_are_split_by_what_a_problem_or_a_trace_says(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    dataset.write_part(
        TRACES,
        0,
        [replace(trace, model="a" if trace.trace_id < "t2" else "b") for trace in traces()],
        "f",
    )
    truth = first_errors(dataset, "oracle")[0]
    assert {
        key: found.traces
        for key, found in scores(dataset, truth, excluded_method="oracle", by="model").items()
        if key[1] == "first"
    } == {
        ("a", "first"): 2,
        ("b", "first"): 3,
    }
    assert {part for part, _ in scores(dataset, truth, by="domain")} == {PROBLEM.domain}
    assert {part for part, _ in scores(dataset, truth, by="source")} == {PROBLEM.source}


def test_reliability_is_told_with_a_picture(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    rows = [replace(annotated(name, "first", 1), confidence=0.75) for name in SAID]
    dataset.write_part(annotations("first"), 0, rows, "f")
    printed = io.StringIO()
    Console(width=160, file=printed).print(
        reliability_table(
            scores(dataset, first_errors(dataset, "oracle")[0], excluded_method="oracle")
        )
    )
    (line,) = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in printed.getvalue().splitlines()
        if "70–80" in line
    ]
    assert line == ["first", "70–80", "5", "75.0", "20.0", "█" * 8 + "·" * 22 + "|" + "·" * 9]
