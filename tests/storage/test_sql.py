"""SQL over a dataset: the views, and the limits of untrusted queries."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stepmark.errors import ConfigError, DatasetError
from stepmark.records import Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.schemas import SCHEMAS
from storage.dataset.tables import TRACES, annotations, discovered, rollouts
from storage.queries import limits, listing, sql
from storage.queries.limits import MAX_SQL_CHARS
from storage.queries.render import to_csv, to_json, values
from storage.queries.sql import connect, query, query_session
from tests.storage.samples import ANNOTATION, DISCOVERED, TRACE, fill

# The tables that have a view with their name.
TABLES = [kind for kind in SCHEMAS if kind != "discovered"]
SIBLING_VIEWS = {"solutions", "continuations", "siblings"}
VIEWS = {*TABLES, *SIBLING_VIEWS, "steps", "verdicts", "classes", "estimates", "step_values"}
PLAIN_STEPS = ["trace_id", "problem_id", "step_index", "text", "label", "value"]

STATEMENTS = [
    "COPY traces TO '{out}'",
    "COPY (SELECT 1) TO '{out}' (FORMAT csv)",
    "ATTACH '{out}' AS mine",
    "EXPORT DATABASE '{out}'",
    "CREATE TABLE mine AS SELECT 1",
    "INSERT INTO empty.traces SELECT * FROM traces",
    "DROP VIEW traces",
    "PRAGMA enable_profiling",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CALL pragma_version()",
    "EXPLAIN ANALYZE SELECT 1",
    "PREPARE p AS SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY traces TO '{out}'",
    "",
    "-- nothing",
]
REACHES = [
    "FROM read_csv('/etc/passwd')",
    "FROM read_text('/etc/passwd')",
    "FROM read_blob('{secret}')",
    "FROM '{secret}'",
    "FROM read_parquet('{folder}/*/*.parquet')",
    "FROM read_json('{folder}/run.toml')",
    "FROM glob('/etc/*')",
    "FROM sniff_csv('{secret}')",
    "FROM parquet_metadata('{secret}')",
    "FROM read_csv('https://127.0.0.1:9/x.csv')",
    "FROM query('COPY traces TO ''{out}''')",
    "FROM query_table('{secret}')",
    "FROM enable_logging(storage = 'file', storage_path = '{out}')",
    "FROM enable_profiling(save_location := '{out}')",
    "FROM duckdb_secrets()",
    "FROM sqlite_scan('{secret}', 'x')",
    "SELECT getenv('HOME')",
    "WITH x AS (DELETE FROM empty.traces RETURNING *) FROM x",
    "WITH x AS (INSERT INTO traces FROM traces RETURNING *) FROM x",
    "WITH x AS (COPY traces TO '{out}') FROM x",
]


def answer(dataset: Dataset, text: str) -> list[tuple[Any, ...]]:
    return list(values(query(dataset, text)))


def answers(dataset: Dataset, texts: Iterable[str]) -> list[list[tuple[Any, ...]]]:
    """Return the answers to several queries over one connection, which takes long to open."""
    with query_session(dataset) as run_query:
        return [list(values(run_query(text))) for text in texts]


def test_views_exist_without_parts(dataset: Dataset) -> None:
    dataset.write_run_file("")
    assert {row[0] for row in answer(dataset, "SHOW TABLES")} == VIEWS
    with query_session(dataset) as run_query:
        for view in VIEWS:
            assert list(values(run_query(f"SELECT count(*) FROM {view}"))) == [(0,)]
        assert run_query("FROM annotations").column_names == SCHEMAS["annotations"].names
        for kind in ("rollouts", "critiques"):
            assert run_query(f"FROM {kind}").column_names == SCHEMAS[kind].names
        # In this view `found_by` is the method.
        in_traces = [name for name in SCHEMAS["discovered"].names if name != "method"]
        assert run_query("FROM traces").column_names == in_traces
        assert run_query("FROM steps").column_names == PLAIN_STEPS
        assert run_query("FROM steps").schema.field("step_index").type == pa.int32()


def test_empty_views_have_same_types(filled: Dataset, tmp_path: Path) -> None:
    bare = Dataset(str(tmp_path / "bare"))
    bare.write_run_file("")
    descriptions = [f"DESCRIBE {view}" for view in TABLES]
    assert answers(filled, descriptions) == answers(bare, descriptions)


def test_views_contain_all_rows(filled: Dataset) -> None:
    counts = dict[str, int]()
    with query_session(filled) as run_query:
        for view in VIEWS:
            ((counts[view],),) = values(run_query(f"SELECT count(*) FROM {view}"))
    expected = {
        "problems": 1,
        "rejected": 1,
        "traces": 3,
        "labels": 3,
        "steps": 8,
        "verdicts": 3,
        "classes": 3,
        "estimates": 14,
        "step_values": 8,
        "completions": 0,
        "stale_labels": 0,
        "solutions": 4,
        "continuations": 6,
        "siblings": 0,
    }
    assert counts == expected | {"rollouts": 1, "critiques": 2, "annotations": 2}
    queries = (
        "SELECT method, sum(rollouts), max(seconds) FROM annotations GROUP BY ALL ORDER BY ALL",
        "SELECT method, seed FROM rollouts",
        "SELECT method, step, len(verdicts), first_error FROM critiques ORDER BY step",
        "SELECT metadata['steps'] FROM problems",
        "SELECT outcome_parts FROM rollouts",
        "SELECT DISTINCT system, request FROM critiques",
    )
    assert answers(filled, queries) == [
        [("formal", 4, 0.5), ("judge", 4, 0.5)],
        [("judge", 2**53 - 1)],
        [("judge", 1, 1, 1), ("judge", None, 3, 1)],
        [("2",)],
        [(["correct", "unknown"],)],
        [("You judge.", "Is 2 + 3 = 5?")],
    ]


def test_flawed_positive_is_a_class(filled: Dataset) -> None:
    assert answer(filled, "SELECT trace_id, class, kept FROM classes ORDER BY ALL") == [
        ("t0", "positive", True),
        ("t1", "flawed positive", True),
        ("t2", "undecided", False),
    ]
    traces = [replace(trace, outcome=Verdict.INCORRECT) for trace in filled.read(TRACES)]
    filled.write_part(TRACES, 0, traces, "f")
    assert answer(filled, "SELECT class FROM classes WHERE trace_id = 't1'") == [("negative",)]


def test_steps_has_columns_per_method(filled: Dataset) -> None:
    assert query(filled, "FROM steps").column_names == [
        *PLAIN_STEPS,
        "formal_verdict",
        "formal_value",
        "formal_rationale",
        "judge_verdict",
        "judge_value",
        "judge_rationale",
    ]
    assert answer(filled, "SELECT judge_rationale FROM steps WHERE judge_rationale <> ''") == [
        ("because",)
    ]
    columns = "step_index, text, label, value, judge_verdict, judge_value, formal_verdict"
    select = f"SELECT {columns} FROM steps"
    assert answer(filled, f"{select} WHERE trace_id = 't0' ORDER BY step_index") == [
        (0, "2 + 3 = 5\n", "correct", 1.0, "correct", 0.5, None),
        (1, "5 * 4 = 20\n", "correct", 0.5, "incorrect", 0.0, None),
        (2, "The answer is 20.", "correct", None, "unknown", None, None),
    ]
    assert answer(
        filled,
        "SELECT formal_verdict, judge_verdict FROM steps WHERE trace_id = 't1' ORDER BY step_index",
    ) == [
        ("correct", None),
        ("incorrect", None),
        ("unknown", None),
    ]


def test_verdicts_has_columns_per_method(filled: Dataset) -> None:
    columns = "trace_id, outcome, step_count, first_error, kept"
    of_judge = "judge_confidence, judge_verdicts, judge_values, judge_error, formal_verdicts"
    assert answer(filled, f"SELECT {columns}, {of_judge} FROM verdicts ORDER BY 1") == [
        (
            *("t0", "correct", 3, -1, True),
            *(0.25, ["correct", "incorrect", "unknown"], [0.5, 0.0, None], "it broke", None),
        ),
        (
            *("t1", "correct", 3, 1, True),
            *(None, None, None, None, ["correct", "incorrect", "unknown"]),
        ),
        ("t2", "correct", 2, None, False, None, None, None, None, None),
    ]


def test_parameters_are_values_only(filled: Dataset) -> None:
    hostile = "x' OR true --"
    sql = "SELECT $text AS text, count(*) AS traces FROM traces WHERE trace_id = $text"
    assert query(filled, sql, parameters={"text": hostile}).to_pylist() == [
        {"text": hostile, "traces": 0}
    ]
    with pytest.raises(ConfigError, match="parameters: text"):
        query(filled, sql)


def test_event_stops_a_query(on_disk: Dataset) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(ConfigError, match="INTERRUPT"):
        query(on_disk, "SELECT count(*) FROM range(1000000000000)", stop=stop)


def test_folder_names_method_of_old_parts(on_disk: Dataset) -> None:
    """A column that a version did not write is null."""
    (rollout,) = on_disk.read_part(rollouts("judge"), 0)
    on_disk.write_part(rollouts("judge"), 0, [replace(rollout, method="")], "f")
    assert answer(on_disk, "SELECT method, trace_id FROM rollouts") == [("judge", "t0")]


def test_traces_include_discovered_traces(
    filled: Dataset,
) -> None:
    annotation = replace(ANNOTATION, trace_id="t3", method="tree_search", error=None)
    filled.write_part(discovered("tree_search"), 0, [DISCOVERED], "f")
    filled.write_part(annotations("tree_search"), 0, [annotation], "f")
    columns = "trace_id, found_by, parent_trace_id, parent_steps, rollout_id"
    assert answer(filled, f"SELECT {columns} FROM traces ORDER BY 1") == [
        ("t0", None, None, None, None),
        ("t1", None, None, None, None),
        ("t2", None, None, None, None),
        ("t3", "tree_search", "t0", 1, "r0"),
    ]
    assert answer(filled, "SELECT DISTINCT sampling.seed, metadata['k'] FROM traces") == [
        (2**53 - 1, "v")
    ]
    assert answer(
        filled,
        "SELECT step_index, label, tree_search_value FROM steps WHERE trace_id = 't3' ORDER BY 1",
    ) == [
        (0, None, 0.5),
        (1, None, 0.0),
        (2, None, None),
    ]
    assert answer(filled, "SELECT count(*) FROM classes") == [(3,)]


@pytest.mark.parametrize("text", STATEMENTS)
def test_only_one_select_is_accepted(on_disk: Dataset, tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="a query is one SELECT statement; this is "):
        query(on_disk, text.format(out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", REACHES)
def test_select_reads_only_the_dataset(on_disk: Dataset, tmp_path: Path, text: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="the query failed: ") as refusal:
        query(on_disk, text.format(out=tmp_path / "out", secret=secret, folder=on_disk.uri))
    assert "\n" not in str(refusal.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_connection_settings_are_locked(filled: Dataset) -> None:
    with connect(filled) as connection:
        for setting in (
            "enable_external_access = true",
            "lock_configuration = false",
            "allowed_paths = ['/etc/passwd']",
        ):
            with pytest.raises(Exception, match=r"locked|Cannot"):
                connection.execute(f"SET {setting}")
        names = (
            "enable_external_access",
            "python_enable_replacements",
            "autoinstall_known_extensions",
            "autoload_known_extensions",
        )
        for name in names:
            assert connection.execute("SELECT current_setting(?)", [name]).fetchall() == [(False,)]
        assert connection.execute(
            "SELECT count(*) FROM traces WHERE trace_id = ?", ["t0"]
        ).fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELEC 1", 'the query failed: Parser Error: syntax error at or near "SELEC"'),
        ("SELECT nothing FROM traces", 'Referenced column "nothing" not found'),
        ("FROM nowhere", "Table with name nowhere does not exist"),
        ("SELECT error(trace_id) FROM traces", "Invalid Input Error: t"),
        ("SELECT ?", "parameters"),
    ],
)
def test_sql_error_is_one_line(filled: Dataset, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        query(filled, text)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) FROM range(1_000_000_000_000) t(i) WHERE i % 7 = 8",
        "SELECT i FROM range(1_000_000_000_000) t(i) WHERE i % 100_000_000 = 8",
    ],
)
def test_query_is_interrupted_at_deadline(filled: Dataset, text: str) -> None:
    with pytest.raises(ConfigError, match=r"the query failed: it took longer than 0\.2 s"):
        query(filled, text, timeout_s=0.2)


def test_early_deadline_interrupts_the_query(filled: Dataset) -> None:
    with pytest.raises(ConfigError, match="it took longer than 1e-09 s"):
        query(
            filled,
            "SELECT count(*) FROM range(1_000_000_000_000) t(i) WHERE i % 7 = 8",
            timeout_s=1e-9,
        )


@pytest.mark.parametrize(
    "text",
    [
        "SELECT list(i) FROM range(100_000_000) t(i)",
        "SELECT string_agg(i::VARCHAR, ',') FROM range(100_000_000) t(i)",
    ],
)
def test_memory_is_limited(filled: Dataset, text: str) -> None:
    with pytest.raises(ConfigError, match="it needs more memory than 64 MiB and more disk"):
        query(filled, text, memory_mib=64)


def test_disk_is_limited(filled: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SPILL_MIB", 16)
    text = "SELECT current_setting('max_temp_directory_size'), current_setting('memory_limit')"
    with query_session(filled, memory_mib=64) as run_query:
        assert list(values(run_query(text))) == [("16.0 MiB", "64.0 MiB")]


def test_threads_are_limited(filled: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_THREADS", 1)
    assert answer(filled, "SELECT current_setting('threads')") == [(1,)]


def test_long_query_is_rejected(filled: Dataset) -> None:
    text = f"SELECT 1 IN ({','.join(['1'] * MAX_SQL_CHARS)})"
    with pytest.raises(ConfigError, match="the query has more than 262,144 characters"):
        query(filled, text)


def test_query_that_ignores_interrupts_is_reported(
    filled: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "_GRACE_S", 0.0)
    overdue = threading.Event()
    # A function of constants is evaluated before the query can be interrupted.
    text = "SELECT regexp_replace(repeat('a', 5_000_000), 'a', 'bb', 'g') IS NULL"
    with contextlib.suppress(ConfigError):
        query(filled, text, timeout_s=1e-3, on_overdue=overdue.set)
    assert overdue.is_set()


def test_command_limits_its_process(on_disk: Dataset) -> None:
    # Allocated by a function, which DuckDB's own limit does not cover.
    text = "SELECT len(range(1_000_000_000))"
    command = [sys.executable, "-m", "pipelines", "sql", text, "--dataset", on_disk.uri]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("stepmark: the query failed: it needs more memory than 2048 MiB")
    assert ended.stderr.count("\n") == 1


def test_large_result_is_rejected(filled: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "MAX_RESULT_BYTES", 1 << 20)
    with pytest.raises(
        ConfigError, match="the answer is larger than 1 MiB; add a LIMIT or aggregate"
    ):
        query(filled, "FROM range(1_000_000_000_000)")


def test_missing_dataset_is_an_error(dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match="no dataset at "):
        query(dataset, "SELECT 1")


def test_damaged_part_is_an_error(on_disk: Dataset) -> None:
    Path(on_disk.uri, "traces/part-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"part-00000\.parquet is damaged: delete it"):
        query(on_disk, "FROM traces")


def test_folder_name_is_not_a_pattern(tmp_path: Path) -> None:
    for name, trace_id in (("[d]ata*", "mine"), ("data set", "decoy")):
        Dataset(str(tmp_path / name)).write_part(
            TRACES, 0, [replace(TRACE, trace_id=trace_id)], "f"
        )
    assert answer(Dataset(str(tmp_path / "[d]ata*")), "SELECT trace_id FROM traces") == [("mine",)]


def test_parts_are_joined(dataset: Dataset) -> None:
    for shard in range(5):
        traces = [replace(TRACE, trace_id=f"{shard}.{number}") for number in range(200)]
        dataset.write_part(TRACES, shard, traces, "f")
    assert answer(
        dataset, "SELECT count(*), count(DISTINCT trace_id), max(step_index) FROM steps"
    ) == [(3000, 1000, 2)]


def test_queries_leave_no_files(
    filled: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(Path.cwd().iterdir())
    query(filled, "SELECT * FROM steps ORDER BY text")
    assert sorted(Path.cwd().iterdir()) == before


def test_json_keeps_types_and_columns(filled: Dataset) -> None:
    text = """SELECT 1 AS a, 2 AS a, sum(1) AS total, 1.5 AS x, 'nan'::DOUBLE AS n, NULL AS z,
              DATE '2026-01-02' AS d, {'k': [true, NULL]} AS s, MAP {'é': 'inf'::DOUBLE} AS m,
              '\x01'::BLOB AS b, 'é"' AS t"""
    assert to_json(query(filled, text)) == (
        '[\n  {"a": 1, "a_1": 2, "total": 1, "x": 1.5, "n": null, "z": null, "d": "2026-01-02",'
        ' "s": {"k": [true, null]}, "m": {"é": null}, "b": "01", "t": "é\\""}\n]\n'
    )
    assert to_json(query(filled, "SELECT 1 AS a WHERE false")) == "[\n]\n"


def test_csv_has_header_and_json(filled: Dataset) -> None:
    text = (
        "SELECT 'a,b\n\"c\"' AS t, NULL AS z, true AS f, [1, 2] AS l, {'k': 'é'} AS s,"
        " 0.5 AS x, 1 AS x"
    )
    assert (
        to_csv(query(filled, text))
        == 't,z,f,l,s,x,x\n"a,b\n""c""",,true,"[1, 2]","{""k"": ""é""}",0.5,1\n'
    )


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\n=1", '"\'\n=1"'),
        ("\r=1", r"'\x0d=1"),
        ("-5", "-5"),
        ("+1.5", "+1.5"),
        ("a=b", "a=b"),
        ("\x1b[31m\x07\x85", r"\x1b[31m\x07\x85"),
        ("a\u202eb", r"a\u202eb"),
    ],
)
def test_csv_is_safe_to_open(filled: Dataset, text: str, cell: str) -> None:
    quoted = text.replace("'", "''")
    assert to_csv(query(filled, f"SELECT '{quoted}' AS t")) == f"t\n{cell}\n"


