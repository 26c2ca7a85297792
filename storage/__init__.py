"""Parquet parts, their schemas, DuckDB over them, trainer formats and the Hub."""
