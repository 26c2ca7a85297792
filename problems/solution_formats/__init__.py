"""Shapes of rows that hold solutions and that no table of columns can say: one file per shape."""
