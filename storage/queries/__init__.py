"""SQL over a dataset: DuckDB views and queries."""
