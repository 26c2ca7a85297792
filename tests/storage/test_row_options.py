"""Options of all exports: which rows they have, in which splits, and what trains."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stepmark.errors import ConfigError, DatasetError
from stepmark.records import StepLabel, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, critiques, rollouts
from storage.formats.base import AfterError, Example, Format, LeftOut, supervised_steps
from storage.formats.critique_pairs import CritiquePairs
from storage.formats.kto import Kto
from storage.formats.math_aps import MathAps
from storage.formats.potato import Potato
from storage.formats.prm800k import Prm800k
from storage.formats.processbench import ProcessBench
from storage.formats.sft import Sft
from storage.formats.soft_labels import SoftLabels
from storage.formats.trl import Trl
from storage.formats.verification import Verification
from storage.publishing.export import export
from storage.publishing.format_fields import label_fields
from storage.publishing.row_options import RowOptions
from storage.queries.examples import ExampleJoin
from storage.queries.selected_traces import trace_ids_of
from storage.queries.sql import query
from tests.columns import column
from tests.storage.samples import (
    BAD,
    CRITIQUE,
    GOOD,
    PROBLEM,
    ROLLOUT,
    UNKNOWN,
    labelled,
)

SHARDS = 3
PROBLEMS_PER_SHARD = 20
TRACES_PER_PROBLEM = 4


@pytest.fixture
def many(tmp_path: Path) -> Dataset:
    """Return 240 traces of 60 problems in three shards: of each problem, one trace is wrong.

    The problems 2n and 2n + 1 have equal texts, apart from capitals and white space.
    """
    dataset = Dataset(str(tmp_path / "many"))
    for shard in range(SHARDS):
        problems = []
        traces = []
        labels = []
        for index in range(PROBLEMS_PER_SHARD):
            number = shard * PROBLEMS_PER_SHARD + index
            question = (
                f"how many are {number // 2}?" if number % 2 else f"How many\nare {number // 2}?"
            )
            problems.append(replace(PROBLEM, problem_id=f"p{number}", question=question))
            for sample in range(TRACES_PER_PROBLEM):
                last = BAD if sample == 0 else GOOD
                trace, label = labelled(f"t{number}-{sample}", GOOD, last)
                traces.append(replace(trace, problem_id=f"p{number}"))
                labels.append(label)
        dataset.write_part(PROBLEMS, shard, problems, "f")
        dataset.write_part(TRACES, shard, traces, "f")
        dataset.write_part(LABELS, shard, labels, "f")
    return dataset


def rows_of(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    rows = list[dict[str, Any]]()
    for path in sorted((folder / "data").glob(f"{split}-*.parquet")):
        rows.extend(pq.read_table(path).to_pylist())
    return rows


def counts_without_error(rows: Sequence[Mapping[str, Any]]) -> Counter[bool]:
    """Return how many rows have no wrong step, and how many have one."""
    return Counter(all(row["labels"]) for row in rows)


def questions(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the questions, without differences of case and white space."""
    return {" ".join(row["prompt"].lower().split()) for row in rows}


def test_limit_keeps_the_first_rows(many: Dataset, tmp_path: Path) -> None:
    everything = export(many, Trl(), str(tmp_path / "all"))
    assert (everything.rows, everything.left_out) == (240, {})
    limited = export(many, Trl(), str(tmp_path / "some"), options=RowOptions(limit=100))
    assert rows_of(tmp_path / "some") == rows_of(tmp_path / "all")[:100]
    # The third shard is not read.
    assert (limited.rows, limited.left_out) == (100, {"beyond the limit": 60})
    assert limited.trainable_rows() == "100 of 160 in trl (60 × beyond the limit)"


