"""Compare the rows of an export with the rows of a query over the Parquet files of its dataset.

The queries are in `queries`, one per format. They are written from `docs/import-export.md` and the
descriptions of the formats, and share `views.sql`. Only DuckDB reads the files on both sides.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import duckdb

from stepmark import plugins
from stepmark.errors import DatasetError
from storage.dataset.dataset import Dataset
from storage.publishing.export import export
from storage.publishing.format_fields import label_fields
from storage.publishing.row_options import RowOptions

__all__ = [
    "KIND",
    "QUERIES",
    "Comparison",
    "Variant",
    "compare",
    "connect",
    "variants_of",
]

FOLDER = Path(__file__).parent
QUERIES = FOLDER / "queries"
PROMPTS = Path(__file__).parents[3] / "storage" / "formats" / "verifiers" / "prompts"
KIND = "storage.formats"
# The files of a table, and of a table with a folder for each method.
PARTS = "*.parquet"
OF_METHODS = f"*/{PARTS}"
TABLES = {
    "problems": PARTS,
    "traces": PARTS,
    "labels": PARTS,
    "annotations": OF_METHODS,
    "critiques": OF_METHODS,
    "rollouts": OF_METHODS,
}
# The number of different rows that a message shows.
SHOWN_ROWS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """An export: its format and the options that change its labels."""

    format_name: str
    labels_by: str = ""
    """A method whose annotations are exported; "" for the kept labels."""
    after_error: Any = None
    """The value of `--after-error`; None for the default of the format."""
    soft: bool = False

    def __str__(self) -> str:
        """Return the variant as arguments of `stepmark export`."""
        parts = [self.format_name]
        if self.labels_by:
            parts.append(f"--labels {self.labels_by}")
        if self.after_error:
            parts.append(f"--after-error {self.after_error}")
        if self.soft:
            parts.append("--soft")
        return " ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The rows of an export and of its query, and those that only one of them has."""

    exported: int
    by_sql: int
    only_exported: int
    only_by_sql: int
    examples: Sequence[str]
    """Some of the different rows, as texts."""

    @property
    def differences(self) -> int:
        """The number of rows without an equal one on the other side."""
        return self.only_exported + self.only_by_sql


def variants_of(format_name: str, labels_by: str = "") -> list[Variant]:
    """Return the exports of a format: with its defaults, and with other options that it accepts."""
    plugin = plugins.load(KIND, format_name)
    variants = [Variant(format_name=format_name, labels_by=labels_by)]
    if hasattr(plugin, "soft"):
        variants.append(Variant(format_name=format_name, labels_by=labels_by, soft=True))
    if hasattr(plugin, "after_error"):
        accepted = get_args(get_type_hints(plugin)["after_error"])
        for after_error in accepted:
            if after_error != plugin().after_error:
                variant = Variant(
                    format_name=format_name, labels_by=labels_by, after_error=after_error
                )
                variants.append(variant)
    return variants


def compare(connection: duckdb.DuckDBPyConnection, dataset: str, variant: Variant) -> Comparison:
    """Export a dataset, and compare the rows with those of the format's query, as multisets.

    The columns of both sides must be equal, `trace_id` and `problem_id` among them.

    Args:
        connection: The tables of the dataset; see `connect`.
        dataset: The folder of the dataset.
        variant: The export.
    """
    connection.execute("SET VARIABLE labels_by = $1", [variant.labels_by])
    connection.execute("SET VARIABLE after_error = $1", [variant.after_error])
    query = connection.sql(_query_of(variant.format_name))
    with tempfile.TemporaryDirectory() as folder:
        if not _export(dataset, variant, f"{folder}/export"):
            return _comparison([], query.fetchall(), exported=0, by_sql=len(query))
        _read_export(connection, variant.format_name, Path(folder, "export", "data"))
    exported = connection.table("exported")
    assert sorted(query.columns) == sorted(exported.columns), f"columns of {variant}"
    # Values that SQL computes get the types of the exported columns.
    connection.execute("CREATE OR REPLACE TABLE expected AS FROM exported LIMIT 0")
    connection.execute(f"INSERT INTO expected BY NAME {_query_of(variant.format_name)}")
    return _comparison(
        connection.sql("FROM exported EXCEPT ALL FROM expected").fetchall(),
        connection.sql("FROM expected EXCEPT ALL FROM exported").fetchall(),
        exported=len(exported),
        by_sql=len(connection.table("expected")),
    )


