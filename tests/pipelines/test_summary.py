"""The summary of a run and the scores of methods reflect what a dataset contains."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest
from rich.console import Console
from rich.table import Table

from pipelines.run.config import Prices
from pipelines.run.meter import Meter
from pipelines.run.summary import failed_methods, summary_rows
from pipelines.scoring.dataset_scores import UNKNOWN_LABELER, scores
from pipelines.scoring.gold import first_errors
from pipelines.scoring.metrics import Score
from pipelines.scoring.tables import reliability_table, score_table
from stepmark import plugins
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
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    REJECTED,
    TRACES,
    annotations,
    critiques,
    discovered,
)
from storage.formats.base import HasRowCount
from tests.columns import column
from tests.pipelines.rows import counts_by_name
from tests.storage.samples import CRITIQUE, DISCOVERED, PROBLEM, TRACE

C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741
U = Verdict.UNKNOWN

# The outcome of each trace, and the first errors by gold, by two methods, and of the kept labels.
OUTCOMES: Mapping[str, Verdict] = {"t0": C, "t1": I, "t2": I, "t3": C, "t4": U}
GOLD = {"t0": NO_ERROR, "t1": 1, "t2": 2, "t3": 0, "t4": NO_ERROR}
FIRST: Mapping[str, int | None] = {"t0": NO_ERROR, "t1": 1, "t2": 1, "t3": 0, "t4": None}
SECOND: Mapping[str, int | None] = {"t0": NO_ERROR, "t1": 1, "t2": 2, "t3": None, "t4": 0}
KEPT: Mapping[str, int | None] = {"t0": NO_ERROR, "t1": 1, "t2": None, "t3": None, "t4": None}
# The same for every annotation, so that sums are five times these numbers.
COST = Cost(rollouts=2, prompt_tokens=100, generated_tokens=10, seconds=1.0)


def annotation_row(
    trace_id: str, method: str, first_error: int | None, cost: Cost = COST
) -> Annotation:
    """Return an annotation of three steps; None means that the method is undecided."""
    verdicts = [U, U, U] if first_error is None else [C, C, C]
    if first_error is not None and first_error != NO_ERROR:
        verdicts[first_error] = I
    return Annotation(
        trace_id=trace_id,
        method=method,
        first_error=first_error,
        steps=tuple(StepAnnotation(verdict=verdict) for verdict in verdicts),
        cost=cost,
    )


# The two kept labels have no verdicts. One of their traces has a right answer, the other has not.
ROWS_WITHOUT_VERDICTS = {
    "inspect_scout": 2,
    "kto": 2,
    "outcomes": 2,
    "pairs": 1,
    "potato": 2,
    "sft": 1,
}


def label_row(trace_id: str, first_error: int | None) -> Label:
    """Return a label of three steps, which is kept if there is a first error or NO_ERROR."""
    return Label(
        trace_id=trace_id,
        first_error=first_error,
        steps=(StepLabel(),) * 3,
        confidence=None,
        kept=first_error is not None,
        reason="",
        sources=(),
        fingerprint="f",
    )


def trace_rows(**models: str) -> Sequence[Trace]:
    """Return the traces, each by the given model or that of the sample."""
    rows = list[Trace]()
    for trace_id, outcome in OUTCOMES.items():
        model = models.get(trace_id, TRACE.model)
        rows.append(
            replace(
                TRACE,
                trace_id=trace_id,
                steps=(*TRACE.steps[:-1], f"That is {trace_id}."),
                outcome=outcome,
                model=model,
            )
        )
    return rows


def write_annotations(
    dataset: Dataset, method: str, first_errors: Mapping[str, int | None], cost: Cost = COST
) -> None:
    rows = [annotation_row(name, method, error, cost) for name, error in first_errors.items()]
    dataset.write_part(annotations(method), 0, rows, "f")


def example_dataset(folder: Path, gold: str = "oracle") -> Dataset:
    """Write a dataset of five traces with gold labels, two methods and labels."""
    dataset = Dataset(str(folder))
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    dataset.write_part(TRACES, 0, trace_rows(), "f")
    write_annotations(dataset, gold, GOLD, Cost())
    write_annotations(dataset, "first", FIRST)
    write_annotations(dataset, "second", SECOND)
    dataset.write_part(LABELS, 0, [label_row(name, error) for name, error in KEPT.items()], "f")
    return dataset


def undecided() -> Mapping[str, int | None]:
    return dict.fromkeys(OUTCOMES)


def summary(
    dataset: Dataset, prices: Prices | None = None, meter: Meter | None = None
) -> Mapping[str, str]:
    rows = summary_rows(dataset, meter or Meter(), prices or Prices())
    return counts_by_name(rows)


def test_summary_describes_the_dataset(tmp_path: Path) -> None:
    # Two methods annotate five traces each; the gold costs nothing.
    read = 1000 + 5 * TRACE.prompt_tokens
    written = 100 + 5 * TRACE.generated_tokens
    assert summary(example_dataset(tmp_path)) == {
        "this run": ANY,
        "problems": "1",
        "traces": "5: 2 correct, 2 incorrect, 1 unknown",
        "unknown outcomes": "1: equal",
        "first": "3 first errors, 1 without error, 1 undecided; 10 rollouts, 50 tokens",
        "second": "3 first errors, 1 without error, 1 undecided; 10 rollouts, 50 tokens",
        # t0, t1 and t2 are decided by both methods, which differ on t2.
        "agreement of two methods": "66.7% of their common traces",
        "labels kept": "2 of 5 (40.0%), 2 distinct: 1 with a first error, 1 without",
        # The labels of this sample have kept verdicts on no step.
        "trainable rows": "0 of 5 in trl (3 × its label is not kept, 2 × a step is undecided)",
        "trainable rows per format": ", ".join(
            f"{name} {ROWS_WITHOUT_VERDICTS.get(name, 0)}" for name in counted_formats()
        ),
        "tokens": f"{read} read, {written} written",
    }


def counted_formats() -> list[str]:
    """Return the formats whose rows a summary counts."""
    names = list[str]()
    for name in plugins.available("storage.formats"):
        if isinstance(plugins.load("storage.formats", name), HasRowCount):
            names.append(name)
    return names


def test_copies_are_counted_once(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    # All five traces have one text, of which the labels keep two copies.
    copies = [replace(trace, steps=TRACE.steps) for trace in trace_rows()]
    dataset.write_part(TRACES, 0, copies, "f")
    assert summary(dataset)["labels kept"] == (
        "2 of 5 (40.0%), 1 distinct: 1 with a first error, 1 without"
    )
    scored = scores(dataset, first_errors(dataset, "oracle")[0], excluded_method="oracle")
    labels = scored["", UNKNOWN_LABELER]
    assert (labels.decided, labels.distinct, labels.exact_distinct) == (2, 1, 1.0)


@pytest.mark.parametrize("gold", ["oracle", "human", "human_ann"])
def test_agreement_excludes_gold(tmp_path: Path, gold: str) -> None:
    agreement = summary(example_dataset(tmp_path, gold))["agreement of two methods"]
    assert agreement == "66.7% of their common traces"


def test_summary_counts_failures(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    failed = [replace(annotation_row(name, "first", None), error="KeyError: 1") for name in GOLD]
    dataset.write_part(annotations("first"), 0, failed, "f")
    rejected = Rejected(file="a", row=1, field="question", reason="empty")
    dataset.write_part(REJECTED, 0, [rejected] * 2, "f")
    rows = summary(dataset)
    assert rows["rows set aside"] == "2"
    assert rows["first"] == (
        "0 first errors, 0 without error, 5 undecided, 5 failed; 10 rollouts, 50 tokens"
    )


def test_unreadable_replies_are_counted(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    assert "unreadable replies of judge" not in summary(dataset)
    unread = replace(CRITIQUE, verdicts=(U, U, U), text="Well\x1b, \n I\tcannot say. " * 9)
    cut = replace(unread, finish_reason="length", vote=0, text="Step 1")
    dataset.write_part(critiques("judge"), 0, [CRITIQUE, cut, unread], "f")
    excerpt = r"'Well\x1b, I cannot say. Well\x1b, I cannot say. Well\x1b, I cannot sa'"
    assert summary(dataset)["unreadable replies of judge"] == (
        f"2 of 3 (66.7%), 1 of them not complete; the first: {excerpt}"
    )


def test_unusual_endings_are_counted(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    rows = [*trace_rows()]
    rows[0] = replace(rows[0], steps=(), finish_reason="content_filter")
    rows[1] = replace(rows[1], finish_reason="ran_dry")
    dataset.write_part(TRACES, 0, rows, "f")
    dataset.write_part(critiques("judge"), 0, [replace(CRITIQUE, finish_reason="ran_dry")], "f")
    counted = summary(dataset)
    assert counted["traces without text"] == "1"
    assert counted["unusual finish reasons"] == (
        "2 ran_dry, 1 content_filter: their outcomes and verdicts are unknown"
    )


def test_discovered_traces_are_counted_separately(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    before = summary(dataset)
    rows = [
        replace(DISCOVERED, trace_id="d0", outcome=I),
        replace(DISCOVERED, trace_id="d1", outcome=C),
        replace(DISCOVERED, trace_id="d2", outcome=I),
    ]
    dataset.write_part(discovered("tree_search"), 0, rows, "f")
    after = summary(dataset)
    assert after.keys() - before.keys() == {"discovered by tree_search"}
    assert after["discovered by tree_search"] == "3: 1 correct, 2 incorrect"
    assert after["traces"] == before["traces"]
    assert after["tokens"] == before["tokens"]


def test_dropped_labels_are_counted_by_filter(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    # Only names of filters count. The last three reasons belong to no filter.
    reasons = [
        "duplicates: the same as trace t9",
        "duplicates: the same as trace t8",
        "balance: 1 of 2",
        "disagreement: a 1, b 2",
        "",
        "x: y",
    ]
    rows = list[Label]()
    for number, reason in enumerate(reasons):
        rows.append(replace(label_row(f"t{number}", 1), kept=False, reason=reason))
    dataset.write_part(LABELS, 0, rows, "f")
    dropped = {what: count for what, count in summary(dataset).items() if "dropped" in what}
    assert dropped == {"dropped by duplicates": "2", "dropped by balance": "1"}


def test_summary_counts_flawed_positives(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    # t0 has a correct answer; the label of t3 is not kept; the answer of t1 is incorrect.
    rows = [label_row("t0", 2), replace(label_row("t3", 0), kept=False), label_row("t1", 0)]
    dataset.write_part(LABELS, 0, rows, "f")
    assert summary(dataset)["flawed positives"] == (
        "1 of the kept labels: a correct answer with an incorrect step"
    )


def test_empty_tables_have_no_rows(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    rows = summary(dataset)
    assert rows.keys() == {"problems", "traces", "tokens", "this run"}
    assert rows["traces"] == "0: "
    assert rows["tokens"] == "0 read, 0 written"


def test_agreement_needs_common_decisions(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    write_annotations(dataset, "second", undecided())
    assert "agreement of two methods" not in summary(dataset)


def test_cost_follows_from_prices(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    read = 1000 + 5 * TRACE.prompt_tokens
    written = 100 + 5 * TRACE.generated_tokens
    cost = summary(dataset, Prices(prompt=2_000.0, generated=50_000.0))["cost"]
    assert cost == f"{read * 0.002 + written * 0.05:.2f}"


def test_this_run_shows_the_meter(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    meter = Meter()
    meter.generated_tokens = 70
    this_run = summary(dataset, meter=meter)["this run"]
    assert " s, 70 tokens written, " in this_run
    assert this_run.endswith("/s")
    # 50 of 200 prompt tokens are cached.
    meter.add_rollouts(Cost(aborted=5))
    meter.prompt_tokens = 200
    meter.cached_tokens = 50
    this_run = summary(dataset, meter=meter)["this run"]
    assert this_run.endswith("/s, 25% of prompts cached, 5 completions aborted")
    meter.prompt_tokens = 0
    this_run = summary(dataset, meter=meter)["this run"]
    assert this_run.endswith("/s, 5 completions aborted")


def scores_by_method(dataset: Dataset, gold: str) -> Mapping[str, Score]:
    scored = scores(dataset, first_errors(dataset, gold)[0], excluded_method=gold)
    return {method: score for (_, method), score in scored.items()}


@pytest.mark.parametrize("gold", ["oracle", "human"])
def test_methods_and_labels_are_scored(tmp_path: Path, gold: str) -> None:
    scored = scores_by_method(example_dataset(tmp_path, gold), gold)
    assert tuple(scored) == ("first", "second", UNKNOWN_LABELER)
    first, second, labels = scored.values()
    assert (first.traces, first.decided, first.exact) == (5, 4, 3 / 4)
    assert (first.accuracy_wrong, first.accuracy_right) == (2 / 3, 1 / 2)
    assert first.f1 == 2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2)
    assert (first.flawed_positives, first.flawed_found) == (1, 1)
    assert (second.accuracy_wrong, second.accuracy_right) == (2 / 3, 1 / 2)
    assert second.flawed_found == 0
    assert (labels.decided, labels.exact) == (2, 1.0)
    assert (labels.accuracy_wrong, labels.accuracy_right) == (1 / 3, 1 / 2)
    # Two of five traces are kept. Each method is equally sure of the four traces that it decides,
    # and correct on three of them.
    assert column(scored.values(), "exact_at_share") == [3 / 4, 3 / 4, 1.0]


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
        ({"run.toml": "label = 1"}, UNKNOWN_LABELER),
        ({"run.toml": "label = ["}, UNKNOWN_LABELER),
    ],
)
def test_labels_are_named_after_labeler(
    tmp_path: Path, files: Mapping[str, str], name: str
) -> None:
    dataset = example_dataset(tmp_path)
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    assert list(scores_by_method(dataset, "oracle"))[-1] == name


def test_method_may_have_labelers_name(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    (tmp_path / "run.toml").write_text('[label]\nuse = "fusion"')
    write_annotations(dataset, "fusion", undecided())
    scored = scores_by_method(dataset, "oracle")
    assert list(scored) == ["first", "fusion", "second", "labels (fusion)"]
    assert scored["first"].traces == 5
    assert scored["labels (fusion)"].traces == 5


# Two traces of one model and three of another.
TWO_MODELS = {"t0": "a", "t1": "a", "t2": "b", "t3": "b", "t4": "b"}


def test_equal_share_is_per_part(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    dataset.write_part(TRACES, 0, trace_rows(**TWO_MODELS), "f")
    gold = first_errors(dataset, "oracle")[0]
    scored = scores(dataset, gold, excluded_method="oracle", by="model")
    assert scored["a", "first"].exact_at_share == 1.0
    assert scored["b", "first"].exact_at_share is None


def test_undecided_gold_is_excluded(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    write_annotations(dataset, "oracle", {**undecided(), "t0": 1, "t1": 1})
    scored = scores_by_method(dataset, "oracle")
    assert set(column(scored.values(), "traces")) == {2}


def test_any_method_can_be_gold(tmp_path: Path) -> None:
    scored = scores_by_method(example_dataset(tmp_path), "first")
    assert tuple(scored) == ("oracle", "second", UNKNOWN_LABELER)
    assert scored["oracle"].exact == 3 / 4


def printed_cells(table: Table) -> list[list[str]]:
    """Return the cells of a table as it is printed."""
    output = io.StringIO()
    Console(width=200, file=output).print(table)
    rows = list[list[str]]()
    for line in output.getvalue().splitlines():
        if "│" in line:
            rows.append([cell.strip() for cell in line.split("│")[1:-1]])
    return rows


def test_score_table_shows_percentages(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    write_annotations(dataset, "second", undecided())
    scored = scores(dataset, first_errors(dataset, "oracle")[0], excluded_method="oracle")
    cells = {row[0]: row[1:] for row in printed_cells(score_table(scored, "title"))}
    assert cells == {
        UNKNOWN_LABELER: [
            "5",
            "2",
            "100.0",
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
        "second": [
            "5",
            "0",
            "–",
            "0",
            "–",
            "–",
            "0.0",
            "0.0",
            "0.0",
            "–",
            "0.0",
            "–",
            "0/1",
            "–",
            "10",
        ],
    }


def test_scores_are_split_by_column(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    dataset.write_part(TRACES, 0, trace_rows(**TWO_MODELS), "f")
    gold = first_errors(dataset, "oracle")[0]
    by_model = scores(dataset, gold, excluded_method="oracle", by="model")
    assert by_model["a", "first"].traces == 2
    assert by_model["b", "first"].traces == 3
    assert {model for model, method in by_model if method == "first"} == {"a", "b"}
    assert {domain for domain, _ in scores(dataset, gold, by="domain")} == {PROBLEM.domain}
    assert {source for source, _ in scores(dataset, gold, by="source")} == {PROBLEM.source}


def test_reliability_table_contains_bars(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    # One of five traces has its first error at step 1, so the accuracy of this bin is 20%.
    rows = [replace(annotation_row(name, "first", 1), confidence=0.75) for name in OUTCOMES]
    dataset.write_part(annotations("first"), 0, rows, "f")
    scored = scores(dataset, first_errors(dataset, "oracle")[0], excluded_method="oracle")
    cells = printed_cells(reliability_table(scored))
    (row,) = [row for row in cells if "70–80" in row]
    bar = "█" * 8 + "·" * 22 + "|" + "·" * 9
    assert row == ["first", "70–80", "5", "75.0", "20.0", bar]


def test_failures_of_methods_are_counted(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    failed = ["busy", "out of memory\nhere", "busy", None, None]
    rows = list[Annotation]()
    for (trace_id, first_error), error in zip(FIRST.items(), failed, strict=True):
        rows.append(replace(annotation_row(trace_id, "first", first_error), error=error))
    dataset.write_part(annotations("first"), 0, rows, "f")
    assert summary(dataset)["failures of first"] == "most often (2): busy"
    assert failed_methods(dataset, ["first"], 0.5) == {"first": 0.6}
    assert failed_methods(dataset, ["first"], 0.6) == {}
    # The run file no longer names the method that failed.
    assert failed_methods(dataset, ["second"], 0.5) == {}