def test_limit_counts_all_splits(many: Dataset, tmp_path: Path) -> None:
    options = RowOptions(validation=0.3, seed=1, with_ids=True)
    export(many, Trl(), str(tmp_path / "all"), options=options)
    done = export(many, Trl(), str(tmp_path / "some"), options=replace(options, limit=100))
    first = {label.trace_id for label in list(many.read(LABELS))[:100]}
    for split in ("train", "validation"):
        expected = [row for row in rows_of(tmp_path / "all", split) if row["trace_id"] in first]
        assert rows_of(tmp_path / "some", split) == expected
        assert done.split_rows[split] == len(expected) > 0
    assert (done.rows, done.left_out) == (100, {"beyond the limit": 60})


def test_balance_keeps_equal_classes(many: Dataset, tmp_path: Path) -> None:
    done = export(many, Trl(), str(tmp_path / "out"), options=RowOptions(balance=True))
    rows = rows_of(tmp_path / "out")
    assert counts_without_error(rows) == {True: 60, False: 60}
    assert done.left_out == {"dropped by the balance": 120}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "data"]
    options = RowOptions(balance=True, limit=11, seed=5, with_ids=True)
    ids = list[list[str]]()
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        export(many, Trl(), str(tmp_path / name), options=replace(options, seed=seed))
        rows = rows_of(tmp_path / name)
        assert counts_without_error(rows) == {True: 5, False: 5}
        ids.append([row["trace_id"] for row in rows])
    assert ids[0] == ids[1] != ids[2]


def test_balance_is_within_each_split(many: Dataset, tmp_path: Path) -> None:
    options = RowOptions(validation=0.3, balance=True, seed=1)
    everything = export(many, Trl(), str(tmp_path / "all"), options=replace(options, balance=False))
    done = export(many, Trl(), str(tmp_path / "out"), options=options)
    # One of four traces of a problem has an error.
    for split, rows in everything.split_rows.items():
        classes = counts_without_error(rows_of(tmp_path / "out", split))
        assert classes == {True: rows // 4, False: rows // 4}
    assert done.left_out == {"dropped by the balance": 120}
    limited = replace(options, limit=31)
    assert export(many, Trl(), str(tmp_path / "some"), options=limited).rows == 30
    for split in everything.split_rows:
        classes = counts_without_error(rows_of(tmp_path / "some", split))
        assert classes[True] == classes[False] > 0


def test_validation_divides_by_text(many: Dataset, tmp_path: Path) -> None:
    options = RowOptions(validation=0.3, seed=1, with_ids=True)
    done = export(many, Trl(), str(tmp_path / "out"), options=options)
    train = rows_of(tmp_path / "out")
    validation = rows_of(tmp_path / "out", "validation")
    assert done.split_rows == {"train": len(train), "validation": len(validation)}
    assert len(train) + len(validation) == 240
    assert not questions(train) & questions(validation)
    # 9 of 30 texts are expected.
    assert 3 <= len(questions(validation)) <= 16
    # A problem keeps its split when others are left out.
    selected = frozenset(row["trace_id"] for row in train[::3] + validation[::3])
    smaller = replace(options, traces=selected)
    export(many, Trl(), str(tmp_path / "smaller"), options=smaller)
    assert rows_of(tmp_path / "smaller") == train[::3]
    assert rows_of(tmp_path / "smaller", "validation") == validation[::3]


def test_datasets_loads_both_splits(many: Dataset, tmp_path: Path) -> None:
    import datasets

    options = RowOptions(validation=0.3, balance=True, with_ids=True)
    done = export(many, Trl(), str(tmp_path / "out"), options=options)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in loaded.items()} == dict(done.split_rows)
    assert loaded["validation"].to_list() == rows_of(tmp_path / "out", "validation")


def test_empty_split_is_an_error(many: Dataset, tmp_path: Path) -> None:
    options = RowOptions(validation=0.0001)
    with pytest.raises(DatasetError, match="no row is in the split validation: choose another"):
        export(many, Trl(), str(tmp_path / "out"), options=options)
    nothing = RowOptions(traces=frozenset())
    with pytest.raises(DatasetError, match="nothing to export: 240 × it is not selected"):
        export(many, Trl(), str(tmp_path / "out"), options=nothing)


