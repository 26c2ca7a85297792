"""Rows of files and tables, and the problems and solutions in their columns."""