def test_json_escapes_hidden_characters(filled: Dataset) -> None:
    hidden = "\x1b\x00\x7f\x9b\u202e\u2066\u2028"
    text = to_json(
        query(
            filled,
            "SELECT chr(27) || chr(0) || chr(127) || chr(155) || chr(8238)"
            " || chr(8294) || chr(8232) AS t",
        )
    )
    assert json.loads(text) == [{"t": hidden}]
    assert text.isascii()


def test_session_has_no_deadline(filled: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary of a large dataset takes minutes on a busy machine."""
    with query_session(filled) as run_query:
        run_query("FROM traces")
        # Parts are verified in threads, but only once; a deadline would need one for each query.
        monkeypatch.setattr(threading, "Thread", None)
        assert run_query("FROM traces").num_rows == 3


def test_removed_files_are_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run removes a file that a query has listed, three times in a row."""
    dataset = Dataset(str(tmp_path / "data"))
    fill(dataset)
    table = rollouts("judge")
    (row,) = dataset.read_part(table, 0)
    list_parts = listing.list_parts
    shard = 0

    def list_and_move(dataset: Dataset, kinds: Set[str]) -> Any:
        nonlocal shard
        parts = list_parts(dataset, kinds)
        if shard < 3:
            dataset.remove_part(table, shard)
            shard += 1
            dataset.write_part(table, shard, [row], "f")
        return parts

    monkeypatch.setattr(sql, "list_parts", list_and_move)
    assert answer(dataset, "SELECT rollout_id FROM rollouts") == [(row.rollout_id,)]
    assert shard == 3
