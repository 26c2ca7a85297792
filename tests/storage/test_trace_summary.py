"""Summaries of traces: they agree with the SQL views, follow a run, and are cached safely."""

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepmark.errors import DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, Table, annotations
from storage.queries import summary_cache, trace_summary
from storage.queries.render import values
from storage.queries.shard_summary import ShardSummary, read_shard
from storage.queries.sql import query
from storage.queries.trace_summary import SummaryReader, TraceSummary
from tests.viewer.listing import disable_listing_cache
from tests.viewer.samples import METHODS, TRACE, annotation, label, write_mixed

COLUMNS = (
    "trace_id, problem_id, found_by, outcome, model, finish_reason, generated_tokens, steps,"
    " question, domain, source, first_error, kept, confidence"
)
FROM_VIEWS = """
SELECT traces.trace_id, problem_id, found_by, outcome, model, finish_reason,
       traces.generated_tokens, len(traces.steps), left(question, 120), domain, source,
       labels.first_error, kept, labels.confidence, {methods}
FROM traces LEFT JOIN problems USING (problem_id) LEFT JOIN labels USING (trace_id) {joins}
ORDER BY trace_id
"""


@pytest.fixture(autouse=True)
def _cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    disable_listing_cache(monkeypatch)


@pytest.fixture(params=["disk", "memory"])
def mixed(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    uri = str(tmp_path / "mixed")
    if request.param == "memory":
        uri = f"memory://{uuid.uuid4().hex}/mixed"
    dataset = Dataset(uri)
    write_mixed(dataset)
    return dataset


def from_summary(summary: TraceSummary) -> list[tuple[object, ...]]:
    columns = [COLUMNS]
    for method in summary.methods:
        # A shard without annotations of the method has neither of the first two.
        columns.append(f"coalesce({method}_annotated, false), coalesce({method}_failed, false)")
        columns.append(f"{method}_first_error")
        columns.append(f"{method}_confidence")
    return list(summary.rows(f"SELECT {', '.join(columns)} FROM summary ORDER BY trace_id"))


def from_views(dataset: Dataset) -> list[tuple[object, ...]]:
    columns = []
    joins = ""
    for method in dataset.methods("annotations"):
        joins += f" LEFT JOIN (FROM annotations WHERE method = '{method}') AS {method}"
        joins += " USING (trace_id)"
        is_annotated = f"{method}.rollouts IS NOT NULL"
        columns.append(f"{is_annotated}, {method}.error IS NOT NULL, {method}.first_error")
        columns.append(f"{method}.confidence")
    sql = FROM_VIEWS.format(methods=", ".join(columns), joins=joins)
    return list(values(query(dataset, sql)))


def test_rows_equal_those_of_views(mixed: Dataset) -> None:
    rows = from_summary(SummaryReader(mixed).read())
    assert len(rows) == 61
    assert rows == from_views(mixed)


def test_totals_are_sums_of_annotations(mixed: Dataset) -> None:
    totals = SummaryReader(mixed).read().totals
    sums = values(
        query(
            mixed,
            "SELECT method, count(*), count(error), sum(rollouts)::BIGINT,"
            " sum(prompt_tokens)::BIGINT, sum(generated_tokens)::BIGINT, sum(seconds)"
            " FROM annotations GROUP BY method",
        )
    )
    expected = {method: tuple(rest) for method, *rest in sums}
    found = {}
    for method, part in totals.items():
        found[method] = (
            part.annotations,
            part.failed,
            part.rollouts,
            part.prompt_tokens,
            part.generated_tokens,
            part.seconds,
        )
    assert found == expected
    assert set(found) == set(METHODS)


def test_new_parts_appear(mixed: Dataset) -> None:
    reader = SummaryReader(mixed)
    before = reader.read()
    assert reader.read() is before
    trace = replace(TRACE, trace_id="t9", problem_id="p9")
    mixed.write_part(TRACES, 9, [trace], "f")
    mixed.write_part(annotations("late"), 9, [annotation(trace, "late", 1)], "f")
    after = reader.read()
    assert after.version != before.version
    assert from_summary(after) == from_views(mixed)
    row = after.row_of("t9")
    assert row is not None
    assert (row["shard"], row["late_first_error"], row["steps"]) == (9, 1, 3)


def test_replaced_and_removed_parts_disappear(mixed: Dataset) -> None:
    reader = SummaryReader(mixed)
    reader.read()
    traces = list(mixed.read_part(TRACES, 0))
    labels = [label(trace, None, kept=False, confidence=0.5) for trace in reversed(traces)]
    mixed.write_part(LABELS, 0, labels, "g")
    mixed.remove_part(annotations("judge"), 1)
    assert from_summary(reader.read()) == from_views(mixed)


def test_only_changed_shards_are_read(mixed: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SummaryReader(mixed)
    reader.read()
    shards = list[int]()

    def recorded(dataset: Dataset, shard: int, tables: object, version: str) -> object:
        shards.append(shard)
        return read_shard(dataset, shard, tables, version)  # type: ignore[arg-type]

    monkeypatch.setattr(trace_summary, "read_shard", recorded)
    mixed.remove_part(LABELS, 1)
    reader.read()
    assert shards == [1]


def test_cached_summary_is_equal(mixed: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_cache, "MIN_TRACES", 0)
    first = SummaryReader(mixed).read()

    def fail(*arguments: object) -> None:
        raise AssertionError(f"a part is read again: {arguments}")

    monkeypatch.setattr(trace_summary, "read_shard", fail)
    second = SummaryReader(mixed).read()
    assert second.version == first.version
    assert second.totals == first.totals
    assert from_summary(second) == from_summary(first)


@pytest.mark.parametrize("place", [0, 40, -5])
def test_damaged_cache_is_ignored(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_cache, "MIN_TRACES", 0)
    mixed = Dataset(str(tmp_path / "data"))
    write_mixed(mixed)
    SummaryReader(mixed).read()
    (file,) = (tmp_path / "cache" / "stepmark" / "view").iterdir()
    assert len(summary_cache.load_shards(mixed.uri)) == 3
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert summary_cache.load_shards(mixed.uri) == {}
    assert SummaryReader(mixed).read().table.num_rows == 61


def test_cache_is_not_in_the_dataset(mixed: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_cache, "MIN_TRACES", 0)
    names = mixed.folder.files() + mixed.folder.folders()
    SummaryReader(mixed).read()
    assert mixed.folder.files() + mixed.folder.folders() == names


def test_damaged_part_is_named(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    write_mixed(dataset)
    path = Path(dataset.folder.location(dataset.path(annotations("judge"), 1)))
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"annotations/judge/part-00001\.parquet is damaged"):
        SummaryReader(dataset).read()


def test_replaced_part_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    write_mixed(dataset)
    arrow_columns = Dataset.arrow_columns

    def shorter_labels(self: Dataset, table: Table[Any], *arguments: Any) -> Any:
        columns = arrow_columns(self, table, *arguments)
        return columns.slice(1) if table == LABELS else columns

    monkeypatch.setattr(Dataset, "arrow_columns", shorter_labels)
    with pytest.raises(DatasetError, match="has changed while it was read: try again"):
        SummaryReader(dataset).read()


def test_empty_dataset_has_no_traces(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    dataset.write_run_file('dataset = "x"\n')
    summary = SummaryReader(dataset).read()
    assert summary.rows("SELECT count(*) FROM summary") == [(0,)]
    assert summary.methods == ()


def test_files_cannot_be_read(mixed: Dataset, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n", encoding="utf-8")
    summary = SummaryReader(mixed).read()
    with pytest.raises(Exception, match="disabled by configuration"):
        summary.rows(f"SELECT * FROM read_csv('{secret}')")


def test_questions_are_searched(mixed: Dataset) -> None:
    summary = SummaryReader(mixed).read()
    (count,) = summary.with_text("TIMES 1").rows("SELECT count(*) FROM summary")[0]
    assert count == 21
    assert summary.with_text("% _").rows("SELECT count(*) FROM summary") == [(0,)]


def test_stopped_reading_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(str(tmp_path / "mixed"))
    write_mixed(dataset)
    reader = SummaryReader(dataset)

    def read_and_stop(*arguments: Any) -> ShardSummary:
        reader.stop()
        return read_shard(*arguments)

    monkeypatch.setattr(trace_summary, "read_shard", read_and_stop)
    monkeypatch.setattr(trace_summary, "thread_count", lambda: 1)
    with pytest.raises(DatasetError, match="the reader was stopped"):
        reader.read()
    assert (reader.shards_read, reader.shards_to_read) == (1, 3)
