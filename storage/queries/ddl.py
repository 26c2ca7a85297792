"""The views of a dataset as SQL that any DuckDB can execute: its command line, UI or library."""

from dataclasses import replace
from typing import Any

import duckdb

from storage.completions.files import readable_files
from storage.dataset.dataset import Dataset
from storage.dataset.tables import Table
from storage.queries.empty_views import empty_view_statements
from storage.queries.listing import Part, list_parts
from storage.queries.views import view_statements

__all__ = ["ddl"]


def ddl(dataset: Dataset) -> str:
    """Return the statements that create all views over the parts that exist now.

    They can be executed again. The views read the Parquet files where they are: a path on the disk,
    or the URI of a bucket, for which DuckDB needs its extension `httpfs` and a secret.

    Raises:
        DatasetError: The dataset is missing, or the footer of a part is damaged.
    """
    dataset.require()
    folder = dataset.folder
    parts = dict[Table[Any], list[Part]]()
    for table, table_parts in list_parts(dataset).items():
        parts[table] = []
        for part in table_parts:
            location = folder.location(dataset.path(table, part.shard))
            parts[table].append(replace(part, location=location))
    completions = [folder.location(file.path) for file in readable_files(folder)]
    with duckdb.connect() as connection:
        statements = [*empty_view_statements(connection), *view_statements(parts, completions)]
    return "".join(f"{statement.strip()};\n" for statement in statements)