def test_ids_name_the_traces(many: Dataset, tmp_path: Path) -> None:
    export(many, Trl(), str(tmp_path / "trl"), options=RowOptions(with_ids=True))
    rows = rows_of(tmp_path / "trl")
    assert [(row["trace_id"], row["problem_id"]) for row in rows[:5]] == [
        ("t0-0", "p0"),
        ("t0-1", "p0"),
        ("t0-2", "p0"),
        ("t0-3", "p0"),
        ("t1-0", "p1"),
    ]
    labels = [replace(label, steps=(StepLabel(value=0.5),) * 2) for label in many.read(LABELS)]
    many.write_part(LABELS, 0, labels, "f")
    export(many, MathAps(), str(tmp_path / "aps"), options=RowOptions(with_ids=True))
    first, second = rows_of(tmp_path / "aps")[:2]
    assert first["trace_ids"] == ["t0-0", "t0-1", "t0-2", "t0-3"]
    assert (first["problem_id"], second["problem_id"]) == ("p0", "p1")


def test_query_selects_traces(many: Dataset, tmp_path: Path) -> None:
    answer = query(many, "SELECT trace_id FROM labels WHERE first_error >= 0")
    options = RowOptions(traces=trace_ids_of(answer))
    done = export(many, Trl(), str(tmp_path / "out"), options=options)
    assert (done.rows, done.left_out) == (60, {"it is not selected": 180})
    assert counts_without_error(rows_of(tmp_path / "out")) == {False: 60}
    for sql in ("SELECT 1", "SELECT 1 AS trace_id", "SELECT '' AS trace_id, '' AS trace_id"):
        with pytest.raises(
            ConfigError, match=r"the query has no column trace_id .* SELECT trace_id FROM"
        ):
            trace_ids_of(query(many, sql))


