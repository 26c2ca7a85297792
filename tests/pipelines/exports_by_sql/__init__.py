"""Exports, compared with rows that plain SQL computes from the Parquet files of a dataset."""
