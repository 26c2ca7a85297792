"""Measure a dataset of a million traces: SQL, resuming, and the memory of a run."""
