"""Shards whose tables are put side by side in the view `steps`, instead of being joined."""

import gc
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stepmark.errors import ConfigError, DatasetError
from stepmark.records import Annotation, Label, StepAnnotation, StepLabel, Trace
from storage.dataset import parts
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, annotations, discovered
from storage.queries.alignment import NO_ALIGNMENT, Alignment, align
from storage.queries.listing import TableParts, list_parts
from storage.queries.render import values
from storage.queries.sql import connect, query, query_session
from storage.queries.views import create_steps_view, reads_steps
from tests.storage.samples import ANNOTATION, BAD, DISCOVERED, GOOD, LABEL, TRACE, UNKNOWN

TRACES_PER_SHARD = 60
QUERIES = [
    "FROM steps",
    "SELECT count(*) FROM steps",
    "SELECT label, count(*), round(avg(judge_value), 9), max(text) FROM steps GROUP BY 1",
    "SELECT trace_id, step_index, judge_verdict FROM steps WHERE text LIKE '%7'",
    "SELECT trace_id, text, human_value FROM steps WHERE step_index = 2 AND label = 'incorrect'",
    "SELECT * FROM steps WHERE trace_id IN ('0.7', '1.3', '2.0', '3.1', '4.2', '5.5', 'd')",
    "SELECT problem_id, text FROM steps WHERE human_verdict IS NOT NULL",
    "SELECT a.text, b.judge_value FROM steps a JOIN steps b USING (trace_id, step_index)",
    "SELECT text, value FROM steps ORDER BY trace_id, step_index LIMIT 10",
    "SELECT kept, count(label) FROM steps JOIN labels USING (trace_id) GROUP BY 1",
    "SELECT steps FROM steps WHERE step_index = 0",
]


def traces_of(shard: int) -> list[Trace]:
    chance = random.Random(shard)
    traces = list[Trace]()
    for number in range(TRACES_PER_SHARD):
        steps = tuple(f"step {index} of {number}" for index in range(chance.randint(1, 5)))
        traces.append(replace(TRACE, trace_id=f"{shard}.{number}", steps=steps))
    return traces


def labels_of(traces: Sequence[Trace]) -> list[Label]:
    chance = random.Random(1)
    labels = list[Label]()
    for trace in traces:
        steps = tuple(
            StepLabel(label=chance.choice((GOOD, BAD, UNKNOWN)), value=chance.random())
            for _ in trace.steps
        )
        labels.append(replace(LABEL, trace_id=trace.trace_id, steps=steps))
    return labels


def annotations_of(traces: Sequence[Trace], method: str) -> list[Annotation]:
    chance = random.Random(method)
    rows = list[Annotation]()
    for trace in traces:
        steps = tuple(
            StepAnnotation(verdict=chance.choice((GOOD, BAD)), value=chance.random())
            for _ in trace.steps
        )
        rows.append(replace(ANNOTATION, trace_id=trace.trace_id, method=method, steps=steps))
    return rows


def write_shard(dataset: Dataset, shard: int, labels: Sequence[Label] | None = None) -> None:
    """Write a shard that is aligned, unless it gets other labels."""
    traces = traces_of(shard)
    dataset.write_part(TRACES, shard, traces, "f")
    dataset.write_part(annotations("judge"), shard, annotations_of(traces, "judge"), "f")
    # People annotate some traces only.
    human = annotations_of(traces[5:8], "human")
    dataset.write_part(annotations("human"), shard, human, "f")
    dataset.write_part(LABELS, shard, labels_of(traces) if labels is None else labels, "f")


@pytest.fixture
def mixed(tmp_path: Path) -> Dataset:
    """Write three aligned shards, and one for each reason why a shard is not aligned."""
    dataset = Dataset(str(tmp_path / "mixed"))
    for shard in range(3):
        write_shard(dataset, shard)
    labels = labels_of(traces_of(3))
    write_shard(dataset, 3, labels[::-1])
    write_shard(dataset, 4, labels_of(traces_of(4))[1:])
    # As many labels, but the last one is of no trace.
    strange = labels_of(traces_of(5))
    write_shard(dataset, 5, [*strange[:-1], replace(strange[-1], trace_id="strange")])
    write_shard(dataset, 6)
    found = replace(DISCOVERED, trace_id="d")
    dataset.write_part(discovered("tree_search"), 6, [found], "f")
    return dataset


