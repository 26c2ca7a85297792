"""Datasets on disk or in a bucket: parts, schemas and rows."""
