"""The formats for other tools, read back as these tools read them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stepmark.records import Annotation, StepAnnotation, Verdict
from storage.dataset.dataset import Dataset
from storage.formats.base import Example, LeftOut, TraceFormat
from storage.formats.inspect_scout import InspectScout
from storage.formats.potato import Potato
from storage.publishing.export import export
from tests.storage.samples import ANNOTATION, BAD, GOOD, LABEL, PROBLEM, TRACE, UNKNOWN, labelled

# `TRANSCRIPT_SCHEMA_FIELDS` of inspect_scout 0.6.1, without the columns that the format leaves out.
SCOUT_COLUMNS = {
    "transcript_id": str,
    "source_type": str,
    "source_id": str,
    "task_set": str,
    "task_id": str,
    "model": str,
    "model_options": str,
    "score": str,
    "score_explanation": str,
    "success": bool,
    "message_count": int,
    "total_tokens": int,
    "trust_content": bool,
    "messages": str,
}


def example(annotations: Sequence[Annotation] = (), **changes: Any) -> Example:
    base = Example(problem=PROBLEM, trace=TRACE, label=LABEL, annotations=annotations)
    return replace(base, **changes)


def rows(exporter: TraceFormat, item: Example) -> list[Any]:
    return list(exporter.rows(item))


def rewards(row: Mapping[str, Any]) -> list[int | None]:
    """Return the labels of the steps of a row for Potato."""
    return [step["reward"] for step in row["steps"]]


def test_scout_reads_the_transcripts(on_disk: Dataset, tmp_path: Path) -> None:
    export(on_disk, InspectScout(), str(tmp_path / "out"))
    (file,) = (tmp_path / "out" / "data").iterdir()
    first, second = pq.read_table(file).to_pylist()
    for column, kind in SCOUT_COLUMNS.items():
        assert isinstance(first[column], kind), column
    assert (first["transcript_id"], first["task_id"]) == ("t0", "p0")
    assert (first["score"], first["success"], second["score"]) == ("-1", True, "1")
    assert first["trust_content"] is False
    assert json.loads(first["model_options"])["temperature"] == 0.7
    assert json.loads(first["first_errors"]) == {"judge": None}
    question, *steps = json.loads(first["messages"])
    assert first["message_count"] == 1 + len(steps)
    assert (question["role"], question["content"]) == ("user", PROBLEM.question)
    assert [step["role"] for step in steps] == ["assistant"] * 3
    assert [step["content"] for step in steps] == [step.strip() for step in TRACE.steps]
    assert steps[0]["metadata"] == {
        "step": 0,
        "label": "correct",
        "value": 1.0,
        "verdicts": {"judge": "correct: because"},
    }
    verdicts = [step["metadata"]["verdicts"]["judge"] for step in steps[1:]]
    assert verdicts == ["incorrect", "unknown"]
    ids = [message["id"] for message in json.loads(first["messages"])]
    assert len(set(ids)) == len(ids)


def test_scout_shows_failed_methods() -> None:
    failed = replace(ANNOTATION, steps=())
    trace = replace(TRACE, outcome=UNKNOWN, sampling=None)
    (row,) = rows(InspectScout(), example([failed], trace=trace))
    assert row["success"] is None
    assert row["model_options"] is None
    steps = json.loads(row["messages"])[1:]
    assert {step["metadata"]["verdicts"]["judge"] for step in steps} == {"unknown"}


@pytest.mark.parametrize("method", ["label", "value", "step", "verdicts"])
def test_scout_keeps_keys_of_methods(method: str) -> None:
    named = replace(ANNOTATION, method=method)
    (row,) = rows(InspectScout(), example([named]))
    metadata = json.loads(row["messages"])[1]["metadata"]
    expected = {"step": 0, "label": "correct", "value": 1.0}
    assert metadata == {**expected, "verdicts": {method: "correct: because"}}


def test_potato_reads_items_and_labels(on_disk: Dataset, tmp_path: Path) -> None:
    export(on_disk, Potato(), str(tmp_path / "out"))
    (file,) = (tmp_path / "out" / "data").iterdir()
    assert file.name == "train-00000-of-00001.jsonl"
    first, second = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert (first["id"], first["instance_id"], first["text"]) == ("t0", "t0", PROBLEM.question)
    assert [step["text"] for step in second["cot_steps"]] == ["step 0", "step 1", "step 2"]
    assert [step["index"] for step in second["cot_steps"]] == [0, 1, 2]
    assert rewards(first) == [1, 1, 1]
    assert rewards(second) == [1, -1, None]
    # Methods made the labels.
    assert {step["source"] for step in first["steps"]} == {"ai"}
    assert not any(step["verified"] for step in first["steps"])


@pytest.mark.parametrize(
    ("sources", "annotator", "is_by_people"),
    [
        (("human_ann",), "ann", True),
        (("human",), "human", True),
        (("human_ann", "judge"), "ann, judge", False),
        ((), "", False),
    ],
)
def test_potato_marks_labels_of_people(
    sources: tuple[str, ...], annotator: str, is_by_people: bool
) -> None:
    (row,) = rows(Potato(), example(label=replace(LABEL, sources=sources)))
    assert row["annotator"] == annotator
    assert {step["verified"] for step in row["steps"]} == {is_by_people}


def test_potato_keeps_raters_apart() -> None:
    trace, label = labelled("t", GOOD, GOOD, BAD)
    ann = replace(ANNOTATION, method="human_ann", steps=_steps(GOOD, GOOD, BAD), neutral_steps=(1,))
    bob = replace(ann, method="human_bob", steps=_steps(GOOD, BAD, UNKNOWN), neutral_steps=())
    label = replace(label, sources=("human_ann", "human_bob"))
    judge = replace(ANNOTATION, method="judge", steps=_steps(GOOD, GOOD, GOOD))
    first, second = rows(Potato(), example([ann, bob, judge], trace=trace, label=label))
    assert (first["annotator"], second["annotator"]) == ("ann", "bob")
    assert rewards(first) == [1, 0, -1]
    assert rewards(second) == [1, -1, None]
    assert second["steps"][1]["verified"]
    (left_out,) = rows(Potato(), example([judge], trace=trace, label=label))
    assert left_out == LeftOut("the labels of its raters are missing")


def _steps(*verdicts: Verdict) -> tuple[StepAnnotation, ...]:
    return tuple(StepAnnotation(verdict=verdict) for verdict in verdicts)


def test_potato_keeps_neutral_steps() -> None:
    trace, label = labelled("t", GOOD, GOOD, BAD)
    (row,) = rows(Potato(), example(trace=trace, label=label, neutral_steps=(1,)))
    assert rewards(row) == [1, 0, -1]
    # The user has mapped the neutral step to another verdict.
    (row,) = rows(Potato(), example(trace=trace, label=label, neutral_steps=(2,)))
    assert rewards(row) == [1, 1, -1]


@pytest.mark.parametrize("exporter", [Potato(), InspectScout()])
def test_empty_traces_are_left_out(exporter: TraceFormat) -> None:
    trace, label = labelled("t")
    assert rows(exporter, example(trace=trace, label=label)) == [LeftOut("it has no steps")]


def test_hostile_text_stays_one_line(on_disk: Dataset, tmp_path: Path) -> None:
    hostile = replace(PROBLEM, question='"\n\r\u2028\x1b]{"')
    (row,) = rows(Potato(), example(problem=hostile))
    (transcript,) = rows(InspectScout(), example(problem=hostile))
    assert row["text"] == json.loads(transcript["messages"])[0]["content"] == hostile.question
