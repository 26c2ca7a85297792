"""Gold is what a method says or what a file says of the traces that are there."""

import json
from pathlib import Path

import pytest

from pipelines.scoring.gold import first_errors
from stepmark.errors import ConfigError, InputError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, annotations
from tests.pipelines.test_summary import SAID, annotated, filled


def test_a_method_is_gold_where_it_is_decided(tmp_path: Path) -> None:
    dataset = filled(tmp_path)
    dataset.write_part(
        annotations("oracle"),
        0,
        [annotated(name, "oracle", None if name > "t1" else 1) for name in SAID],
        "f",
    )
    assert first_errors(dataset, "oracle") == (
        dict.fromkeys([name for name in SAID if name <= "t1"], 1),
        (),
    )


@pytest.mark.parametrize("gold", ["human", "judge_2"])
def test_a_method_that_is_not_there_is_refused(tmp_path: Path, gold: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        first_errors(filled(tmp_path), gold)
    assert (
        str(refusal.value)
        == f"{tmp_path} has no annotations of '{gold}' to score against; it has: first, oracle, second"
    )


@pytest.mark.parametrize("gold", ["", "x'; DROP VIEW traces; --"])
def test_what_is_neither_a_method_nor_a_file_is_refused(tmp_path: Path, gold: str) -> None:
    with pytest.raises(InputError):
        first_errors(filled(tmp_path), gold)


def test_rows_of_a_file_are_taken_or_set_aside(tmp_path: Path) -> None:
    dataset = filled(tmp_path / "dataset")
    steps = {trace.trace_id: len(trace.steps) for trace in dataset.read(TRACES)}
    one, other, *_ = sorted(steps)
    rows = [
        {"trace_id": one, "first_error": 0},
        {"trace_id": one, "first_error": 0},
        {"trace_id": other, "first_error": steps[other]},
        {"trace_id": other, "first_error": "٠"},
        {"trace_id": other},
        {"trace_id": "nope", "first_error": 0},
        {"trace_id": other, "first_error": -1.0},
    ]
    file = tmp_path / "gold.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)) + "\n{")
    truth, aside = first_errors(Dataset(str(tmp_path / "dataset")), str(file))
    assert truth == {one: 0, other: -1}
    assert [(row.row, row.field) for row in aside] == [
        (2, "trace_id"),
        *((n, "first_error") for n in (3, 4, 5)),
        (6, "trace_id"),
        (8, ""),
    ]