@pytest.mark.parametrize(
    ("exporter", "options", "message"),
    [
        (Trl(), RowOptions(validation=1.5), "--validation 1.5 is no share"),
        (Trl(), RowOptions(limit=0), "--limit 0 exports nothing"),
        (Trl(), RowOptions(limit=1, balance=True), "--limit 1 with --balance exports nothing"),
        (ProcessBench(), RowOptions(validation=0.1), "this format is a benchmark"),
        (MathAps(), RowOptions(balance=True), "the rows of this format are of several traces"),
    ],
)
def test_unsuitable_options_are_rejected(
    many: Dataset, tmp_path: Path, exporter: Any, options: RowOptions, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        export(many, exporter, str(tmp_path / "out"), options=options)


def test_formats_state_their_labels() -> None:
    assert label_fields("trl", soft=False, after_error="keep") == {"after_error": "keep"}
    # It contains soft labels alone: there is nothing to set.
    assert label_fields("soft_labels", soft=True, after_error=None) == {}
    with pytest.raises(ConfigError, match=r"trl contains verdicts, no soft labels; .* math_aps,"):
        label_fields("trl", soft=True, after_error=None)
    with pytest.raises(ConfigError, match="processbench has no labels after the first error"):
        label_fields("processbench", soft=False, after_error="drop")


@pytest.mark.parametrize(
    "exporter", [Kto(), MathAps(), Potato(), Prm800k(), ProcessBench(), Sft(), Verification()]
)
def test_only_step_labels_are_merged(many: Dataset, tmp_path: Path, exporter: Format) -> None:
    # The merged label of a right answer with an error in its middle has no error.
    with pytest.raises(ConfigError, match=r"has no use for: export chat_steps, er_prm, .*, trl,"):
        export(many, exporter, str(tmp_path / "out"), merge=True)


@pytest.mark.parametrize(
    ("verdicts", "after_error", "can_mask", "expected"),
    [
        ([GOOD, BAD, UNKNOWN], "drop", False, [1, 0]),
        ([GOOD, BAD, GOOD], "mask", True, [1, 0, None]),
        ([GOOD, BAD, GOOD], "keep", False, [1, 0, 1]),
        ([GOOD, BAD, UNKNOWN], "keep", True, [1, 0, None]),
        ([GOOD, BAD, UNKNOWN], "keep", False, "a step is undecided"),
        ([GOOD, UNKNOWN, BAD, GOOD], "drop", True, [1, None, 0]),
        ([GOOD, UNKNOWN, BAD, GOOD], "drop", False, "a step is undecided"),
        ([UNKNOWN, GOOD], "drop", True, [None, 1]),
        ([UNKNOWN, UNKNOWN], "drop", True, "no step is decided"),
        ([], "mask", True, "it has no steps"),
    ],
)
def test_steps_are_cut_and_masked(
    verdicts: list[Verdict], after_error: AfterError, can_mask: bool, expected: Any
) -> None:
    trace, label = labelled("t", *verdicts)
    example = Example(problem=PROBLEM, trace=trace, label=label)
    steps = supervised_steps(example, after_error=after_error, can_mask=can_mask)
    if isinstance(expected, str):
        assert steps == LeftOut(expected)
        return
    assert not isinstance(steps, LeftOut)
    assert column(steps, "target") == expected
    assert column(steps, "text") == [f"step {index}" for index in range(len(expected))]


def test_soft_targets_are_values() -> None:
    trace, label = labelled("t", GOOD, BAD, GOOD)
    values = (0.75, 0.25, None)
    steps = tuple(map(lambda step, value: replace(step, value=value), label.steps, values))
    example = Example(problem=PROBLEM, trace=trace, label=replace(label, steps=steps))
    dropped = supervised_steps(example, soft=True)
    assert dropped == [("step 0", 0.75), ("step 1", 0.25)]
    assert supervised_steps(example, soft=True, after_error="keep") == LeftOut(
        "a step has no value"
    )
    expected = {"drop": [0.75, 0.25], "mask": [0.75, 0.25, None], "keep": [0.75, 0.25, None]}
    for after_error, targets in expected.items():
        (row,) = SoftLabels(after_error=after_error).rows(example)  # type: ignore[arg-type]
        assert not isinstance(row, LeftOut)
        assert row["values"] == targets


def test_evidence_is_joined_by_trace(on_disk: Dataset) -> None:
    other = replace(CRITIQUE, method="other", trace_id="t1", text="of another method")
    on_disk.write_part(critiques("other"), 0, [other], "f")
    # A part of a shard without traces is not read.
    on_disk.write_part(rollouts("judge"), 7, [ROLLOUT], "f")
    join = ExampleJoin(dataset=on_disk, reads=frozenset({"critiques", "rollouts", "annotations"}))
    by_trace = {item.trace.trace_id: item for item in join.examples() if isinstance(item, Example)}
    assert column(by_trace["t0"].critiques, "step") == [None, 1]
    assert column(by_trace["t1"].critiques, "text") == ["of another method"]
    assert list(by_trace["t0"].rollouts) == [ROLLOUT]
    assert column(by_trace["t1"].annotations, "method") == ["formal"]
    assert not by_trace["t2"].critiques
    without = next(ExampleJoin(dataset=on_disk).examples())
    assert isinstance(without, Example)
    assert not without.critiques


def test_processes_make_the_same_rows(many: Dataset, tmp_path: Path) -> None:
    options = RowOptions(validation=0.3, with_ids=True)
    one = export(many, Trl(), str(tmp_path / "one"), options=options)
    two = export(many, Trl(), str(tmp_path / "two"), options=options, processes=2)
    assert replace(one, destination="") == replace(two, destination="")
    for split in ("train", "validation"):
        assert rows_of(tmp_path / "one", split) == rows_of(tmp_path / "two", split)


def test_damage_ends_all_processes(many: Dataset, tmp_path: Path) -> None:
    Path(many.uri, "labels/part-00001.parquet").write_bytes(b"torn")
    with pytest.raises(DatasetError, match=r"labels/part-00001\.parquet is damaged"):
        export(many, CritiquePairs(), str(tmp_path / "out"), processes=2)
    assert not (tmp_path / "out").exists()
