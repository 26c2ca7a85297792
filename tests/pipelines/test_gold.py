"""Gold first errors come from a method of the dataset or from a file."""

import json
from pathlib import Path

import pytest

from pipelines.scoring.dataset_scores import scores
from pipelines.scoring.gold import first_errors
from stepmark.errors import ConfigError, InputError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, annotations
from tests.columns import column
from tests.pipelines.test_summary import OUTCOMES, annotation_row, example_dataset


def test_undecided_annotations_are_no_gold(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    rows = [annotation_row(name, "oracle", None if name > "t1" else 1) for name in OUTCOMES]
    dataset.write_part(annotations("oracle"), 0, rows, "f")
    gold, rejected = first_errors(dataset, "oracle")
    assert gold == {"t0": 1, "t1": 1}
    assert rejected == ()


def test_people_are_gold_together(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path)
    labels: dict[str, dict[str, int | None]] = {
        "human_ann": {"t0": 1, "t1": 0, "t2": 1, "t3": None},
        "human_bob": {"t0": 1, "t1": 1, "t2": 0, "t3": 0},
        "human_adjudicated": {"t1": -1, "t2": None},
    }
    for method, rows in labels.items():
        added = [annotation_row(name, method, first_error) for name, first_error in rows.items()]
        dataset.write_part(annotations(method), 0, added, "f")
    # One rater who decides is enough; what is adjudicated as undecided is not gold.
    assert first_errors(dataset, "human")[0] == {"t0": 1, "t1": -1, "t3": 0}
    assert first_errors(dataset, "human_bob")[0] == labels["human_bob"]
    imported = [annotation_row(name, "human", 0) for name in ("t0", "t1")]
    dataset.write_part(annotations("human"), 0, imported, "f")
    assert first_errors(dataset, "human")[0] == {"t0": 0, "t1": -1, "t3": 0}
    scored = {method for _, method in scores(dataset, {"t0": 0}, excluded_method="human")}
    assert not scored & {"human", *labels}
    scored = {method for _, method in scores(dataset, {"t0": 0}, excluded_method="human_bob")}
    assert "human_ann" in scored


@pytest.mark.parametrize(
    ("method", "gold"), [("oracle", "oracle"), ("human_ann", "human_ann"), ("human_ann", "human")]
)
def test_undecided_gold_is_an_error(tmp_path: Path, method: str, gold: str) -> None:
    dataset = example_dataset(tmp_path)
    rows = [annotation_row(name, method, None) for name in OUTCOMES]
    dataset.write_part(annotations(method), 0, rows, "f")
    with pytest.raises(ConfigError, match=f"'{gold}' decides the first error of no trace"):
        first_errors(dataset, gold)


@pytest.mark.parametrize("gold", ["human", "judge_2"])
def test_missing_method_is_rejected(tmp_path: Path, gold: str) -> None:
    with pytest.raises(ConfigError) as caught:
        first_errors(example_dataset(tmp_path), gold)
    assert str(caught.value) == (
        f"{tmp_path} has no annotations of '{gold}' to score against; it has: first, oracle, second"
    )


@pytest.mark.parametrize("gold", ["", "x'; DROP VIEW traces; --"])
def test_invalid_gold_name_is_rejected(tmp_path: Path, gold: str) -> None:
    with pytest.raises(InputError):
        first_errors(example_dataset(tmp_path), gold)


def test_unusable_rows_are_rejected(tmp_path: Path) -> None:
    dataset = example_dataset(tmp_path / "dataset")
    step_counts = {trace.trace_id: len(trace.steps) for trace in dataset.read(TRACES)}
    first, second, *_ = sorted(step_counts)
    rows = [
        {"trace_id": first, "first_error": 0},
        {"trace_id": first, "first_error": 0},
        {"trace_id": second, "first_error": step_counts[second]},
        {"trace_id": second, "first_error": "٠"},
        {"trace_id": second},
        {"trace_id": "nope", "first_error": 0},
        {"trace_id": second, "first_error": -1.0},
    ]
    file = tmp_path / "gold.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)) + "\n{")
    gold, rejected = first_errors(Dataset(str(tmp_path / "dataset")), str(file))
    assert gold == {first: 0, second: -1}
    assert column(rejected, "row", "field") == [
        (2, "trace_id"),
        (3, "first_error"),
        (4, "first_error"),
        (5, "first_error"),
        (6, "trace_id"),
        (8, ""),
    ]
