"""Measure a dataset of a million traces: SQL, resuming, exports, and the memory of a run."""
