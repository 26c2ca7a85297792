"""The result of a query, as a table of Arrow, pandas, polars or DuckDB."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from stepmark.errors import InstallError
from storage.queries.render import values

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["Connection", "Relation"]

Connection = duckdb.DuckDBPyConnection
"""A connection of DuckDB."""


@dataclass(frozen=True, eq=False)
class Relation:
    """The rows of a query, in memory."""

    table: pa.Table

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.table.column_names)

    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        return self.table

    def pandas(self) -> "pd.DataFrame":
        """Return the rows as a data frame of pandas."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def polars(self) -> "pl.DataFrame":
        """Return the rows as a data frame of polars.

        Raises:
            InstallError: polars is not installed.
        """
        try:
            import polars as pl
        except ModuleNotFoundError as error:
            raise InstallError(
                "polars is not installed: pip install polars, or use .arrow() or .pandas()"
            ) from error
        frame = pl.from_arrow(self.table)
        assert isinstance(frame, pl.DataFrame), "a table becomes a frame"
        return frame

    def duckdb(self, connection: Connection | None = None) -> duckdb.DuckDBPyRelation:
        """Return the rows as a relation of DuckDB, which further SQL can read.

        Args:
            connection: The connection of the relation; that of the module `duckdb` by default.
        """
        return duckdb.from_arrow(self.table, connection=connection or duckdb.default_connection())

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the rows as tuples of Python values."""
        return [tuple(row) for row in values(self.table)]

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.table.num_rows)