def connect(dataset: str) -> duckdb.DuckDBPyConnection:
    """Return a new connection with the tables of a dataset and the views of `views.sql`.

    Each table has its rows in the order of its files, numbered by the column `place`.
    """
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    for table, pattern in TABLES.items():
        _create_table(connection, table, str(Path(dataset, table, pattern)))
    found = Path(dataset, "discovered")
    if found.exists():
        _create_table(connection, "discovered", str(found / OF_METHODS))
    else:
        connection.execute(
            "CREATE TABLE discovered AS SELECT *, '' AS found_by FROM traces LIMIT 0"
        )
    connection.execute("CREATE TABLE prompts (name VARCHAR, template VARCHAR)")
    for file in PROMPTS.glob("*.txt"):
        row = [file.stem, file.read_text(encoding="utf-8")]
        connection.execute("INSERT INTO prompts VALUES ($1, $2)", row)
    connection.execute("SET VARIABLE labels_by = ''")
    connection.execute((FOLDER / "views.sql").read_text(encoding="utf-8"))
    return connection


def _query_of(format_name: str) -> str:
    return (QUERIES / f"{format_name}.sql").read_text(encoding="utf-8")


def _create_table(connection: duckdb.DuckDBPyConnection, table: str, files: str) -> None:
    rows = connection.read_parquet(files, file_row_number=True, filename=True)
    rows.create_view(f"{table}_files")
    connection.execute(
        f"CREATE TABLE {table} AS SELECT * EXCLUDE (filename, file_row_number),"
        " row_number() OVER (ORDER BY filename, file_row_number) AS place"
        f" FROM {table}_files"
    )


def _export(dataset: str, variant: Variant, folder: str) -> bool:
    """Export a dataset with the ids of the rows; return whether there is a row."""
    fields = label_fields(variant.format_name, soft=variant.soft, after_error=variant.after_error)
    exporter = plugins.build(KIND, {"use": variant.format_name, **fields})
    options = RowOptions(with_ids=True)
    try:
        export(Dataset(dataset), exporter, folder, labels_by=variant.labels_by, options=options)
    except DatasetError as error:
        if not str(error).startswith("nothing to export"):
            raise
        return False
    return True


def _read_export(connection: duckdb.DuckDBPyConnection, format_name: str, data: Path) -> None:
    """Read the files of an export as the table `exported`."""
    (ending,) = {file.suffix for file in data.iterdir()}
    files = f"{data}/*{ending}"
    rows = connection.read_json(files) if ending == ".jsonl" else connection.read_parquet(files)
    rows.create_view("exported_files")
    # JSON that a format writes as text is parsed by a query.
    parsed = FOLDER / "parsed" / f"{format_name}.sql"
    query = parsed.read_text(encoding="utf-8") if parsed.exists() else "FROM exported_files"
    connection.execute(f"CREATE OR REPLACE TABLE exported AS {query}")


def _comparison(
    only_exported: Sequence[Any], only_by_sql: Sequence[Any], *, exported: int, by_sql: int
) -> Comparison:
    examples = list[str]()
    for row in only_exported[:SHOWN_ROWS]:
        examples.append(f"only exported: {row}")
    for row in only_by_sql[:SHOWN_ROWS]:
        examples.append(f"only by SQL: {row}")
    return Comparison(
        exported=exported,
        by_sql=by_sql,
        only_exported=len(only_exported),
        only_by_sql=len(only_by_sql),
        examples=examples,
    )
