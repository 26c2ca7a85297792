"""Trainer formats: one file per format, each turning labelled traces into that trainer's rows."""