def test_aligned_view_has_same_rows(mixed: Dataset) -> None:
    with connect(mixed) as joined, query_session(mixed) as run_query:
        for query in QUERIES:
            expected = sorted(joined.sql(query).fetchall(), key=repr)
            assert sorted(values(run_query(query)), key=repr) == expected, query


def test_only_equal_shards_are_aligned(mixed: Dataset) -> None:
    alignment = align(mixed, list_parts(mixed))
    assert list(alignment.shards) == [0, 1, 2]
    assert set(alignment.tables) == {LABELS, annotations("judge")}


def test_other_numbers_of_steps_are_joined(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    first, *labels = labels_of(traces_of(0))
    write_shard(dataset, 0, [replace(first, steps=(*first.steps, StepLabel())), *labels])
    write_shard(dataset, 1)
    assert list(align(dataset, list_parts(dataset)).shards) == [1]


def test_row_groups_need_not_be_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    write_shard(dataset, 0)
    labels = labels_of(traces_of(0))
    monkeypatch.setattr(parts, "BATCH_ROWS", 7)
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 1)
    dataset.write_part(LABELS, 0, labels, "f")
    assert list(align(dataset, list_parts(dataset)).shards) == [0]


def test_tables_of_buckets_are_joined(dataset: Dataset) -> None:
    for shard in range(2):
        write_shard(dataset, shard)
    alignment = align(dataset, list_parts(dataset))
    assert (alignment == NO_ALIGNMENT) == (not dataset.folder.is_local)


def test_aligned_rows_are_not_copied(mixed: Dataset) -> None:
    listed = list_parts(mixed)
    with connect(mixed) as connection:
        connection.execute(create_steps_view(listed, align(mixed, listed)))
        ((_, plan),) = connection.sql("EXPLAIN SELECT label, judge_value FROM steps").fetchall()
    # The operator that would copy the rows is the positional join.
    assert "Positional Scan" in plan
    assert "Positional Join" not in plan


def test_replaced_part_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    write_shard(dataset, 0)
    sql = "SELECT label, judge_verdict, text FROM steps ORDER BY trace_id, step_index"
    rows = list(values(query(dataset, sql)))
    replacements = iter([labels_of(traces_of(0))[::-1]])

    def align_then_replace(dataset: Dataset, parts: TableParts) -> Alignment:
        alignment = align(dataset, parts)
        for labels in replacements:
            dataset.write_part(LABELS, 0, labels, "f")
        return alignment

    monkeypatch.setattr("storage.queries.sql.align", align_then_replace)
    with (
        query_session(dataset) as run_query,
        pytest.raises(ConfigError, match="parts were replaced while it ran; try again"),
    ):
        run_query(sql)
    replacements = iter([labels_of(traces_of(0))])
    assert list(values(query(dataset, sql))) == rows


def test_damaged_part_is_not_aligned(mixed: Dataset) -> None:
    path = Path(mixed.uri, mixed.path(LABELS, 1))
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="is damaged"), query_session(mixed) as run_query:
        run_query("SELECT count(*) FROM steps")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM traces WHERE len(steps) = 0",
        "SELECT traces.steps FROM labels JOIN traces USING (trace_id)",
        """SELECT '"table_name":"steps"' AS steps FROM traces""",
    ],
)
def test_columns_named_steps_are_no_view(sql: str) -> None:
    assert not reads_steps(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "FROM steps",
        'SELECT count(*) FROM main."STEPS"',
        "WITH found AS (SELECT * FROM traces JOIN steps USING (trace_id)) SELECT * FROM found",
        "SELECT (SELECT count(*) FROM steps)",
        "DESCRIBE steps",
        "PIVOT steps ON label USING count(*)",
        "SELECT steps FROM FROM",
        "SELECT '\ud800' FROM steps",
    ],
)
def test_steps_view_is_recognized(sql: str) -> None:
    assert reads_steps(sql)


def test_index_leaves_no_garbage(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path))
    dataset.write_part(TRACES, 0, [TRACE], "f")

    def count_of_metadata() -> int:
        return sum(type(item) is pq.FileMetaData for item in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        # Earlier tests of the same process may hold some.
        before = count_of_metadata()
        with (tmp_path / dataset.path(TRACES, 0)).open("rb") as file:
            footer = parts.read_footer(file, "traces")
            assert footer is not None
            assert parts.read_trace_index(file, footer).steps == len(TRACE.steps)
        # Reference cycles with Arrow would keep 50 KB for each of thousands of parts.
        assert count_of_metadata() == before
    finally:
        gc.enable()
