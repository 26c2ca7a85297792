"""Datasets as Parquet parts, SQL queries over them, trainer formats and exports to the Hub."""
