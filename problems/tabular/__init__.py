"""Rows of files and tables, and the problems and solutions read from their columns."""
